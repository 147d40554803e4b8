"""A simulated person who breathes: images, lung masks, landmarks and the exact deformation.

The chest is drawn in continuous coordinates at full inhale (`anatomy`, `tissue`) and moved by an exact
diffeomorphism (`breathing`). The exhale image is the tissue evaluated at the points that the map carries to
each voxel, so both phases are equally sharp.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tfreg.simulation.anatomy import draw_anatomy
from tfreg.simulation.breathing import Breathing, WorldBreathing
from tfreg.simulation.tissue import CONTRASTS, draw_tissue
from tfreg.simulation.vessels import spread_points
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume

ADULT_CHEST_MM = (360.0, 260.0, 340.0)  # right-left, back-front, down-up
LANDMARKS = 30
RIGHT_LUNG, LEFT_LUNG = 1, 2
CT_PADDING = -1024
CHUNK = 60_000  # points at once: the work then stays in the processor's cache


@dataclass(frozen=True, eq=False)
class SimulatedSubject:
    """Two phases of one person on the same lattice.

    Args:
        inhale: Image at full inhale, float32 (MR, from 0) or int16 (CT, Hounsfield units).
        exhale: Image at full exhale.
        inhale_labels: uint8, 1 right lung, 2 left lung, 0 elsewhere. Lung vessels count as lung.
        exhale_labels: The same at exhale.
        inhale_points: `(n, 3)`, branching points of the lung vessels, world RAS+ mm.
        exhale_points: `(n, 3)`, the same points at exhale, in the same order.
        breathing: The exact deformation and its inverse, for any world point.
        displacement_mm: `(i, j, k, 3)` float32, world RAS+ mm: for each voxel centre of the exhale image, where
            that tissue is at inhale, less where it is at exhale: the pull-back for fixed = exhale, moving = inhale.
        parameters: What was drawn for this person, numbers by name.
    """

    inhale: Volume
    exhale: Volume
    inhale_labels: Volume
    exhale_labels: Volume
    inhale_points: np.ndarray
    exhale_points: np.ndarray
    breathing: WorldBreathing
    displacement_mm: np.ndarray
    parameters: dict[str, float]


def simulate_subject(
    rng: np.random.Generator,
    shape: Sequence[int],
    spacing: float | Sequence[float],
    modality: str = "mr",
    severity: float = 0.0,
    orientation: str = "RAS",
    circular_fov: bool = False,
) -> SimulatedSubject:
    """Simulates one person at full inhale and full exhale.

    An adult chest is placed in the middle of the field of view, and shrunk where it would not fit.
    Disease acts on the motion alone: severity s stiffens the basal lung, so that it changes volume by
    (1 - 0.9 s) of what a healthy one would. Structure and inhale image do not depend on it.

    Args:
        rng: `numpy.random.Generator`; equal states give equal voxels.
        shape: Three positive integers, voxels along each array axis.
        spacing: One number or three, mm along each array axis.
        modality: "mr" (0 to about 1300, Rician noise, bias field) or "ct" (Hounsfield units).
        severity: 0 healthy to 1, the stiffness of the lung bases.
        orientation: Three letters, the directions in which the array axes grow; slices first as in the paper is "ASR".
        circular_fov: CT only: fill with -1024 outside the circle that the axial field of view holds.

    Returns:
        A `SimulatedSubject`.

    Raises:
        ValueError: If an argument is out of range.
    """
    lattice = _lattice(shape, spacing, orientation)
    if modality not in CONTRASTS:
        raise ValueError(f"`modality` must be one of {sorted(CONTRASTS)}. Received: modality={modality!r}")
    if not 0 <= severity <= 1:
        raise ValueError(f"`severity` must lie in [0, 1]. Received: severity={severity}")
    anatomy = draw_anatomy(rng)
    in_chest, parameters = _draw_breathing(rng, anatomy, severity)
    pose, scale = _draw_pose(rng, lattice)
    tissue = draw_tissue(rng, anatomy, modality)
    voxel_mm = float(np.prod(lattice.spacing) ** (1 / 3)) / scale

    breathing = WorldBreathing(in_chest, pose)
    phases, displacement = _render(lattice, breathing, tissue, voxel_mm)
    volumes = []
    for values, labels in phases:
        image = (_as_mr if modality == "mr" else _as_ct)(rng, values, lattice)
        if modality == "ct" and circular_fov:
            image[_outside_circle(lattice)] = CT_PADDING
        volumes += [Volume(image, lattice.affine), Volume(labels, lattice.affine)]
    landmarks = _landmarks(anatomy, in_chest, voxel_mm) @ pose[:3, :3].T + pose[:3, 3]
    return SimulatedSubject(
        inhale=volumes[0],
        exhale=volumes[2],
        inhale_labels=volumes[1],
        exhale_labels=volumes[3],
        inhale_points=landmarks,
        exhale_points=breathing.to_exhale(landmarks),
        breathing=breathing,
        displacement_mm=displacement,
        parameters={"severity": float(severity), "scale": scale, **parameters},
    )


def _lattice(shape, spacing, orientation):
    """The field of view, centred on the world's origin."""
    spacing = np.broadcast_to(np.asarray(spacing, dtype=np.float64), (3,))
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise ValueError(f"`spacing` must be positive mm. Received: spacing={spacing.tolist()}")
    axes = ["LR", "PA", "IS"]
    directions = np.array([[(c in pair) * (2 * pair.find(c) - 1) for c in str(orientation)] for pair in axes])
    if directions.shape != (3, 3) or abs(np.linalg.det(directions)) != 1:
        raise ValueError(f"`orientation` must be three letters such as 'RAS'. Received: orientation={orientation!r}")
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(shape, dtype=np.float64) - 1) / 2)
    return Lattice(shape, affine)


