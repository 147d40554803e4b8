"""Volume change from the fixed to the moving image, by the log Jacobian."""

from dataclasses import dataclass

import numpy as np

from tfreg.volumes.volume import Volume


@dataclass(frozen=True)
class VolumeChange:
    """How a region's volume changes; None where there is no such region.

    Args:
        mean, sd, min, max, p5, median, p95: Of the log Jacobian.
        volume_ml: Of the region.
        mapped_volume_ml: Of what it is mapped to in the moving image.
        volume_change_percent: From the one to the other.

    Example:
        >>> logarithm = np.full((10, 10, 10), np.log(1.2))
        >>> change = tfreg.metrics.log_jacobian_summary(logarithm, np.eye(4), None)["all"]
        >>> change.volume_ml, round(change.mapped_volume_ml, 3), round(change.volume_change_percent, 3)
        (1.0, 1.2, 20.0)
    """

    mean: float | None = None
    sd: float | None = None
    min: float | None = None
    max: float | None = None
    p5: float | None = None
    median: float | None = None
    p95: float | None = None
    volume_ml: float | None = None
    mapped_volume_ml: float | None = None
    volume_change_percent: float | None = None


def log_jacobian_summary(logarithm: np.ndarray, affine: np.ndarray, labels: Volume | None) -> dict[str, VolumeChange]:
    """How the volume changes from fixed to moving, over the fixed field of view and inside each label.

    Args:
        logarithm: `(i, j, k)`, the log Jacobian.
        affine: `(4, 4)`, of its lattice.
        labels: A segmentation `Volume` on the same lattice, or None.

    Returns:
        A dictionary of region ("all", each label and, beside labels, "labels" for all of them together) to
        its `VolumeChange`.

    Example:
        >>> transform, lattice, _ = tfreg.load_transform("result")
        >>> lungs = tfreg.read_volume("chests/labels/s003_exhale.nii.gz", labels=True)
        >>> logarithm = tfreg.transforms.log_jacobian(transform.displacement_mm(lattice), lattice.affine)
        >>> changes = tfreg.metrics.log_jacobian_summary(logarithm, lattice.affine, lungs)
        >>> list(changes)
        ['all', 'labels', '1', '2']
        >>> changes["labels"].volume_change_percent > 0
        True
    """
    regions = {"all": np.ones(logarithm.shape, bool)}
    if labels is not None:
        inside = labels.array != 0
        regions |= {"labels": inside}
        regions |= {str(label): labels.array == label for label in np.unique(labels.array[inside])}
    voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    return {name: _volume_change(logarithm[region].astype(np.float64), voxel_ml) for name, region in regions.items()}


def _volume_change(values, voxel_ml):
    """The metrics of the log Jacobian of one region's voxels, `(n,)`."""
    low, median, high = np.percentile(values, (5, 50, 95))
    mean_ratio = float(np.exp(values).mean())
    return VolumeChange(
        mean=float(values.mean()),
        sd=float(values.std()),
        min=float(values.min()),
        max=float(values.max()),
        p5=float(low),
        median=float(median),
        p95=float(high),
        volume_ml=values.size * voxel_ml,
        mapped_volume_ml=values.size * voxel_ml * mean_ratio,
        volume_change_percent=100 * (mean_ratio - 1),
    )
