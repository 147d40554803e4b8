"""What a classification writes as JSON: `ClassifierReport` and `ClassificationSummary`."""

from typing import Any, ClassVar

from tfreg.io.json_files import Block, Measured, Record

Interval = tuple[Measured, Measured]  # lower and upper end, 95 %


class ClassifierMetrics(Block):
    """How well one method tells healthy from ill, of subjects that it had not seen.

    Attributes:
        subjects, ill: How many they are, and how many of them are ill.
        accuracy, accuracy_interval: Share of all that is called rightly; Wilson's interval.
        sensitivity, specificity, balanced_accuracy: That share of the ill and of the healthy, and their mean.
        auc, auc_interval: Area under the ROC curve; see `tfreg.classification.statistics.area_interval`.
        p: See `tfreg.classification.statistics.permutation_test`.
        brier: Mean squared error of the probabilities.
        brier_of_prevalence: That of saying the share of the ill to everyone.
        calibration_slope, calibration_intercept: See `tfreg.classification.statistics.calibration`.
    """

    subjects: int
    ill: int
    accuracy: Measured
    accuracy_interval: Interval
    sensitivity: Measured
    specificity: Measured
    balanced_accuracy: Measured
    auc: Measured
    auc_interval: Interval
    p: Measured
    brier: Measured
    brier_of_prevalence: Measured
    calibration_slope: Measured
    calibration_intercept: Measured


class AreaDifference(Block):
    """By how much one method's area under the ROC curve is larger than another's."""

    difference: Measured
    interval: Interval


class GroupOutcome(Block):
    """What the first method says of one group: how many it calls ill, and the mean of the probabilities."""

    subjects: int
    mean_probability: Measured
    called_ill: int


class GroupSizes(Block):
    """How many subjects a classifier was trained on."""

    healthy: int
    ill: int


class ClassifierReport(Record):
    """What classifier.json says of a trained classifier.

    Attributes:
        versions: Of the packages that it depends on.
        registration_model_sha256: Of the network that registered the subjects, or None.
        subjects: How many it was trained on.
        held_out: Input, "displacement" or "log_jacobian", to each network's metrics on those that it had not seen.
        failures: Subject to why it could not be registered.
        to_review: Subjects whose registration should not be trusted unseen.
        training: The names under which the subjects' deformations are cached.
        training_images: Digests of the subjects' images.
        seconds: What all of it took.
    """

    KIND: ClassVar[str] = "a classifier"
    CURE: ClassVar[str] = "train the classifier again"
    versions: dict[str, str]
    registration_model_sha256: str | None
    subjects: GroupSizes
    held_out: dict[str, ClassifierMetrics]
    failures: dict[str, str]
    to_review: tuple[str, ...]
    training: tuple[str, ...]
    training_images: tuple[str, ...] = ()
    seconds: float


class ClassificationSummary(Record):
    """What summary.json says of methods that were judged by subjects that they had not seen.

    Attributes:
        source: What was judged, in words.
        shuffled: Whether the groups were shuffled among the subjects.
        threshold: From which probability on a subject is called ill.
        methods: Name of each method to its metrics; the first is the one that predicts.
        against_regression: Name of each network to how it compares with the logistic regression.
        groups: Name of each group to what the first method says of it.
        failures: Subject to why it could not be registered.
        to_review: Subjects whose registration should not be trusted unseen.
        seen_in_training: How many subjects were left out, because the classifier was trained on them.
        seen_by_registration: Person to the split in which the registration network saw them; None where its run does
            not say.
        config: The classifier's config, without the place of the registration network.
        versions: Of the packages that the result depends on.
        seconds: What all of it took.
    """

    KIND: ClassVar[str] = "an evaluation of a classifier"
    CURE: ClassVar[str] = "evaluate the classifier again"
    source: str
    shuffled: bool
    threshold: float
    methods: dict[str, ClassifierMetrics]
    against_regression: dict[str, AreaDifference]
    groups: dict[str, GroupOutcome]
    failures: dict[str, str]
    to_review: tuple[str, ...]
    seen_in_training: int
    seen_by_registration: dict[str, str] | None
    config: dict[str, Any]
    versions: dict[str, str]
    seconds: float
