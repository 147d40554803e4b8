"""What the simulated chest's tissues look like in MR and CT."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tfreg.simulation.anatomy import VERTEBRA_PITCH_MM, Anatomy
from tfreg.simulation.shapes import ellipsoid

# Signal of MR in arbitrary units (the paper's window is [0, 1300]) and Hounsfield units of CT with contrast medium.
CONTRASTS = {
    "mr": {
        "air": 8, "lung_tissue": 780, "skin": 480, "fat": 930, "muscle": 370, "marrow": 560, "cortex": 140,
        "cartilage": 430, "disc": 300, "cord": 520, "vessel": 880, "blood": 800, "heart": 430, "liver": 520,
        "spleen": 400, "stomach": 300, "bowel": 640, "bronchus": 380,
    },
    "ct": {
        "air": -1000, "lung_tissue": 50, "skin": 30, "fat": -100, "muscle": 55, "marrow": 190, "cortex": 620,
        "cartilage": 110, "disc": 80, "cord": 30, "vessel": 110, "blood": 160, "heart": 90, "liver": 85,
        "spleen": 100, "stomach": 25, "bowel": -20, "bronchus": 20,
    },
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Texture:
    """Smooth noise attached to the tissue: cubic B-splines with random weights, repeated without end.

    Args:
        weights: `(n, n, n)`.
        pitch_mm: Distance of the weights.
    """

    weights: np.ndarray
    pitch_mm: float

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Noise of about unit spread at `(n, 3)` points, mm; `(n,)`."""
        coordinates = points.T / self.pitch_mm
        return 3.0 * ndimage.map_coordinates(self.weights, coordinates, order=3, mode="grid-wrap", prefilter=False)


