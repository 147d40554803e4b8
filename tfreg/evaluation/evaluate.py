"""`tfreg evaluate`: the paper's tables for several methods on many pairs, resumable."""

import importlib.metadata
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tfreg.config import EvaluationOptions, RegistrationOptions
from tfreg.errors import InputWarning
from tfreg.evaluation.experiments import plan_experiments, plan_segmentations
from tfreg.evaluation.measure import Task, digest_of_all, measure
from tfreg.evaluation.methods import OBSERVERS, Method, plan_methods, reference_of
from tfreg.evaluation.results import PICTURES, write_evaluation
from tfreg.evaluation.row import Row
from tfreg.evaluation.store import EvaluationSettings, Store
from tfreg.evaluation.summarise import summarise
from tfreg.evaluation.summary import EvaluationSummary
from tfreg.io.folders.folder_lock import locked_folder
from tfreg.io.formats import header_size
from tfreg.io.tables.same_files import check_pairs
from tfreg.io.tables.training_people import seen_by, seen_in
from tfreg.runtime.processes import batches_by_size, in_processes
from tfreg.runtime.progress import NO_PROGRESS, Progress
from tfreg.runtime.resources import Resources, versions
from tfreg.runtime.threads import usable_cpus

# Changes when metrics come to mean something else: rows of both kinds must not stand in one table.
MEASURES = "lost labels count"


def evaluate(
    data: str | Path,
    out: str | Path,
    options: EvaluationOptions | None = None,
    resources: Resources | None = None,
    force: bool = False,
    progress: Progress = NO_PROGRESS,
) -> EvaluationSummary:
    """Registers pairs by several methods and writes the paper's tables.

    Args:
        data: Manifest of pairs or of subjects.
        out: Folder of the evaluation; an interrupted one goes on where it stopped.
        options: What is compared; see `plan_methods`, `plan_experiments` and `reference_of`. None for the defaults.
        resources: What each process may use, and the seed of the choice of pairs and of everything else random; None
            for the defaults.
        force: Starts anew.
        progress: Is told of each pair and method.

    Returns:
        The summary.

    Raises:
        UserError: If the manifest, an option or the folder is bad. A pair that cannot be read or registered is
            recorded instead.

    Example:
        >>> from tfreg.config import EvaluationOptions
        >>> options = EvaluationOptions(models=("run",), pairs=("inhale:exhale",), split="test")
        >>> summary = tfreg.evaluate("chests/subjects.csv", "evaluation", options)
        >>> list(summary.methods)
        ['initial', 'run']
    """
    data, options, resources = Path(data), options or EvaluationOptions(), resources or Resources()
    threads = resources.threads or max(1, usable_cpus() // resources.workers)
    resources = replace(resources, threads=threads)
    methods = plan_methods(options)
    init = methods[0].options.init
    experiments = plan_experiments(data, options, resources.seed)
    segmentations = plan_segmentations(data, experiments, options, resources.seed)
    everything = list(dict.fromkeys(pair for pairs in experiments.values() for pair in pairs))
    check_pairs(data, everything)
    seen = seen_by({method.name: method.model for method in methods if method.model}, everything)
    if any(pair.moving_points_second for pair in everything):
        methods.append(Method(OBSERVERS, "observers", RegistrationOptions(init=init)))
    reference = reference_of(methods, options.reference)
    definitions = {method.name: method.definition() for method in methods}
    settings = EvaluationSettings(measures=MEASURES, init=init, labels=",".join(options.labels), methods=definitions)
    with locked_folder(out) as check:
        store = Store(out, settings, force, [data, *options.networks], check)
        same = {"run": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "isolated": options.isolate}
        pictures = {reference: store.folder / PICTURES}
        planned = list(_tasks(experiments, segmentations, methods, pictures, same))
        _work(_batches([task for task in planned if not store.done(task)]), store, resources, seen, progress)
        for task in planned:  # rows of before may lack it
            row = store.rows[task.key]
            if row.seen != _seen(task, seen):
                store.add(row.changed(seen=_seen(task, seen)))
        definitions |= {name: entry for name, entry in store.settings.methods.items() if name not in definitions}
        summary = EvaluationSummary(
            reference=reference,
            init=init,
            workers=resources.workers,
            threads=threads,
            versions=versions() | {name: importlib.metadata.version(name) for name in ("keras", "tensorflow")},
            methods={method.name: method.settings() for method in methods},
            experiments={
                name: summarise(
                    [row for row in store.rows.values() if row.experiment == name], pairs, definitions, reference
                )
                for name, pairs in experiments.items()
            },
        )
        write_evaluation(store, summary)
    return summary


def _tasks(experiments, segmentations, methods, pictures, same):
    """All tasks, those with fixed images of one size after each other: their models are compiled once.

    Args:
        experiments, segmentations: From `plan_experiments` and `plan_segmentations`.
        methods: A list of `Method`.
        pictures: Name of a method whose results are drawn to the folder of its pictures.
        same: What all tasks have in common, a dictionary.
    """
    for experiment, pairs in experiments.items():
        sizes = {path: header_size(path) for path in {pair.fixed for pair in pairs}}
        for pair in sorted(pairs, key=lambda pair: (sizes[pair.fixed], str(pair.fixed))):
            columns = segmentations[experiment, pair.id]
            digest = digest_of_all(pair, columns)
            for method in methods:
                if method.kind == "observers" and not (pair.moving_points and pair.moving_points_second):
                    continue
                picture = pictures[method.name] / f"{pair.id}.png" if method.name in pictures else None
                yield Task(experiment, pair, method, digest, sizes[pair.fixed], picture, columns, **same)


def _batches(tasks):
    """Lists of tasks for processes of their own: of few sizes, and of one method where each is to be alone."""
    if not tasks or not tasks[0].isolated:
        return list(batches_by_size(tasks))
    methods = dict.fromkeys(task.method.name for task in tasks)
    return [
        batch for method in methods for batch in batches_by_size([task for task in tasks if task.method.name == method])
    ]


def _seen(task, seen):
    """What a task's row says of the people that its network was trained on."""
    return seen_in(seen[task.method.name], task.pair) if task.method.name in seen else None


def _work(batches, store, resources, seen, progress):
    """Measures lists of tasks; each row is kept as soon as it is there."""
    if not batches:
        return
    failed, texts = 0, set()
    with progress.stage("evaluating", sum(map(len, batches))) as advance:
        for task, result in in_processes(measure, batches, resources):
            row = result if isinstance(result, Row) else task.row(error=result["error"])
            store.add(row.changed(seen=_seen(task, seen)))
            failed += row.error is not None
            for text in (f"pair {task.pair.id}: {text}" for text in row.warnings):
                if text not in texts:  # every method sees the same
                    warnings.warn(text, InputWarning, stacklevel=2)
                texts.add(text)
            advance(status=" ".join(task.key[1:]) + (f", {failed} failed" if failed else ""))
