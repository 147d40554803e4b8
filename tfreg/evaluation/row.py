"""What is measured of one pair by one method, and the metrics that tables are made of."""

import math
from operator import attrgetter
from typing import Any

from tfreg.io.json_files import Record
from tfreg.metrics.quality import Quality

# The metrics of a pair, by where they stand in its row.
METRICS = {
    "dice": "quality.mean_dice",
    "hd95_mm": "quality.mean_hd95_mm",
    "surface_mm": "quality.mean_surface_mm",
    "tre_mm": "quality.landmarks.mean_mm",
    "tre_median_mm": "quality.landmarks.median_mm",
    "tre_p75_mm": "quality.landmarks.p75_mm",
    "tre_p95_mm": "quality.landmarks.p95_mm",
    "tre_max_mm": "quality.landmarks.max_mm",
    "dx_mm": "quality.landmarks.dx_mm",
    "dy_mm": "quality.landmarks.dy_mm",
    "dz_mm": "quality.landmarks.dz_mm",
    "folding_fraction": "quality.folding_fraction",
    "log_jacobian_mean": "quality.labelled.mean",
    "log_jacobian_sd": "quality.labelled.sd",
    "volume_change_percent": "quality.labelled.volume_change_percent",
    "damping": "damping",
    "seconds": "seconds",
    "peak_mb": "peak_mb",
    "own_peak_mb": "own_peak_mb",
    "first_seconds": "first_seconds",
    "round_trip_voxels": "round_trip_voxels",
    "round_trip_mm": "round_trip_mm",
}
# The metrics of another column's segmentation, by where they stand in its `Quality`.
SEGMENTATION_METRICS = {"dice": "mean_dice", "hd95_mm": "mean_hd95_mm", "surface_mm": "mean_surface_mm"}
# The metrics of a label, by where they stand in its `LabelQuality`.
LABEL_METRICS = {
    "dice": "dice",
    "hd95_mm": "hd95_mm",
    "surface_mm": "surface_mm",
    "log_jacobian_mean": "volume.mean",
    "log_jacobian_sd": "volume.sd",
    "volume_ml": "volume.volume_ml",
    "mapped_volume_ml": "volume.mapped_volume_ml",
    "volume_change_percent": "volume.volume_change_percent",
}


class Row(Record):
    """One pair by one method: a line of rows.jsonl.

    Args:
        experiment, pair, method: Names; they tell a row from all others.
        digest: Of the pair's files as they were measured.
        fixed_subject, moving_subject: The people's names, or None.
        error: What went wrong, one line, or None; then nothing was measured.
        seconds: What the registration took, or None.
        run: When the command began that measured it, or None; seconds of different runs are not compared.
        peak_mb: The largest memory of the process so far, or None.
        own_peak_mb: The largest memory while the pair was read and registered, in a process that serves the method
            alone, or None.
        first_seconds: What the first call of a process took, where it was made beside the one that counts, or None.
        round_trip_voxels, round_trip_mm: How far points miss that go there and back again by tfreg's transform, in
            voxels of its lattice, and in mm through a transform.npz; see `tfreg.evaluation.round_trip`.
        certified, damping, verdict, reasons: Of tfreg's own results, as their reports say.
        quality: A `Quality`.
        segmentations: Dictionary of a column, of those beside the first, to the `Quality` by its segmentations.
        warnings: Sentences.
        seen: Dictionary of a person of the pair to "train" or "validation", where the method's network has seen it;
            None where that is not known, or there is no network.
    """

    CURE = "delete it, and it is measured again"
    experiment: str
    pair: str
    method: str
    digest: str
    fixed_subject: str | None = None
    moving_subject: str | None = None
    error: str | None = None
    seconds: float | None = None
    run: str | None = None
    peak_mb: int | None = None
    own_peak_mb: int | None = None
    first_seconds: float | None = None
    round_trip_voxels: float | None = None
    round_trip_mm: float | None = None
    certified: bool | None = None
    damping: float | None = None
    verdict: str | None = None
    reasons: tuple[str, ...] = ()
    quality: Quality = Quality()
    segmentations: dict[str, Quality] = {}  # noqa: RUF012, every record has its own
    warnings: tuple[str, ...] = ()
    seen: dict[str, str] | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from all other rows."""
        return self.experiment, self.pair, self.method

    @property
    def labels(self) -> list[str]:
        """The labels that were measured, in numerical order."""
        return sorted(self.quality.labels or (), key=int)

    def metric(self, name: str) -> float | None:
        """One of `METRICS`; None where it was not measured, or is not finite."""
        return _finite(attrgetter(METRICS[name])(self))

    def label_metric(self, name: str, label: str) -> float | None:
        """One of `LABEL_METRICS` of a label; None where it was not measured, or is not finite."""
        return _finite(attrgetter(LABEL_METRICS[name])(self.quality.of_label(label)))

    def segmentation_metric(self, name: str, column: str) -> float | None:
        """One of `SEGMENTATION_METRICS` of a column; None where it was not measured, or is not finite."""
        if column not in self.segmentations:
            return None
        return _finite(attrgetter(SEGMENTATION_METRICS[name])(self.segmentations[column]))

    @classmethod
    def upgraded(cls, content: dict) -> dict:
        """Rows without a format number keep each metric's labels apart, and everything beside them by its region."""
        if "warning" in content:
            content["warnings"] = [*content.get("warnings", ()), content.pop("warning")]
        quality = content.pop("quality", {})
        return content | {"quality": _upgraded_quality(quality)}


def _upgraded_quality(quality: dict[str, Any]) -> dict[str, Any]:
    """A `Quality`'s fields, of what a row without a format number says."""
    regions = dict(quality.get("log_jacobian", {}))
    result = {name: quality[name] for name in ("landmarks", "folding_fraction") if name in quality}
    result |= {new: regions[old] for new, old in (("everywhere", "all"), ("labelled", "labels")) if old in regions}
    if "dice" in quality:
        result["labels"] = {
            label: {
                "dice": dice,
                "hd95_mm": quality["hd95_mm"][label],
                "surface_mm": quality["surface_mm"][label],
                "lost": label in quality["lost_labels"],
                "volume": regions.get(label, {}),
            }
            for label, dice in quality["dice"].items()
        }
    return result


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
