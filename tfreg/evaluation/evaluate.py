"""`tfreg evaluate`: the paper's tables for several methods on many pairs, resumable."""

import importlib.metadata
import warnings

import numpy as np

from tfreg.config import EvaluationOptions, RegistrationOptions, checked
from tfreg.errors import InputWarning, UserError
from tfreg.evaluation.measure import Task, blank_row, measure
from tfreg.evaluation.methods import READERS, Method, plan_methods, reference_of
from tfreg.evaluation.results import PICTURES, write_evaluation
from tfreg.evaluation.store import Store
from tfreg.evaluation.summary import summarise
from tfreg.io.folders.folder_lock import locked_folder
from tfreg.io.folders.input_digests import digest_of
from tfreg.io.formats import header_size
from tfreg.io.tables.manifest import lists_pairs, pairs_from_subjects, read_pairs, read_subjects
from tfreg.io.tables.manifest_checks import SPLITS
from tfreg.io.tables.same_files import check_pairs
from tfreg.io.tables.training_people import people_seen, seen_by, seen_in
from tfreg.registration.trained_run import find_run
from tfreg.runtime.processes import batches_by_size, in_processes
from tfreg.runtime.progress import progress_bar
from tfreg.runtime.resources import Resources, versions
from tfreg.runtime.threads import usable_cpus
from tfreg.spelling import is_meant

# Changes when figures come to mean something else: rows of both kinds must not stand in one table.
MEASURES = "lost labels count"


