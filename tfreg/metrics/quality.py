"""The quality of a registration, whatever tool made it: overlap, distances, folds and changes of volume."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfreg.metrics.landmarks import LandmarkErrors, landmark_errors_mm, summary_of_errors
from tfreg.metrics.overlap import dice_by_label, labels_in, lost_labels, surface_distances_by_label
from tfreg.metrics.volume_change import VolumeChange, log_jacobian_summary
from tfreg.transforms.certificate import folding_fraction
from tfreg.transforms.jacobian import log_jacobian
from tfreg.transforms.transform import Transform
from tfreg.volumes.resampling import sample
from tfreg.volumes.volume import Volume


@dataclass(frozen=True)
class LabelQuality:
    """How well one label is aligned.

    Args:
        dice: Its Dice coefficient.
        hd95_mm: The 95th percentile of its surfaces' distance.
        surface_mm: The mean of its surfaces' distance.
        lost: Whether it is missing in the fixed or in the warped segmentation.
        volume: How its volume changes.

    Example:
        >>> phases = ("exhale", "inhale")
        >>> images = [tfreg.read_volume(f"chests/images/s003_{phase}.nii.gz") for phase in phases]
        >>> lungs = [tfreg.read_volume(f"chests/labels/s003_{phase}.nii.gz", labels=True) for phase in phases]
        >>> pair = tfreg.ImagePair(*images, *lungs)
        >>> quality, _ = tfreg.metrics.displacement_quality(pair, np.zeros((*pair.fixed.shape, 3), np.float32))
        >>> right_lung = quality.of_label("1")
        >>> round(right_lung.dice, 2), right_lung.lost
        (0.67, False)
    """

    dice: float | None = None
    hd95_mm: float | None = None
    surface_mm: float | None = None
    lost: bool = False
    volume: VolumeChange = field(default_factory=VolumeChange)


@dataclass(frozen=True)
class Quality:
    """How well a displacement aligns a pair, and how it treats space; None where there is nothing to measure it on.

    Args:
        labels: Dictionary of each label, as a string, to a `LabelQuality`, in numerical order; None without
            segmentations.
        landmarks: A `LandmarkErrors`.
        folding_fraction: Of the fixed lattice's voxels those at which the displacement folds.
        everywhere: The `VolumeChange` of the fixed field of view.
        labelled: That of all labels together.

    Example:
        >>> phases = ("exhale", "inhale")
        >>> images = [tfreg.read_volume(f"chests/images/s003_{phase}.nii.gz") for phase in phases]
        >>> lungs = [tfreg.read_volume(f"chests/labels/s003_{phase}.nii.gz", labels=True) for phase in phases]
        >>> transform, lattice, _ = tfreg.load_transform("result")
        >>> displacement_mm = transform.displacement_mm(lattice)
        >>> quality, _ = tfreg.metrics.displacement_quality(tfreg.ImagePair(*images, *lungs), displacement_mm)
        >>> sorted(quality.labels), quality.lost_labels
        (['1', '2'], ())
        >>> quality.folding_fraction
        0.0
    """

    labels: dict[str, LabelQuality] | None = None
    landmarks: LandmarkErrors = field(default_factory=LandmarkErrors)
    folding_fraction: float | None = None
    everywhere: VolumeChange = field(default_factory=VolumeChange)
    labelled: VolumeChange = field(default_factory=VolumeChange)

    @property
    def mean_dice(self) -> float | None:
        """The mean Dice of all labels."""
        return self._mean("dice")

    @property
    def mean_hd95_mm(self) -> float | None:
        """The mean `hd95_mm` of all labels."""
        return self._mean("hd95_mm")

    @property
    def mean_surface_mm(self) -> float | None:
        """The mean `surface_mm` of all labels."""
        return self._mean("surface_mm")

    @property
    def lost_labels(self) -> tuple[str, ...]:
        """The labels that are missing in the fixed or in the warped segmentation."""
        return tuple(label for label, entry in (self.labels or {}).items() if entry.lost)

    def of_label(self, label: str) -> LabelQuality:
        """That of a label; an empty one where it is in neither segmentation."""
        return self.labels[label] if self.labels and label in self.labels else LabelQuality()

    def _mean(self, name):
        values = [getattr(entry, name) for entry in (self.labels or {}).values()]
        values = [value for value in values if value is not None]
        return float(np.mean(values)) if values else None


def displacement_quality(pair: Any, displacement_mm: np.ndarray) -> tuple[Quality, Volume | None]:
    """How well a displacement aligns a pair, and how it treats space, whatever tool made it.

    Labels are warped with nearest neighbour; landmarks are moved by the displacement interpolated linearly, outside
    the lattice by its border's. Every label of either segmentation counts: one that is missing after warping has Dice
    0 and the largest distance that the fixed image allows (see `surface_distances_by_label`).

    Args:
        pair: An `ImagePair`.
        displacement_mm: `(i, j, k, 3)` on the fixed lattice, RAS+ mm, the whole transform.

    Returns:
        A `Quality`. And the warped labels, a `Volume`, or None.

    Example:
        >>> phases = ("exhale", "inhale")
        >>> images = [tfreg.read_volume(f"chests/images/s003_{phase}.nii.gz") for phase in phases]
        >>> lungs = [tfreg.read_volume(f"chests/labels/s003_{phase}.nii.gz", labels=True) for phase in phases]
        >>> transform, lattice, _ = tfreg.load_transform("result")
        >>> pair = tfreg.ImagePair(*images, *lungs)
        >>> quality, warped = tfreg.metrics.displacement_quality(pair, transform.displacement_mm(lattice))
        >>> round(quality.mean_dice, 2)
        0.8
        >>> warped.lattice.same_as(lattice)
        True
    """
    lattice, labels, warped, landmarks = pair.fixed.lattice, None, None, LandmarkErrors()
    logarithm = log_jacobian(displacement_mm, lattice.affine)
    volumes = log_jacobian_summary(logarithm, lattice.affine, pair.fixed_labels)
    if pair.fixed_labels is not None:
        warped = Transform.identity(lattice).warp(pair.moving_labels, lattice, "nearest", 0, displacement_mm)
        labels = labels_quality(pair, warped, volumes)
    if pair.fixed_points is not None:
        differences = landmark_errors_mm(
            lambda points: points + _at_points(displacement_mm, lattice, points), pair.fixed_points, pair.moving_points
        )
        landmarks = summary_of_errors(differences)
    quality = Quality(
        labels,
        landmarks,
        folding_fraction(displacement_mm, lattice.affine),
        volumes["all"],
        volumes.get("labels", VolumeChange()),
    )
    return quality, warped


def labels_quality(pair: Any, warped: Volume, volumes: dict[str, VolumeChange]) -> dict[str, LabelQuality]:
    """How well each label is aligned.

    Args:
        pair: An `ImagePair` with segmentations.
        warped: The moving one on the fixed lattice, a `Volume`.
        volumes: Dictionary of a label, as a string, to its `VolumeChange`.

    Returns:
        Dictionary of each label of either segmentation, as a string, to a `LabelQuality`.
    """
    both = pair.fixed_labels.array, warped.array
    labels = labels_in(pair.fixed_labels.array, pair.moving_labels.array)
    dice, lost = dice_by_label(*both, labels), lost_labels(*both, labels)
    surfaces = surface_distances_by_label(*both, pair.fixed.spacing, labels)
    return {
        str(label): LabelQuality(
            dice[label],
            surfaces[label]["hd95_mm"],
            surfaces[label]["mean_mm"],
            label in lost,
            volumes.get(str(label), VolumeChange()),
        )
        for label in labels
    }


def _at_points(displacement_mm, lattice, points_world):
    """A displacement at points `(n, 3)`, interpolated linearly."""
    voxels = np.clip(lattice.to_voxel(points_world), 0, np.array(lattice.shape) - 1)
    return np.stack([sample(np.ascontiguousarray(displacement_mm[..., d]), voxels) for d in range(3)], axis=-1)
