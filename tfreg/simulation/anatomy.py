"""The organs of the simulated chest at full inhale, drawn at random within adult proportions.

Chest coordinates are millimetres of an adult, x to the patient's right, y forward, z up, with the
origin in the middle of the chest. Every organ answers with a signed distance, positive inside.
"""

from dataclasses import dataclass

import numpy as np

from tfreg.simulation.shapes import (
    Diaphragm,
    Tubes,
    ellipsoid,
    implicit_distance,
    smooth_maximum,
    smooth_minimum,
)
from tfreg.simulation.vessels import lung_vessels

VERTEBRA_PITCH_MM = 25.0
LIVER_VEINS = ((38, -14), (32, 26), (-8, 34))  # where they run, right and forward, mm
RIB_OFFSET_MM = 8.0  # from the pleura to the middle of a rib


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One person's chest at full inhale.

    Args:
        body: Half axes of the torso along x and y, mm.
        fat_mm: Thickness of the fat under the skin.
        cage: Half axes of the rib cage along x and y, mm.
        apex: z of the top of the rib cage, mm.
        shoulder: z at which the torso narrows towards the neck, mm.
        diaphragm: The diaphragm.
        ribs: Number of pairs.
        rib_pitch_mm: Distance of neighbouring ribs at the spine.
        rib_tilt: How far a rib falls for each millimetre that it runs forward.
        heart_centre: `(3,)` mm.
        heart_radii: `(3,)` mm, long axis first.
        heart_axes: `(3, 3)`, rows are the axes.
        liver: Centre `(3,)` and radii `(3,)`, mm.
        large_vessels: `Tubes`.
        airways: `Tubes`.
        lung_vessels: `Tubes`.
        bifurcations: `(m, 3)` mm, thick branches first.
    """

    body: tuple[float, float]
    fat_mm: float
    cage: tuple[float, float]
    apex: float
    shoulder: float
    diaphragm: Diaphragm
    ribs: int
    rib_pitch_mm: float
    rib_tilt: float
    heart_centre: np.ndarray
    heart_radii: np.ndarray
    heart_axes: np.ndarray
    liver: tuple[np.ndarray, np.ndarray]
    large_vessels: Tubes
    airways: Tubes
    lung_vessels: Tubes | None = None
    bifurcations: np.ndarray | None = None

    def body_distance(self, points: np.ndarray) -> np.ndarray:
        """Torso and the root of the neck, `(n, 3)` mm to `(n,)` mm."""
        x, y, z = points.T
        t = np.clip((z - self.shoulder) / 85, 0, 1)
        narrow = t * t * (3 - 2 * t)
        a = self.body[0] * (1 - 0.55 * narrow)
        b = self.body[1] * (1 - 0.38 * narrow)
        # A fourth power between an ellipse and a rectangle: the flat front and back of a torso.
        u, v = x / a, (y + 3) / b
        radius = np.sqrt(np.sqrt(u**4 + v**4 + 1.3 * (u * v) ** 2))
        return (1 - radius) * np.minimum(a, b) * np.maximum(radius, 0.6)

    def cage_distance(self, points: np.ndarray) -> np.ndarray:
        """The inner face of the rib cage, open below, `(n, 3)` mm to `(n,)` mm."""
        x, y, z = points.T
        flare = 1 + 0.07 * np.tanh((20 - z) / 80)
        a, b = self.cage[0] * flare, self.cage[1] * flare
        top = np.maximum(z + 5, 0) / (self.apex + 5)
        back = y + 5 + 14 * top * top
        scaled = np.stack([x / a, back / b, top * np.sqrt(top)], axis=1)
        gradient = np.stack([x / a**2, back / b**2, 1.5 * top * top / (self.apex + 5)], axis=1)
        return implicit_distance(scaled, gradient)

    def spine_distance(self, points: np.ndarray) -> np.ndarray:
        """The vertebral bodies and discs, one column, `(n, 3)` mm to `(n,)` mm."""
        return ellipsoid(points, (0, -self.cage[1] + 13, 0), (23, 18, np.inf))

    def heart_distance(self, points: np.ndarray, thinner_mm: float = 0.0) -> np.ndarray:
        """The heart, or its chambers' envelope that many mm below its surface, `(n, 3)` mm to `(n,)` mm."""
        return ellipsoid(points, self.heart_centre, self.heart_radii - thinner_mm, self.heart_axes)

    def atria_distance(self, points: np.ndarray) -> np.ndarray:
        """Both atria, behind and to the right of the ventricles, `(n, 3)` mm to `(n,)` mm."""
        centre = self.heart_centre - 0.55 * self.heart_radii[0] * self.heart_axes[0] + [4, -14, 2]
        return ellipsoid(points, centre, 0.66 * self.heart_radii[1] * np.array([1.35, 0.85, 1.0]))

    def mediastinum_distance(self, points: np.ndarray) -> np.ndarray:
        """All between the lungs: vessels' column, heart, spine and the muscles beside it, `(n, 3)` mm to `(n,)` mm."""
        x, y, z = points.T
        width = 17 + 8 * np.exp(-(((z - 15) / 45) ** 2)) + 8 * np.clip((z - 60) / 60, 0, 1)
        neck = width - np.abs(x + 3) - 0.0016 * (y - 5) ** 2
        spine = ellipsoid(points, (0, -self.cage[1] - 6, 0), (36, 34, np.inf))
        aorta = ellipsoid(points, (-23, -self.cage[1] + 32, 0), (15, 15, np.inf))
        column = smooth_maximum(smooth_maximum(neck, spine, 16), aorta, 8)
        heart = smooth_maximum(self.heart_distance(points, -3.0), self.atria_distance(points) + 3, 10)
        return smooth_maximum(column, heart, 12)

    def lung_distance(self, points: np.ndarray) -> np.ndarray:
        """Both lungs; the right one is where x > 0, `(n, 3)` mm to `(n,)` mm."""
        shell = smooth_minimum(self.cage_distance(points), -self.mediastinum_distance(points), 22)
        return smooth_minimum(shell, self.diaphragm.distance(points), 9)

    def rib_distance(self, points: np.ndarray, cage_distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance in mm to the ribs, and the share 0..1 of cartilage towards the breastbone, both `(n,)`."""
        x, y, z = points.T
        forward = y + self.cage[1]
        level = (self.apex - 14 - z - self.rib_tilt * forward * (1 - 0.0012 * forward)) / self.rib_pitch_mm
        number = np.clip(np.round(level), 0, self.ribs - 1)
        along = (level - number) * self.rib_pitch_mm
        # Floating ribs end at the side, the others turn to cartilage in front.
        end = np.where(number >= self.ribs - 2, 0.0, self.cage[1] * 1.05 - 4 * number)
        section = np.hypot(along / 6.5, (cage_distance + RIB_OFFSET_MM) / 4.2)
        distance = np.minimum((1 - section) * 4.2, end - y + 25)
        return distance, np.clip((y - end + 45 - np.abs(x) * 0.25) / 8, 0, 1)

    def sternum_distance(self, points: np.ndarray, cage_distance: np.ndarray) -> np.ndarray:
        """The breastbone, `(n, 3)` mm to `(n,)` mm."""
        x, y, z = points.T
        plate = np.minimum(5 - np.abs(cage_distance + RIB_OFFSET_MM), 17 - np.abs(x))
        return np.where(y > 0, np.minimum(plate, 75 - np.abs(z - 20)), -50.0)

    def scapula_distance(self, points: np.ndarray, cage_distance: np.ndarray) -> np.ndarray:
        """The shoulder blades, thin plates behind the upper ribs, `(n, 3)` mm to `(n,)` mm."""
        x, y, z = points.T
        plate = 3.0 - np.abs(cage_distance + 24 - 0.06 * (z - 60))
        edge = 42 - np.abs(z - 62) + 0.5 * np.minimum(np.abs(x) - 75, 0)
        return np.where(y < -15, np.minimum(np.minimum(plate, edge), np.abs(x) - 55), -50.0)


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """One person's chest.

    Args:
        rng: `numpy.random.Generator`.

    Returns:
        An `Anatomy`.
    """
    size = rng.uniform(0.9, 1.0)
    width, depth, height = size * rng.uniform(0.95, 1.05, 3)
    fat = rng.uniform(7, 16)
    cage = np.array([134 * width, 97 * depth])
    apex = 146 * height
    right, left = -52 * height + rng.normal(0, 7), -64 * height + rng.normal(0, 7)
    lift = rng.normal(0, 4, 2)
    diaphragm = Diaphragm(
        centres=np.array([[66 * width, 14 * depth + lift[0]], [-70 * width, 10 * depth + lift[1]], [-10, 34 * depth]]),
        heights=np.array([right, left, min(right, left) - 8]),
        widths=np.array([[76 * width, 108 * depth], [72 * width, 104 * depth], [66, 86 * depth]])
        * rng.uniform(0.92, 1.08, (3, 1)),
        floor=-165 * height,
    )
    heart_radii = np.array([62, 45, 42]) * size * rng.uniform(0.88, 1.15) * rng.uniform(0.96, 1.04, 3)
    long_axis = np.array([-0.72, 0.42, -0.55]) + rng.normal(0, 0.06, 3)
    long_axis /= np.linalg.norm(long_axis)
    second = np.cross(long_axis, [0, 0, 1.0])
    second /= np.linalg.norm(second)
    heart_axes = np.stack([long_axis, second, np.cross(long_axis, second)])
    heart_centre = np.array([-20 * width, 26 * depth, min(right, left) + 0.72 * heart_radii[2]])
    liver = (
        np.array([52 * width, 8 * depth, right - 85]) + rng.normal(0, 4, 3),
        np.array([112 * width, 92 * depth, 105]) * rng.uniform(0.93, 1.05, 3),
    )
    base = heart_centre + np.array([10, -8, 0.75 * heart_radii[2]])
    anatomy = Anatomy(
        body=(cage[0] + 25 + fat, cage[1] + 19 + fat),
        fat_mm=fat,
        cage=tuple(cage),
        apex=apex,
        shoulder=apex - rng.uniform(28, 40),
        diaphragm=diaphragm,
        ribs=int(rng.integers(10, 13)),
        rib_pitch_mm=24 * height * rng.uniform(0.93, 1.07),
        rib_tilt=rng.uniform(0.5, 0.72),
        heart_centre=heart_centre,
        heart_radii=heart_radii,
        heart_axes=heart_axes,
        liver=liver,
        large_vessels=_large_vessels(base, cage),
        airways=_airways(rng, base, cage),
    )
    clouds = _lung_clouds(rng, anatomy)
    hila = [(side * 34, base[1] - 12, base[2] + 12) for side in (1, -1)]
    vessels, bifurcations = lung_vessels(rng, hila, clouds)
    return Anatomy(**{**vars(anatomy), "lung_vessels": vessels, "bifurcations": bifurcations})


def _large_vessels(base, cage):
    """Aorta, pulmonary trunk with its two arteries, and both venae cavae; `base` is the top of the heart."""
    x, y, z = base
    behind = -cage[1] + 32
    aorta = [[x - 6, y, z - 20, 14], [x + 6, y, z + 25, 14], [x, y - 10, z + 48, 14], [x - 14, y - 35, z + 48, 13]]
    aorta += [[-24, behind, z + 25, 12.5], [-22, behind, z - 60, 12], [-12, behind + 2, -260, 10]]
    trunk = [[x - 16, y + 8, z - 15, 13], [x - 18, y - 6, z + 16, 12]]
    arteries = [[[x - 18, y - 6, z + 16, 10], [side * 36, y - 10, z + 16, 8]] for side in (1, -1)]
    cava = [[x + 24, y - 6, z - 20, 10], [x + 26, y - 8, z + 55, 9], [x + 30, y - 8, z + 110, 7]]
    lower = [[x + 24, y - 20, z - 45, 11], [18, behind + 25, z - 120, 11], [16, behind + 14, -260, 11]]
    branches = [[[x - 4, y - 18, z + 48, 6], [x + s, y - 16, z + 120, 4.5]] for s in (14, -8, -24)]
    top = np.array([19, behind + 26, z - 95])
    courses = [np.array([[0, 0, 0], [dx, dy, -18], [1.9 * dx, 1.6 * dy, -52]]) for dx, dy in LIVER_VEINS]
    hepatic = [np.column_stack([top + course, [6, 4, 2]]) for course in courses]
    return Tubes.along(aorta, trunk, *arteries, cava, lower, *branches, *hepatic)


def _airways(rng, base, cage):
    """Trachea, main bronchi and the bronchi of the lobes: the air inside them."""
    _, y, z = base
    carina = np.array([1.0, y - 26, z + 34])
    trachea = [[0, carina[1] + 14, 260, 8.5], [0, carina[1] + 8, carina[2] + 70, 8.5], [*carina, 8]]
    paths = [trachea]
    for side in (1, -1):
        hilum = carina + np.array([side * 34 + 2, 0, -24 - 4 * (side < 0)])
        paths.append([[*carina, 7], [*hilum, 5.5]])
        for offset in ([16, 8, 26], [26, 14, -16], [14, -14, -34]):
            tip = hilum + np.array([side * offset[0], offset[1], offset[2]]) * rng.uniform(0.9, 1.2)
            paths.append([[*hilum, 4], [*tip, 2.8], [*(tip + (tip - hilum) * 0.8 + rng.normal(0, 3, 3)), 1.8]])
    return Tubes.along(*paths)


def _lung_clouds(rng, anatomy, count=900):
    """Points spread evenly through the right and the left lung, two `(count, 3)` arrays."""
    a, b = anatomy.cage
    clouds = ([], [])
    while min(sum(len(part) for part in side) for side in clouds) < count:
        points = rng.uniform([-a * 1.1, -b * 1.2, anatomy.diaphragm.floor], [a * 1.1, b * 1.1, anatomy.apex], (8000, 3))
        inside = points[anatomy.lung_distance(points) > 3]
        clouds[0].append(inside[inside[:, 0] > 0])
        clouds[1].append(inside[inside[:, 0] < 0])
    return [np.concatenate(side)[:count] for side in clouds]