def _draw_breathing(rng, anatomy, severity):
    depth = rng.uniform(0.85, 1.1)
    healthy = 0.37 * depth * rng.uniform(0.93, 1.07)
    drawn = {
        "basal_compression": healthy * (1 - 0.9 * severity),
        "upper_compression": 0.27 * depth * rng.uniform(0.9, 1.1),
        "forward_mm": 22 * depth * rng.uniform(0.8, 1.2),
        "lateral_mm": 10 * depth * rng.uniform(0.8, 1.2),
    }
    half_axes = (anatomy.cage[0], anatomy.cage[1])
    return Breathing(anatomy.diaphragm, anatomy.apex, half_axes, **drawn), drawn


def _draw_pose(rng, lattice):
    """Chest mm to world mm, and the scale that makes the chest fit the field of view."""
    field_of_view = np.abs(lattice.affine[:3, :3]) @ np.array(lattice.shape)
    scale = float(min(1.0, *(field_of_view / ADULT_CHEST_MM)))
    rotation = Rotation.from_euler("xyz", rng.normal(0, 1.5, 3).clip(-4, 4), degrees=True).as_matrix()
    pose = np.eye(4)
    pose[:3, :3] = scale * rotation
    pose[:3, 3] = lattice.centre_world + scale * rng.normal(0, 3, 3).clip(-7, 7)
    return pose, scale


def _render(lattice, breathing, tissue, voxel_mm):
    """Noise-free image and labels of inhale and exhale, and the displacement from exhale to inhale."""
    count = int(np.prod(lattice.shape))
    values, labels = np.empty((2, count), dtype=np.float32), np.empty((2, count), dtype=np.uint8)
    displacement = np.empty((count, 3), dtype=np.float32)
    to_chest = np.linalg.inv(breathing.pose)
    for first in range(0, count, CHUNK):
        part = slice(first, min(first + CHUNK, count))
        voxels = np.stack(np.unravel_index(np.arange(part.start, part.stop), lattice.shape), axis=1)
        chest = lattice.to_world(voxels) @ to_chest[:3, :3].T + to_chest[:3, 3]
        values[0, part], labels[0, part] = tissue.values(chest, np.ones(len(chest)), voxel_mm)
        inhale, jacobian = breathing.breathing.to_inhale(chest)
        values[1, part], labels[1, part] = tissue.values(inhale, jacobian, voxel_mm)
        displacement[part] = (inhale - chest) @ breathing.pose[:3, :3].T
    phases = [(values[phase].reshape(lattice.shape), labels[phase].reshape(lattice.shape)) for phase in (0, 1)]
    return phases, displacement.reshape(*lattice.shape, 3)


def _landmarks(anatomy, breathing, voxel_mm):
    """Branching points of vessels, deep enough for the nearest voxel to be lung in both phases, chest mm."""
    points = anatomy.bifurcations
    depth = anatomy.lung_distance(points)
    thinnest = np.minimum(breathing.to_exhale(points)[1], 1)
    needed = 3 + 0.9 * voxel_mm
    deep = points[depth * thinnest > needed]
    if len(deep) < LANDMARKS:
        deep = points[np.argsort(-depth * thinnest, kind="stable")[:LANDMARKS]]
    return spread_points(deep[: 8 * LANDMARKS], LANDMARKS)


def _as_mr(rng, values, lattice):
    """Coil sensitivity and Rician noise on an MR signal; `(i, j, k)` float32."""
    ramp = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in lattice.shape), indexing="ij", sparse=False))
    linear, square = rng.uniform(-0.1, 0.1, 3), rng.uniform(-0.12, 0.05, 3)
    bias = np.exp(np.tensordot(linear, ramp, 1) + np.tensordot(square, ramp**2, 1))
    real, imaginary = rng.normal(0, 16, (2, *lattice.shape))
    return np.hypot(values * bias + real, imaginary).astype(np.float32)


def _as_ct(rng, values, lattice):
    """Noise as a soft kernel leaves it; `(i, j, k)` int16 Hounsfield units from -1024."""
    noise = ndimage.gaussian_filter(rng.normal(0, 40, lattice.shape), 0.6)
    return np.clip(np.round(values + noise), -1024, 3071).astype(np.int16)


def _outside_circle(lattice):
    """`(i, j, k)`, True outside the largest circle in the axial field of view."""
    offset = np.abs(lattice.points() - lattice.centre_world)[..., :2]
    field_of_view = (np.abs(lattice.affine[:3, :3]) @ np.array(lattice.shape))[:2]
    return np.hypot(offset[..., 0], offset[..., 1]) > field_of_view.min() / 2
