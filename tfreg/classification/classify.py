"""`tfreg classify`: healthy or ill, by the residual deformation between two phases of each subject."""

import json
import time
import warnings
from pathlib import Path

import numpy as np

from tfreg.classification.classifiers import stratified_folds
from tfreg.classification.cohort import read_cohort
from tfreg.classification.features import deformations_of
from tfreg.classification.statistics import area_difference, calibration_bins, figures_of
from tfreg.classification.text import classification_text
from tfreg.classification.trained_classifier import (
    CLASSIFIER,
    REGRESSION,
    fit_classifier,
    load_classifier,
    read_report,
    save_classifier,
)
from tfreg.config import Classification, load_config
from tfreg.errors import InputWarning, UserError
from tfreg.io.digests import file_digest
from tfreg.io.folders.result_file import check_file, written_files
from tfreg.io.folders.result_folder import Kind, claimed_result
from tfreg.io.tables.csv_tables import table_text
from tfreg.io.tables.training_people import seen_by
from tfreg.registration.result import without_nan
from tfreg.registration.trained_run import find_run
from tfreg.report.drawing import optional_picture
from tfreg.runtime.progress import progress_bar
from tfreg.runtime.resources import set_up, versions

SUMMARY, TABLES, PREDICTIONS, PICTURE = "summary.json", "tables.md", "predictions.csv", "report.png"
JUDGEMENT = Kind("an evaluation of a classifier", SUMMARY, (r"tables\.md|predictions\.csv|report\.png",))


def train_classifier(
    config, data, out, cache, *, split=None, workers=1, threads=None, device=None, force=False, progress=True
):
    """Trains the paper's classifier, and the regression that it must beat.

    Args:
        config, data, cache, split, workers, threads, device, progress: See `read_cohort`.
        out: Folder of the classifier; it appears whole or not at all.
        force: Replaces an earlier classifier.

    Returns:
        What classifier.json says, a dictionary: each network's figures on the subjects that it had not seen.

    Raises:
        UserError: If the manifest does not fit the config, or a group is too small.
    """
    with claimed_result(out, CLASSIFIER, force, [data, cache, config.registration.model]) as written:
        started = time.perf_counter()
        options = {"workers": workers, "threads": threads, "device": device, "progress": progress}
        cohort = read_cohort(config, data, cache, split=split, least=config.folds, **options)
        set_up(config.seed, threads, device)
        seen = deformations_of(cohort.registered, config.inputs, config.grid)
        with progress_bar(progress) as bar:
            line = bar.add_task("training", total=config.folds * len(config.inputs), status="")
            classifier = fit_classifier(seen, cohort.targets, config, config.seed, lambda: bar.advance(line))
        report = {
            "versions": versions(),
            "registration_model_sha256": cohort.registered[0].record["definition"].get("model"),
            "subjects": {"healthy": int((cohort.targets == 0).sum()), "ill": int((cohort.targets == 1).sum())},
            "held_out": {
                kind: figures_of(cohort.targets, ensemble.held_out, ensemble.parts, config.threshold, config.seed)
                for kind, ensemble in classifier.ensembles.items()
            },
            "failures": cohort.failures,
            "to_review": cohort.to_review,
            "training": cohort.keys,
            "training_images": sorted(set().union(*cohort.images) - {None}),
            "seconds": round(time.perf_counter() - started, 1),
        }
        report = without_nan(report)
        with written() as folder:
            save_classifier(folder, classifier, report)
    return report


