"""`tfreg classify train`: the paper's classifier, and the regression that it must beat, on one cohort."""

import time
from dataclasses import replace
from pathlib import Path

from tfreg.classification.cohort import read_cohort
from tfreg.classification.features import deformations_of
from tfreg.classification.statistics import metrics_of
from tfreg.classification.summary import ClassifierReport, GroupSizes
from tfreg.classification.trained_classifier import CLASSIFIER, fit_classifier, save_classifier
from tfreg.config import Classification, SubjectOptions
from tfreg.io.folders.result_folder import claimed_result
from tfreg.runtime.progress import NO_PROGRESS, Progress
from tfreg.runtime.resources import Resources, versions


def train_classifier(
    config: Classification,
    data: str | Path,
    out: str | Path,
    cache: str | Path,
    options: SubjectOptions | None = None,
    resources: Resources | None = None,
    force: bool = False,
    progress: Progress = NO_PROGRESS,
) -> ClassifierReport:
    """Trains the paper's classifier, and the regression that it must beat.

    Args:
        config, data, cache, resources, progress: See `read_cohort`.
        out: Folder of the classifier; it appears whole or not at all.
        options: Which subjects; None for all.
        force: Replaces an earlier classifier.

    Returns:
        What classifier.json says: each network's metrics on the subjects that it had not seen.

    Raises:
        UserError: If the manifest does not fit the config, or a group is too small.
        WorkError: If no registration succeeds, or a training diverges.
    """
    options, resources = options or SubjectOptions(), replace(resources or Resources(), seed=config.seed)
    inputs = [data, cache, config.registration.model]
    with claimed_result(out, CLASSIFIER, force, inputs) as written, resources.limited():
        started = time.perf_counter()
        cohort = read_cohort(config, data, cache, options.split, config.folds, resources, progress)
        resources.set_up()
        deformations = deformations_of(cohort.registered, config.inputs, config.grid)
        with progress.stage("training", config.folds * len(config.inputs)) as advance:
            classifier = fit_classifier(deformations, cohort.targets, config, config.seed, advance)
        report = ClassifierReport(
            versions=versions(),
            registration_model_sha256=cohort.registered[0].record.definition.network,
            subjects=GroupSizes(healthy=int((cohort.targets == 0).sum()), ill=int((cohort.targets == 1).sum())),
            held_out={
                kind: metrics_of(cohort.targets, ensemble.held_out, ensemble.folds, config.threshold, config.seed)
                for kind, ensemble in classifier.ensembles.items()
            },
            failures=cohort.failures,
            to_review=tuple(cohort.to_review),
            training=tuple(cohort.keys),
            training_images=tuple(sorted(set().union(*cohort.images) - {None})),
            seconds=round(time.perf_counter() - started, 1),
        )
        with written() as folder:
            save_classifier(folder, classifier, report)
    return report