def evaluate(
    data,
    out,
    *,
    models=(),
    refine=False,
    refine_models=False,
    transforms=("both",),
    baselines=(),
    preset="quality",
    similarity=None,
    smoothness=None,
    init=None,
    pairs=("all",),
    split=None,
    count=None,
    labels="labels",
    reference=None,
    workers=1,
    threads=None,
    seed=0,
    device=None,
    force=False,
    progress=True,
):
    """Registers pairs by several methods and writes the paper's tables.

    Args:
        data: Manifest of pairs or of subjects.
        out: Folder of the evaluation; an interrupted one goes on where it stopped.
        models, refine, refine_models, transforms, baselines, preset: See `plan_methods`.
        similarity, smoothness: Of the refinement; None takes the preset's.
        init: "header", "centre" or "moments" for all methods; None takes the first model's, else the header.
        pairs: How pairs are made of subjects, one experiment each: "ED:ES" (within each subject, moving and fixed
            phase), "all" or "all:ED" (every ordered pair of different subjects, of a phase), "images" (every
            ordered pair of different images).
        split: Only subjects of this split, or None.
        count: Only so many random pairs of each experiment, or None.
        labels: The manifest's column that holds the segmentations.
        reference: The method that the others are compared with; see `reference_of`.
        workers: Processes side by side.
        threads: Of each process; None divides the machine among them.
        seed: Of the choice of pairs and of everything else random.
        device: "cpu", "gpu" or None.
        force: Starts anew.
        progress: Shows a progress bar.

    Returns:
        The summary, a dictionary (see `summarise`).

    Raises:
        UserError: If the manifest, an option or the folder is bad. A pair that cannot be read or registered is
            recorded instead.
    """
    checked(RegistrationOptions, init=init)
    options = checked(EvaluationOptions, count=count, workers=workers, threads=threads, seed=seed, device=device)
    count, workers, threads, seed = options.count, options.workers, options.threads, options.seed
    refinement = {"similarity": similarity, "smoothness": smoothness}
    methods = plan_methods(models, refine, refine_models, transforms, baselines, preset, **refinement)
    if init is None:
        init = find_run(models[0])[1].preprocessing.init if models else "header"
    experiments = plan_experiments(data, pairs, split, count, labels, seed)
    everything = list(dict.fromkeys(pair for found in experiments.values() for pair in found))
    check_pairs(data, everything)
    seen = seen_by({method.name: method.model for method in methods if method.model}, everything)
    if any(pair.moving_points_second for found in experiments.values() for pair in found):
        methods.append(Method(READERS, "readers"))
    reference = reference_of(methods, reference)
    settings = {
        "measures": MEASURES,
        "init": init,
        "labels": labels,
        "methods": {method.name: method.definition() for method in methods},
    }
    with locked_folder(out) as check:
        store = Store(out, settings, force, [data, *models], check)
        planned = list(_tasks(experiments, methods, init, reference, store.folder))
        tasks = [task for task in planned if not store.done(task)]
        threads = threads or max(1, usable_cpus() // workers)
        _work(tasks, store, workers, Resources(seed, threads, device), seen, progress)
        for task in planned:  # rows of before may lack it
            row = store.rows[task.key] | _seen(task, seen)
            if row != store.rows[task.key]:
                store.add(row)
        names = [*(method.name for method in methods), *(n for n in store.settings["methods"])]
        summary = summarise(list(store.rows.values()), experiments, list(dict.fromkeys(names)), reference)
        people_seen(summary, store.rows.values(), experiments, store.settings["methods"])
        told = {method.name: method.settings() for method in methods}
        packages = versions() | {name: importlib.metadata.version(name) for name in ("keras", "tensorflow")}
        found = {"reference": reference, "init": init, "workers": workers, "threads": threads, "versions": packages}
        found |= {"methods": told, "experiments": summary}
        write_evaluation(store, found)
    return summary


def plan_experiments(data, specifications, split, count, labels, seed):
    """The pairs of each experiment.

    Args:
        data, specifications, split, count, labels, seed: See `evaluate`.

    Returns:
        Dictionary of name to list of `PairFiles`.

    Raises:
        UserError: If the manifest is bad or no pair can be made.
    """
    if lists_pairs(data):
        if split is not None:
            raise UserError(f"--split {split}: {data} lists pairs, which have no split; leave the option out")
        found = {"pairs": read_pairs(data, labels, must_exist=False)}
    else:
        subjects = read_subjects(data, labels, must_exist=False)
        if split is not None:
            subjects = [subject for subject in subjects if subject.split == split]
            if not subjects:
                raise UserError(
                    f"{data}: no subject has split {split!r}{is_meant(split, SPLITS)}; choose another --split"
                )
        found = {}
        for text in specifications:
            first, colon, second = text.partition(":")
            if first in ("all", "images") and bool(colon) == bool(second):
                name = "all combinations" + (f", {second}" if second else "")
                name = name if first == "all" else name.replace("all", "all images'")
                found[name] = pairs_from_subjects(
                    subjects, phase=second or None, same_subject=first == "images", source=data
                )
            elif first and second:
                found[f"within subjects, {first} to {second}"] = pairs_from_subjects(
                    subjects, first, second, source=data
                )
            else:
                raise UserError(f"--pairs {text}: give MOVING:FIXED phases such as ED:ES, all, all:PHASE or images")
    rng = np.random.default_rng(seed)
    if count is not None:
        found = {name: [made[i] for i in rng.permutation(len(made))[:count]] for name, made in found.items()}
    return found


def _tasks(experiments, methods, init, reference, folder):
    """All tasks, those with fixed images of one size after each other: their models are compiled once."""
    for experiment, pairs in experiments.items():
        sizes = {path: header_size(path) for path in {pair.fixed for pair in pairs}}
        for pair in sorted(pairs, key=lambda pair: (sizes[pair.fixed], str(pair.fixed))):
            digest = digest_of(pair)
            for method in methods:
                if method.kind == "readers" and not (pair.moving_points and pair.moving_points_second):
                    continue
                picture = folder / PICTURES / f"{pair.id}.png" if method.name == reference else None
                yield Task(experiment, pair, method, digest, init, sizes[pair.fixed], picture)


def _seen(task, seen):
    """What a task's row says of the people that its network was trained on; nothing where there is no network."""
    return {"seen": seen_in(seen[task.method.name], task.pair)} if task.method.name in seen else {}


def _work(tasks, store, workers, resources, seen, progress):
    """Measures all tasks; each row is kept as soon as it is there."""
    if not tasks:
        return
    failed, told = 0, set()
    with progress_bar(progress) as bar:
        line = bar.add_task("evaluating", total=len(tasks), status="")
        for task, row in in_processes(measure, batches_by_size(tasks), resources, workers):
            store.add(blank_row(task) | row | _seen(task, seen))
            failed += "error" in row
            for text in (f"pair {task.pair.id}: {text}" for text in row.get("warnings", ())):
                if text not in told:  # every method finds the same
                    warnings.warn(text, InputWarning, stacklevel=2)
                told.add(text)
            status = " ".join(task.key[1:]) + (f", {failed} failed" if failed else "")
            bar.update(line, advance=1, status=status)
