"""`tfreg classify evaluate`: every method judged by subjects that it has not seen."""

import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tfreg.classification.cohort import Cohort, read_cohort
from tfreg.classification.ensemble import stratified_folds
from tfreg.classification.features import deformations_of
from tfreg.classification.statistics import area_difference, calibration_bins, metrics_of
from tfreg.classification.summary import AreaDifference, ClassificationSummary, ClassifierMetrics, GroupOutcome
from tfreg.classification.text import classification_text
from tfreg.classification.trained_classifier import REGRESSION, fit_classifier, load_classifier, trained_with
from tfreg.config import Classification, JudgementOptions
from tfreg.errors import InputWarning, UserError
from tfreg.io.folders.result_folder import Kind, claimed_result
from tfreg.io.tables.csv_tables import table_text
from tfreg.io.tables.training_people import seen_by
from tfreg.report.drawing import optional_picture
from tfreg.runtime.progress import NO_PROGRESS, Progress
from tfreg.runtime.resources import Resources, versions

SUMMARY, TABLES, PREDICTIONS, PICTURE = "summary.json", "tables.md", "predictions.csv", "report.png"
JUDGEMENT = Kind("an evaluation of a classifier", SUMMARY, (r"tables\.md|predictions\.csv|report\.png",))


def cross_validate(
    config: Classification,
    data: str | Path,
    out: str | Path,
    cache: str | Path,
    options: JudgementOptions | None = None,
    resources: Resources | None = None,
    force: bool = False,
    progress: Progress = NO_PROGRESS,
) -> ClassificationSummary:
    """Judges every method on each fold of a cohort by classifiers that were trained without that fold.

    Args:
        config, data, cache, resources, progress: See `read_cohort`.
        out: Folder for predictions.csv, summary.json, tables.md and report.png; it appears whole or not at all.
        options: Which subjects, and whether their groups are shuffled; None for the defaults.
        force: Replaces an earlier evaluation.

    Returns:
        What summary.json says.

    Raises:
        UserError: If the manifest does not fit the config, or a group is too small.
        WorkError: If no registration succeeds, or a training diverges.
    """
    options, resources = options or JudgementOptions(), replace(resources or Resources(), seed=config.seed)
    with claimed_result(out, JUDGEMENT, force, [data, cache, options.model]) as written, resources.limited():
        started = time.perf_counter()
        cohort = read_cohort(config, data, cache, options.split, config.folds + 1, resources, progress)
        targets, seen = _begun(cohort, config, options.shuffled, resources)
        deformations = deformations_of(cohort.registered, config.inputs, config.grid)
        evaluation = Evaluation(cohort, config, targets, *_cross_validated(deformations, targets, config, progress))
        summary = evaluation.summary(
            source=f"{config.folds}-fold cross-validation",
            shuffled=options.shuffled,
            seen_in_training=0,
            seen_by_registration=seen,
            seconds=round(time.perf_counter() - started, 1),
        )
        with written() as folder:
            evaluation.write(folder, summary)
    return summary


