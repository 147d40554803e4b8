"""`tfreg classify predict`: how probably each subject of a table is ill."""

from dataclasses import astuple, dataclass, replace
from pathlib import Path

from tfreg.classification.cohort import read_cohort
from tfreg.classification.features import deformations_of
from tfreg.classification.trained_classifier import REGRESSION, load_classifier, trained_with
from tfreg.config import PredictionOptions
from tfreg.io.folders.result_file import check_file, written_files
from tfreg.io.tables.csv_tables import table_text
from tfreg.runtime.progress import NO_PROGRESS, Progress
from tfreg.runtime.resources import Resources

COLUMNS = ("subject", "probability", "health", "lowest", "highest", REGRESSION, "registration", "error")


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one subject; nothing but the error where the registration failed.

    Args:
        subject: The person's name.
        probability: Of being ill, averaged over the networks.
        health: "healthy" or "ill".
        lowest, highest: The smallest and the largest probability of the averaged networks.
        regression: The regression's probability.
        verdict: The registration's, "pass" or "review".
        error: Why the registration failed, or None.
    """

    subject: str
    probability: float | None = None
    health: str | None = None
    lowest: float | None = None
    highest: float | None = None
    regression: float | None = None
    verdict: str | None = None
    error: str | None = None


def predict_health(
    source: str | Path,
    data: str | Path,
    out: str | Path,
    cache: str | Path,
    options: PredictionOptions | None = None,
    resources: Resources | None = None,
    force: bool = False,
    progress: Progress = NO_PROGRESS,
) -> list[Prediction]:
    """Tells for every subject of a table how probably it is ill.

    Args:
        source: A folder that `train_classifier` wrote.
        data, cache, resources, progress: See `read_cohort`. The column `group` need not be there.
        out: The CSV file to write, whole or not at all.
        options: Which subjects, and where the registration network lies; None for the defaults.
        force: Replaces an existing file.

    Returns:
        A prediction for each subject; those who could not be registered come last.

    Raises:
        UserError: If the manifest or the classifier do not fit.
        WorkError: If no registration succeeds.
    """
    out, options = Path(out), options or PredictionOptions()
    check_file(out, ("",), force, [data])
    _, config = trained_with(source, options.model)
    resources = replace(resources or Resources(), seed=config.seed)
    with resources.limited():
        cohort = read_cohort(config, data, cache, options.split, 0, resources, progress)
        resources.set_up()
        classifier = load_classifier(source)
        kind, ensemble = next(iter(classifier.ensembles.items()))
        deformations = deformations_of(cohort.registered, (kind,), config.grid, classifier.regression.names)
        each = ensemble.each(deformations.inputs[kind])  # (networks, n)
        regression = classifier.regression.predict(deformations.features)
    predictions = [
        Prediction(
            subject=one.subject,
            probability=round(float(each[:, number].mean()), 6),
            health="ill" if each[:, number].mean() >= config.threshold else "healthy",
            lowest=round(float(each[:, number].min()), 6),
            highest=round(float(each[:, number].max()), 6),
            regression=round(float(regression[number]), 6),
            verdict=one.record.verdict,
        )
        for number, one in enumerate(cohort.registered)
    ]
    predictions += [Prediction(subject, error=error) for subject, error in cohort.failures.items()]
    with written_files([out], force) as (partial,):
        partial.write_text(table_text(COLUMNS, [astuple(one) for one in predictions]), encoding="utf-8")
    return predictions