@dataclass(frozen=True, eq=False)
class Tissue:
    """The tissue of one person, a function of the point in the inhale state.

    Args:
        anatomy: The organs.
        modality: "mr" or "ct".
        density: Share of tissue in the lungs' volume at inhale, the rest is air.
        fine: `Texture` of the lungs.
        coarse: `Texture` of the abdomen.
    """

    anatomy: Anatomy
    modality: str
    density: float
    fine: Texture
    coarse: Texture

    def values(self, points: np.ndarray, jacobian: np.ndarray, voxel_mm: float) -> tuple[np.ndarray, np.ndarray]:
        """Image values and lung labels at inhale points.

        Args:
            points: `(n, 3)` chest mm at inhale.
            jacobian: `(n,)`, present volume per inhale volume: mass is kept, so density goes with 1 / jacobian.
            voxel_mm: Edge of a voxel; edges are as wide as that.

        Returns:
            Values `(n,)` in the modality's unit, labels `(n,)` uint8: 1 right lung, 2 left lung.
        """
        body = self.anatomy.body_distance(points)
        lung = np.full(len(points), -np.inf)
        values = np.full(len(points), float(CONTRASTS[self.modality]["air"]))
        inside = np.flatnonzero(body > -voxel_mm)
        # Where the tissue is compressed, a voxel spans more of it.
        span = voxel_mm / np.cbrt(jacobian[inside])
        values[inside], lung[inside] = self._inside(points[inside], jacobian[inside], span, body[inside], voxel_mm)
        labels = np.where(lung > 0, np.where(points[:, 0] > 0, 1, 2), 0).astype(np.uint8)
        return values, labels

    def _inside(self, points, jacobian, span, body, voxel_mm):
        contrast, anatomy = CONTRASTS[self.modality], self.anatomy
        cage = anatomy.cage_distance(points)
        values = np.full(len(points), float(contrast["air"]))

        def paint(distance, value):
            share = np.clip(0.5 + distance / span, 0, 1)
            values[:] += share * (value - values)

        paint(body, contrast["skin"])
        paint(body - 2.0, contrast["fat"])
        # Muscle lies on the ribs; what is left towards the skin is fat.
        paint(np.minimum(body - anatomy.fat_mm * 0.8, 40.0), contrast["muscle"])
        paint(anatomy.scapula_distance(points, cage), contrast["cortex"] * 0.6 + contrast["marrow"] * 0.4)
        self._paint_abdomen(points, cage, paint)
        self._paint_mediastinum(points, cage, paint)
        self._paint_bones(points, cage, paint)
        lung = anatomy.lung_distance(points)
        self._paint_lungs(points, jacobian, lung, values, span)
        self._paint_tubes(points, lung, values, span, voxel_mm)
        return values, lung

    def _paint_abdomen(self, points, cage, paint):
        contrast, anatomy = CONTRASTS[self.modality], self.anatomy
        below = np.minimum(-anatomy.diaphragm.distance(points) - 2, cage + 2)
        texture = self.coarse(points)
        paint(below, contrast["fat"] + (contrast["bowel"] - contrast["fat"]) * np.clip(0.5 + 0.8 * texture, 0, 1))
        height = anatomy.diaphragm.heights[1]
        stomach = np.minimum(ellipsoid(points, (-48, 28, height - 42), (46, 38, 48)), below - 2)
        paint(stomach, contrast["stomach"])
        paint(np.minimum(stomach - 4, points[:, 1] - 34), contrast["air"])
        paint(np.minimum(ellipsoid(points, (-88, -40, height - 42), (36, 46, 48)), below - 1), contrast["spleen"])
        for side in (1, -1):
            paint(
                np.minimum(ellipsoid(points, (side * 58, -48, height - 112), (27, 25, 52)), below), contrast["spleen"]
            )
        liver = np.minimum(ellipsoid(points, *anatomy.liver), below - 1)
        paint(liver, contrast["liver"] * (1 + 0.03 * texture))

    def _paint_mediastinum(self, points, cage, paint):
        contrast, anatomy = CONTRASTS[self.modality], self.anatomy
        inner = np.minimum(cage - 1, anatomy.diaphragm.distance(points))
        x = points[:, 0]
        paint(np.minimum(inner, 30 - np.abs(x)), contrast["fat"] * 0.6 + contrast["muscle"] * 0.4)
        back = ellipsoid(points, (0, -anatomy.cage[1] - 12, 0), (48, 36, np.inf))
        paint(np.minimum(back, anatomy.body_distance(points) - anatomy.fat_mm), contrast["muscle"])
        atria = anatomy.atria_distance(points)
        paint(atria + 3, contrast["fat"])
        paint(atria, contrast["heart"])
        paint(np.minimum(atria - 2.5, np.abs(x - anatomy.heart_centre[0] - 20) - 1.5), contrast["blood"])
        heart = anatomy.heart_distance(points)
        paint(heart + 3.5, contrast["fat"])
        paint(heart, contrast["heart"])
        gullet = ellipsoid(points, (-4, -anatomy.cage[1] + 40, 0), (9, 6, np.inf))
        paint(np.minimum(inner, gullet), contrast["muscle"])
        blood = anatomy.heart_distance(points, 11.0)
        long_axis = (points - anatomy.heart_centre) @ anatomy.heart_axes.T
        septum = np.abs(long_axis[:, 1] + 6) - 4.5
        paint(np.minimum(blood, septum), contrast["blood"])

    def _paint_bones(self, points, cage, paint):
        contrast, anatomy = CONTRASTS[self.modality], self.anatomy
        x, y, z = points.T
        ribs, cartilage = anatomy.rib_distance(points, cage)
        paint(ribs, contrast["cortex"] + cartilage * (contrast["cartilage"] - contrast["cortex"]))
        paint(ribs - 1.6, contrast["marrow"] + cartilage * (contrast["cartilage"] - contrast["marrow"]))
        sternum = anatomy.sternum_distance(points, cage)
        paint(sternum, contrast["cortex"])
        paint(sternum - 1.5, contrast["marrow"])
        spine = anatomy.spine_distance(points)
        disc = VERTEBRA_PITCH_MM * (0.5 - np.abs((z / VERTEBRA_PITCH_MM) % 1 - 0.5)) - 3.0
        paint(spine, contrast["disc"])
        paint(np.minimum(spine, disc), contrast["cortex"])
        paint(np.minimum(spine, disc) - 1.6, contrast["marrow"])
        behind = -anatomy.cage[1] - 16
        arch = ellipsoid(points, (0, behind, 0), (16, 13, np.inf))
        process = np.minimum(np.minimum(4 - np.abs(x), y - behind + 36), behind - y)
        wings = np.minimum(np.minimum(5 - np.abs(y - behind - 2), 30 - np.abs(x)), disc)
        paint(
            np.maximum(np.maximum(arch, wings), np.minimum(process, disc)),
            contrast["cortex"] * 0.7 + contrast["marrow"] * 0.3,
        )
        paint(ellipsoid(points, (0, behind + 1, 0), (8.5, 7.5, np.inf)), contrast["cord"])

    def _paint_lungs(self, points, jacobian, lung, values, span):
        contrast = CONTRASTS[self.modality]
        near = np.flatnonzero(lung > -span)
        share = np.clip(0.5 + lung[near] / span[near], 0, 1)
        # Blood gathers at the back, so the lung is denser there.
        tissue = self.density * (1 + 0.12 * self.fine(points[near]) - 0.0018 * points[near, 1])
        tissue = np.clip(tissue / jacobian[near], 0.02, 0.95)
        air = contrast["air"] + tissue * (contrast["lung_tissue"] - contrast["air"])
        values[near] += share * (air - values[near])

    def _paint_tubes(self, points, lung, values, span, voxel_mm):
        contrast, anatomy = CONTRASTS[self.modality], self.anatomy
        near = np.flatnonzero(lung > -4)
        vessel = anatomy.lung_vessels.cover(points[near], voxel_mm)
        values[near] += vessel * (contrast["vessel"] - values[near])
        middle = np.flatnonzero(np.abs(points[:, 0]) < 125)
        outside = np.clip(0.5 - lung[middle] / span[middle], 0, 1)
        large = outside * anatomy.large_vessels.cover(points[middle], voxel_mm)
        values[middle] += large * (contrast["blood"] - values[middle])
        wall = anatomy.airways.widened(1.4).cover(points[middle], voxel_mm)
        values[middle] += wall * (contrast["bronchus"] - values[middle])
        lumen = anatomy.airways.cover(points[middle], voxel_mm)
        values[middle] += lumen * (contrast["air"] - values[middle])


def draw_tissue(rng: np.random.Generator, anatomy: Anatomy, modality: str) -> Tissue:
    """The tissue of one person.

    Args:
        rng: `numpy.random.Generator`.
        anatomy: `Anatomy`.
        modality: "mr" or "ct".

    Returns:
        A `Tissue`.
    """
    fine, coarse = rng.normal(size=(48, 48, 48)), rng.normal(size=(24, 24, 24))
    return Tissue(anatomy, modality, rng.uniform(0.11, 0.16), Texture(fine, 5.0), Texture(coarse, 14.0))
