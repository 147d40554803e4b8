from .intensity_correlation import correlation, local_correlation
from .landmarks import LandmarkErrors, landmark_errors_mm, summary_of_errors
from .overlap import dice_by_label, labels_in, surface_distances_by_label
from .quality import LabelQuality, Quality, displacement_quality
from .volume_change import VolumeChange, log_jacobian_summary

__all__ = [
    "LabelQuality",
    "LandmarkErrors",
    "Quality",
    "VolumeChange",
    "correlation",
    "dice_by_label",
    "displacement_quality",
    "labels_in",
    "landmark_errors_mm",
    "local_correlation",
    "log_jacobian_summary",
    "summary_of_errors",
    "surface_distances_by_label",
]