def evaluate_classifier(
    source: str | Path,
    data: str | Path,
    out: str | Path,
    cache: str | Path,
    options: JudgementOptions | None = None,
    resources: Resources | None = None,
    force: bool = False,
    progress: Progress = NO_PROGRESS,
) -> ClassificationSummary:
    """Judges every method of a trained classifier by a table, without the images that it was trained on.

    Args:
        source: A folder that `train_classifier` wrote.
        data, cache, resources, progress: See `read_cohort`.
        out, force: See `cross_validate`.
        options: Which subjects, whether their groups are shuffled, and where the registration network lies; None for
            the defaults.

    Returns:
        What summary.json says.

    Raises:
        UserError: If the manifest or the classifier do not fit.
        WorkError: If no registration succeeds.
    """
    options = options or JudgementOptions()
    with claimed_result(out, JUDGEMENT, force, [source, data, cache, options.model]) as written:
        started = time.perf_counter()
        report, config = trained_with(source, options.model)
        resources = replace(resources or Resources(), seed=config.seed)
        with resources.limited():
            cohort = read_cohort(config, data, cache, options.split, 1, resources, progress)
            trained_on = cohort.seen(set(report.training), set(report.training_images))
            cohort = cohort.without(trained_on)
            if set(cohort.targets) != {0, 1}:
                raise UserError(f"{data}: the classifier was trained on these very images; give it others")
            targets, seen = _begun(cohort, config, options.shuffled, resources)
            classifier = load_classifier(source)
            names = classifier.regression.names
            deformations = deformations_of(cohort.registered, config.inputs, config.grid, names)
        folds = np.zeros(len(targets), int)
        evaluation = Evaluation(cohort, config, targets, folds, classifier.probabilities(deformations))
        summary = evaluation.summary(
            source="a trained classifier",
            shuffled=options.shuffled,
            seen_in_training=len(trained_on),
            seen_by_registration=seen,
            seconds=round(time.perf_counter() - started, 1),
        )
        with written() as folder:
            evaluation.write(folder, summary)
    return summary


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What every method says of subjects that it had not seen.

    Args:
        cohort: The `n` subjects.
        config: Of the classifier.
        targets: `(n,)`, 0 healthy and 1 ill, shuffled where that was asked for.
        folds: `(n,)`, which subjects were judged by one and the same trained model.
        probabilities: Method to `(n,)`, of being ill; the first is the one that predicts.
    """

    cohort: Cohort
    config: Classification
    targets: np.ndarray
    folds: np.ndarray
    probabilities: dict[str, np.ndarray]

    def metrics(self) -> dict[str, ClassifierMetrics]:
        """How well each method tells the groups apart."""
        threshold, seed = self.config.threshold, self.config.seed
        return {
            name: metrics_of(self.targets, probabilities, self.folds, threshold, seed)
            for name, probabilities in self.probabilities.items()
        }

    def against_regression(self) -> dict[str, AreaDifference]:
        """How each network compares with the regression."""
        regression = self.probabilities[REGRESSION]
        return {
            name: area_difference(self.targets, probabilities, regression, self.config.seed)
            for name, probabilities in self.probabilities.items()
            if name != REGRESSION
        }

    def groups(self) -> dict[str, GroupOutcome]:
        """What the first method says of each group."""
        probabilities = next(iter(self.probabilities.values()))
        names = np.array([subject.group for subject in self.cohort.registered])
        return {
            str(name): GroupOutcome(
                subjects=int((names == name).sum()),
                mean_probability=float(probabilities[names == name].mean()),
                called_ill=int((probabilities[names == name] >= self.config.threshold).sum()),
            )
            for name in sorted(set(names))
        }

    def summary(
        self,
        source: str,
        shuffled: bool,
        seen_in_training: int,
        seen_by_registration: dict[str, str] | None,
        seconds: float,
    ) -> ClassificationSummary:
        """What summary.json says; see `ClassificationSummary`."""
        return ClassificationSummary(
            source=source,
            shuffled=shuffled,
            threshold=self.config.threshold,
            methods=self.metrics(),
            against_regression=self.against_regression(),
            groups=self.groups(),
            failures=self.cohort.failures,
            to_review=tuple(self.cohort.to_review),
            seen_in_training=seen_in_training,
            seen_by_registration=seen_by_registration,
            config=self.config.model_dump(mode="json", exclude={"registration": {"model"}}),
            versions=versions(),
            seconds=seconds,
        )

    def write(self, folder: Path, summary: ClassificationSummary) -> None:
        """Writes predictions.csv, summary.json, tables.md and report.png into a folder that is there."""
        (folder / PREDICTIONS).write_text(self._csv(), encoding="utf-8")
        (folder / SUMMARY).write_text(summary.text(), encoding="utf-8")
        (folder / TABLES).write_text(classification_text(summary), encoding="utf-8")
        with optional_picture(folder / PICTURE, lambda text: warnings.warn(InputWarning(text), stacklevel=2)):
            self._chart(summary).savefig(folder / PICTURE, dpi=130)

    def _csv(self):
        rows = [
            (
                one.subject,
                one.group,
                int(self.targets[number]),
                int(self.folds[number]) + 1,
                *(round(float(probabilities[number]), 6) for probabilities in self.probabilities.values()),
                one.record.verdict,
            )
            for number, one in enumerate(self.cohort.registered)
        ]
        return table_text(["subject", "group", "ill", "fold", *self.probabilities, "registration"], rows)

    def _chart(self, summary):
        from tfreg.classification.charts import classification_chart

        bins = {name: calibration_bins(self.targets, values) for name, values in self.probabilities.items()}
        areas = {name: (metrics.auc, *metrics.auc_interval) for name, metrics in summary.methods.items()}
        groups = [str(subject.group) for subject in self.cohort.registered]
        return classification_chart(self.targets, self.probabilities, bins, areas, groups, summary.threshold)


def _begun(cohort, config, shuffled, resources):
    """Sets this process up.

    Returns:
        The targets by which methods are judged, `(n,)`, and the people whom the registration network saw in its
        training; None where its run does not say.
    """
    network, pairs = config.registration.model, [one.pair for one in cohort.registered]
    seen = seen_by({"the registration network": network}, pairs).popitem()[1] if network else {}
    resources.set_up()
    if not shuffled:
        return cohort.targets, seen
    return np.random.default_rng(config.seed).permutation(cohort.targets), seen


def _cross_validated(deformations, targets, config, progress):
    """Each subject's fold, `(n,)`, and the probabilities by methods that were trained without that fold."""
    import keras

    folds = stratified_folds(targets, config.folds, config.seed)
    by_method = {}
    with progress.stage("training", config.folds**2 * len(config.inputs)) as advance:
        for fold in range(config.folds):
            inside = folds == fold
            seed = config.seed + 1 + fold
            classifier = fit_classifier(deformations.subset(~inside), targets[~inside], config, seed, advance)
            for name, probabilities in classifier.probabilities(deformations.subset(inside)).items():
                by_method.setdefault(name, np.empty(len(targets)))[inside] = probabilities
            keras.utils.clear_session()
    return folds, by_method