def evaluate_classifier(
    source,
    data,
    out,
    cache,
    *,
    overrides=(),
    model=None,
    shuffled=False,
    split=None,
    workers=1,
    threads=None,
    device=None,
    force=False,
    progress=True,
):
    """Judges every method on subjects that it has not seen.

    Args:
        source: A config file: the table is cross-validated, five classifiers trained on four fifths each. Or a folder
            that `train_classifier` wrote: it is tested on the table, without the images that it was trained on.
        data, cache, split, workers, threads, device, progress: See `read_cohort`.
        out: Folder for predictions.csv, summary.json, tables.md and report.png; it appears whole or not at all.
        overrides: Strings such as "network.epochs=50", which win over the config file.
        model: Where the registration network of a classifier lies now; None takes where it was.
        shuffled: Shuffles the groups among the subjects: a control, whose area under the ROC curve must be about 0.5.
        force: Replaces an earlier evaluation.

    Returns:
        What summary.json says, a dictionary.

    Raises:
        UserError: If the manifest, the config or the classifier do not fit.
    """
    with claimed_result(out, JUDGEMENT, force, [source, data, cache, model]) as written:
        started = time.perf_counter()
        trained = Path(source).is_dir()
        if trained:
            report, config = _trained(source, model)
            training = set(report["training"]), set(report.get("training_images", ()))
        else:
            config, training = load_config(source, overrides, section=Classification), (set(), set())
        options = {"workers": workers, "threads": threads, "device": device, "progress": progress}
        cohort = read_cohort(config, data, cache, split=split, least=1 if trained else config.folds + 1, **options)
        known = cohort.seen(*training)
        cohort = cohort.without(known)
        if set(cohort.targets) != {0, 1}:
            raise UserError(f"{data}: the classifier was trained on these very images; give it others")
        network = config.registration.model
        pairs = [one.pair for one in cohort.registered]
        by_network = seen_by({"the registration network": network} if network else {}, pairs)
        targets = cohort.targets
        if shuffled:
            targets = np.random.default_rng(config.seed).permutation(targets)
        set_up(config.seed, threads, device)
        if trained:
            classifier = load_classifier(source)
            seen = deformations_of(cohort.registered, config.inputs, config.grid, classifier.regression.names)
            parts, probabilities = np.zeros(len(targets), int), classifier.probabilities(seen)
        else:
            seen = deformations_of(cohort.registered, config.inputs, config.grid)
            parts, probabilities = _cross_validated(seen, targets, config, progress)
        summary = {
            "source": "a trained classifier" if trained else f"{config.folds}-fold cross-validation",
            "shuffled": shuffled,
            "threshold": config.threshold,
            "methods": {
                name: figures_of(targets, found, parts, config.threshold, config.seed)
                for name, found in probabilities.items()
            },
            "against_regression": {
                name: area_difference(targets, found, probabilities[REGRESSION], config.seed)
                for name, found in probabilities.items()
                if name != REGRESSION
            },
            "groups": _groups(cohort, next(iter(probabilities.values())), config.threshold),
            "failures": cohort.failures,
            "to_review": cohort.to_review,
            "seen_in_training": len(known),
            "seen_by_registration": next(iter(by_network.values()), {}),
            "config": config.model_dump(mode="json", exclude={"registration": {"model"}}),
            "versions": versions(),
            "seconds": round(time.perf_counter() - started, 1),
        }
        summary = without_nan(summary)
        rows = [
            {"subject": one.subject, "group": one.group, "ill": int(target), "fold": int(part) + 1}
            | {name: round(float(found[number]), 6) for name, found in probabilities.items()}
            | {"registration": one.record["verdict"]}
            for number, (one, target, part) in enumerate(zip(cohort.registered, targets, parts, strict=True))
        ]
        with written() as folder:
            (folder / PREDICTIONS).write_text(_csv(rows), encoding="utf-8")
            (folder / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
            (folder / TABLES).write_text(classification_text(summary), encoding="utf-8")
            with optional_picture(folder / PICTURE, lambda text: warnings.warn(InputWarning(text), stacklevel=2)):
                _chart(cohort, targets, probabilities, summary).savefig(folder / PICTURE, dpi=130)
    return summary


def predict_health(
    source,
    data,
    out,
    cache,
    *,
    model=None,
    split=None,
    workers=1,
    threads=None,
    device=None,
    force=False,
    progress=True,
):
    """Tells for every subject of a table how probably it is ill.

    Args:
        source: A folder that `train_classifier` wrote.
        data, cache, split, workers, threads, device, progress: See `read_cohort`. The column `group` need not be there.
        out: The CSV file to write, whole or not at all.
        model: Where the registration network of the classifier lies now; None takes where it was.
        force: Replaces an existing file.

    Returns:
        The rows, a list of dictionaries: subject, probability, health, the smallest and the largest probability of
        the averaged networks, the regression's, the registration's verdict, and an error where there is one.

    Raises:
        UserError: If the manifest or the classifier do not fit.
    """
    out = Path(out)
    check_file(out, ("",), force, [data])
    _, config = _trained(source, model)
    options = {"workers": workers, "threads": threads, "device": device, "progress": progress}
    cohort = read_cohort(config, data, cache, split=split, least=0, **options)
    set_up(config.seed, threads, device)
    classifier = load_classifier(source)
    kind, ensemble = next(iter(classifier.ensembles.items()))
    seen = deformations_of(cohort.registered, (kind,), config.grid, classifier.regression.names)
    each, regression = ensemble.each(seen.inputs[kind]), classifier.regression.predict(seen.features)
    rows = [
        {
            "subject": one.subject,
            "probability": round(float(each[:, number].mean()), 6),
            "health": "ill" if each[:, number].mean() >= config.threshold else "healthy",
            "lowest": round(float(each[:, number].min()), 6),
            "highest": round(float(each[:, number].max()), 6),
            REGRESSION: round(float(regression[number]), 6),
            "registration": one.record["verdict"],
            "error": "",
        }
        for number, one in enumerate(cohort.registered)
    ]
    empty = dict.fromkeys(rows[0], "")
    rows += [empty | {"subject": subject, "error": error} for subject, error in cohort.failures.items()]
    with written_files([out], force) as (partial,):
        partial.write_text(_csv(rows), encoding="utf-8")
    return rows


def _trained(folder, model):
    """A classifier's report, and its config with the registration network where it lies now."""
    report, config = read_report(folder)
    if model is not None:
        registration = config.registration.model_copy(update={"model": str(model)})
        config = config.model_copy(update={"registration": registration})
    if config.registration.model is not None:
        file, _ = find_run(config.registration.model)
        if file_digest(file) != report["registration_model_sha256"]:
            raise UserError(
                f"{file}: is not the network that the classifier was trained with; name that one by --model"
            )
    return report, config


def _cross_validated(seen, targets, config, progress):
    """Each subject's part, and the probabilities by methods that were trained without that part."""
    import keras

    parts = stratified_folds(targets, config.folds, config.seed)
    found = {}
    with progress_bar(progress) as bar:
        line = bar.add_task("training", total=config.folds**2 * len(config.inputs), status="")
        for part in range(config.folds):
            inside = parts == part
            classifier = fit_classifier(
                seen.subset(~inside), targets[~inside], config, config.seed + 1 + part, lambda: bar.advance(line)
            )
            for name, probabilities in classifier.probabilities(seen.subset(inside)).items():
                found.setdefault(name, np.empty(len(targets)))[inside] = probabilities
            keras.utils.clear_session()
    return parts, found


def _chart(cohort, targets, probabilities, summary):
    from tfreg.classification.charts import classification_chart

    bins = {name: calibration_bins(targets, found) for name, found in probabilities.items()}
    areas = {name: (found["auc"], *found["auc_interval"]) for name, found in summary["methods"].items()}
    groups = [str(subject.group) for subject in cohort.registered]
    return classification_chart(targets, probabilities, bins, areas, groups, summary["threshold"])


def _groups(cohort, probabilities, threshold):
    """For each group how many subjects it has, their mean probability and how many are called ill."""
    names = np.array([subject.group for subject in cohort.registered])
    return {
        str(name): {
            "subjects": int((names == name).sum()),
            "mean_probability": float(probabilities[names == name].mean()),
            "called_ill": int((probabilities[names == name] >= threshold).sum()),
        }
        for name in sorted(set(names))
    }


def _csv(rows):
    return table_text(list(rows[0]), [row.values() for row in rows])
