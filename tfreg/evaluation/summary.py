"""What an evaluation's tables say: summary.json."""

from dataclasses import dataclass, field
from typing import Any

from tfreg.io.json_files import Record


@dataclass(frozen=True)
class Distribution:
    """How a metric spreads over pairs; a pair that a method fails on is in none.

    Args:
        pairs, of: Over how many pairs it is, and how many could have been measured.
        mean, sd, median, min, max: Of the pairs' values; `sd` is None for a single pair.
        interval: Bounds of the mean's 95 % interval over subjects, or None.
    """

    pairs: int
    of: int
    mean: float
    sd: float | None
    median: float
    min: float
    max: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Metrics:
    """The distributions of one method's metrics, by the names of `tfreg.evaluation.row.METRICS`; None where none is."""

    dice: Distribution | None = None
    hd95_mm: Distribution | None = None
    surface_mm: Distribution | None = None
    tre_mm: Distribution | None = None
    tre_median_mm: Distribution | None = None
    tre_p75_mm: Distribution | None = None
    tre_p95_mm: Distribution | None = None
    tre_max_mm: Distribution | None = None
    dx_mm: Distribution | None = None
    dy_mm: Distribution | None = None
    dz_mm: Distribution | None = None
    folding_fraction: Distribution | None = None
    log_jacobian_mean: Distribution | None = None
    log_jacobian_sd: Distribution | None = None
    volume_change_percent: Distribution | None = None
    damping: Distribution | None = None
    seconds: Distribution | None = None
    peak_mb: Distribution | None = None
    own_peak_mb: Distribution | None = None
    first_seconds: Distribution | None = None
    round_trip_voxels: Distribution | None = None
    round_trip_mm: Distribution | None = None


@dataclass(frozen=True)
class LabelMetrics:
    """The distributions of one label's metrics, by the names of `tfreg.evaluation.row.LABEL_METRICS`.

    Args:
        lost: In how many pairs it is missing in the fixed or in the warped segmentation.
    """

    dice: Distribution | None = None
    hd95_mm: Distribution | None = None
    surface_mm: Distribution | None = None
    log_jacobian_mean: Distribution | None = None
    log_jacobian_sd: Distribution | None = None
    volume_ml: Distribution | None = None
    mapped_volume_ml: Distribution | None = None
    volume_change_percent: Distribution | None = None
    lost: int = 0


@dataclass(frozen=True)
class SegmentationSummary:
    """What one method does to the segmentations of another column than the first.

    Args:
        structures, lost_structures: How many labels there are in all pairs, and how many of them are lost.
        dice, hd95_mm, surface_mm: Over all labels; None where no pair has segmentations.
    """

    structures: int
    lost_structures: int
    dice: Distribution | None = None
    hd95_mm: Distribution | None = None
    surface_mm: Distribution | None = None


@dataclass(frozen=True)
class Seen:
    """How many people a method's network has seen.

    Args:
        people: How many are measured.
        train, validation: How many of them it was trained on, and had its best epoch chosen on.
        unknown: Whether that is not known of some.
    """

    people: int
    train: int
    validation: int
    unknown: bool


@dataclass(frozen=True)
class MethodSummary:
    """One method in one experiment.

    Args:
        measured: How many pairs were measured.
        failures: Dictionary of the other pairs to what went wrong.
        folding: How many pairs fold.
        certified, review: Of how many pairs tfreg says so; None for other tools.
        structures, lost_structures: How many labels there are in all pairs, and how many of them are lost; None
            without segmentations.
        metrics: A `Metrics`.
        times_reference: Its median seconds by the reference's, on the pairs that both registered in one run; None
            where they have registered none.
        labels: Dictionary of label to `LabelMetrics`.
        segmentations: Dictionary of a column, of those beside the first, to a `SegmentationSummary`.
        seen: A `Seen`, or None where there is no network.
    """

    measured: int
    failures: dict[str, str]
    folding: int
    certified: int | None = None
    review: int | None = None
    structures: int | None = None
    lost_structures: int | None = None
    metrics: Metrics = field(default_factory=Metrics)
    times_reference: float | None = None
    labels: dict[str, LabelMetrics] = field(default_factory=dict)
    segmentations: dict[str, SegmentationSummary] = field(default_factory=dict)
    seen: Seen | None = None


@dataclass(frozen=True)
class Comparison:
    """The paired differences of a method to the reference in one metric, on the pairs that both registered.

    Args:
        metric, method, reference: Names; the Dice of another column than the first is "dice of COLUMN".
        pairs, of: Over how many pairs it is, and how many either registered.
        difference: The method's mean less the reference's.
        interval: Bounds of its 95 % interval over subjects, or None.
        p, p_holm: Of Wilcoxon's signed-rank test over subjects, as it is and adjusted; None for too few subjects.
    """

    metric: str
    method: str
    reference: str
    pairs: int
    of: int
    difference: float
    interval: tuple[float, float] | None = None
    p: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True)
class Experiment:
    """All methods on the pairs of one table.

    Args:
        pairs, subjects: How many.
        methods: Dictionary of name to `MethodSummary`, in the tables' order.
        comparisons: `Comparison`s.
    """

    pairs: int
    subjects: int
    methods: dict[str, MethodSummary]
    comparisons: tuple[Comparison, ...] = ()


class EvaluationSummary(Record):
    """What summary.json says.

    Args:
        reference: The method that the others are compared with.
        init: From where every method starts.
        workers, threads: Processes side by side, and threads of each.
        versions: Dictionary of package to version.
        methods: Dictionary of name to settings in words, of the methods asked for last.
        experiments: Dictionary of name to `Experiment`.
    """

    CURE = "run `tfreg evaluate` again"
    reference: str
    init: str
    workers: int
    threads: int
    versions: dict[str, str]
    methods: dict[str, str]
    experiments: dict[str, Experiment]

    @property
    def failures(self) -> int:
        """How many registrations failed."""
        return sum(len(method.failures) for part in self.experiments.values() for method in part.methods.values())

    @property
    def measured(self) -> int:
        """How many registrations were measured."""
        return sum(method.measured for part in self.experiments.values() for method in part.methods.values())

    @classmethod
    def upgraded(cls, content: dict[str, Any]) -> dict[str, Any]:
        """Summaries without a format number call metrics figures."""
        for experiment in content["experiments"].values():
            for method in experiment["methods"].values():
                method["metrics"] = method.pop("figures")
            for test in experiment["comparisons"]:
                test["metric"] = test.pop("figure")
        return content
