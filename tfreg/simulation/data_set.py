"""`tfreg simulate`: a breathing-chest data set with masks, landmarks, health labels and the true deformations."""

import concurrent.futures
import contextlib
import csv
import json
import math
import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tfreg
from tfreg.config import Processing, SimulationOptions, checked
from tfreg.errors import UserError, WorkError
from tfreg.io.folders.result_folder import Kind, claimed_result
from tfreg.io.formats import MAX_VOXELS, write_points, write_volume
from tfreg.io.itk_transforms import write_displacement
from tfreg.io.tables.manifest import Subject, write_subjects
from tfreg.runtime.progress import progress_bar
from tfreg.simulation.subject import simulate_subject

PHASES = ("inhale", "exhale")
GROUPS = ("healthy", "fibrosis")
SPLITS = ("train", "validation", "test")
RECORD = "simulation.json"
DATA_SET = Kind(
    "a simulated data set",
    RECORD,
    (
        r"subjects\.csv|severity\.csv|README\.txt",
        r"(images|labels)/s\d+_(inhale|exhale)\.nii\.gz",
        r"points/s\d+_(inhale|exhale)\.csv",
        r"displacement/s\d+_exhale_to_inhale\.nii\.gz",
    ),
)

README = """A simulated breathing chest, written by tfreg {version}.

subjects.csv       the manifest: one row for each subject and phase (inhale, exhale)
images/            {modality} images
labels/            lung masks: 1 right lung, 2 left lung
points/            branching points of the lung vessels, world RAS+ mm; the same order in both phases
displacement/      the true deformation, ITK displacement fields on the exhale grid (LPS mm): the displacement takes an
                   exhale point to its inhale point. It is the pull-back transform for fixed = exhale, moving = inhale
severity.csv       group, severity (0 healthy to 1) and what was drawn for each subject
simulation.json    arguments and version; the same arguments write the same voxels

Severity stiffens the lung bases: they change volume less. Nothing in the inhale image depends on it.
No real person is shown.
"""


@dataclass(frozen=True)
class _Task:
    """One subject to simulate; it travels to a worker process."""

    folder: Path
    name: str
    seed: np.random.SeedSequence
    severity: float
    group: str
    split: str
    image: dict


def simulate(
    out,
    subjects=8,
    shape=(96, 96, 96),
    spacing=(3.75, 3.75, 3.75),
    modality="mr",
    diseased=0.3,
    severity=(0.5, 1.0),
    seed=0,
    orientation="RAS",
    splits=(0.6, 0.2, 0.2),
    circular_fov=False,
    force=False,
    threads=1,
    progress=True,
):
    """Writes a folder of simulated subjects at inhale and exhale.

    Args:
        out: The folder to make; it appears whole or not at all.
        subjects: How many people.
        shape: Voxels along each array axis, three integers.
        spacing: mm along each array axis, three numbers.
        modality: "mr" or "ct".
        diseased: Share of the subjects that have stiff lung bases, 0 to 1, rounded to whole subjects.
        severity: Range from which the severity of each diseased subject is drawn, two numbers in [0, 1].
        seed: Equal seeds and arguments write equal voxels, whatever `threads` is.
        orientation: Three letters, the directions in which the array axes grow.
        splits: Shares of the training, validation and test subjects, kept within each group.
        circular_fov: CT only: -1024 outside a circle, as scanners pad.
        force: Replace `out` if it holds a simulated data set.
        threads: Worker processes.
        progress: Show a progress bar.

    Returns:
        Path of the manifest, `out/subjects.csv`.

    Raises:
        UserError: If an argument is out of range, or `out` exists and is not to be replaced.
    """
    out = Path(out)
    asked = checked(
        SimulationOptions,
        subjects=subjects,
        shape=shape,
        spacing=spacing,
        modality=modality,
        diseased=diseased,
        severity=severity,
        seed=seed,
        orientation=orientation,
        splits=splits,
        circular_fov=circular_fov,
    )
    subjects, diseased, severity, splits, seed = (
        asked.subjects,
        asked.diseased,
        asked.severity,
        asked.splits,
        asked.seed,
    )
    if math.prod(asked.shape) > MAX_VOXELS:
        raise UserError(f"--shape {asked.shape}: more than {MAX_VOXELS} voxels; give fewer, with a larger spacing")
    threads = checked(Processing, threads=threads).threads or 1
    image = {
        "shape": asked.shape,
        "spacing": asked.spacing,
        "modality": modality,
        "orientation": asked.orientation,
        "circular_fov": asked.circular_fov,
    }
    arguments = {
        "subjects": subjects,
        **image,
        "diseased": diseased,
        "severity": list(severity),
        "seed": seed,
        "splits": list(splits),
    }
    with claimed_result(out, DATA_SET, force) as written, written() as folder:
        tasks = _cohort(folder, subjects, diseased, severity, splits, seed, image)
        rows, parameters = [], []
        for pair, drawn in _run(tasks, threads, progress):
            rows += pair
            parameters.append(drawn)
        write_subjects(folder / "subjects.csv", rows)
        _write_severity(folder / "severity.csv", parameters)
        (folder / "README.txt").write_text(README.format(version=tfreg.__version__, modality=modality.upper()))
        record = {"tfreg": tfreg.__version__, "numpy": np.__version__, "arguments": arguments}
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    return out / "subjects.csv"


def _cohort(folder, subjects, diseased, severity, splits, seed, image):
    """The subjects' tasks: who is ill, how much, and in which split."""
    root = np.random.SeedSequence(seed)
    drawing, *seeds = root.spawn(subjects + 1)
    rng = np.random.default_rng(drawing)
    order = rng.permutation(subjects)
    ill = round(diseased * subjects)
    severities, split = np.zeros(subjects), {}
    severities[order[:ill]] = rng.uniform(*severity, ill)
    ends = np.cumsum(splits) / np.sum(splits)
    for members in (order[:ill], order[ill:]):
        for rank, index in enumerate(members):
            split[index] = SPLITS[int(np.searchsorted(ends, (rank + 0.5) / len(members)))]
    diseased_indices = set(order[:ill].tolist())
    width = max(3, len(str(subjects)))
    return [
        _Task(
            folder=folder,
            name=f"s{index + 1:0{width}}",
            seed=seeds[index],
            severity=float(severities[index]),
            group=GROUPS[index in diseased_indices],
            split=split[index],
            image=image,
        )
        for index in range(subjects)
    ]


def _run(tasks, threads, progress):
    """Results in the order of the tasks, from this process or from workers."""
    for name in ("images", "labels", "points", "displacement"):
        (tasks[0].folder / name).mkdir()
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(progress_bar(progress))
        shown = bar.add_task("Simulating", total=len(tasks), status="")
        if min(threads, len(tasks)) == 1:
            results = map(_write_subject, tasks)
        else:
            # Spawned, not forked: a fork of a process that holds TensorFlow's threads may hang.
            pool = concurrent.futures.ProcessPoolExecutor(
                min(threads, len(tasks)), mp_context=multiprocessing.get_context("spawn")
            )
            results = stack.enter_context(pool).map(_write_subject, tasks)
        done = []
        try:
            for result in results:
                done.append(result)
                bar.advance(shown)
        except concurrent.futures.BrokenExecutor as error:
            raise WorkError(
                "a simulating process was killed, as where memory runs out; use fewer --threads or a smaller --shape"
            ) from error
    return done


def _write_subject(task):
    """Simulates one subject and writes its files.

    Returns:
        Its two manifest rows, and a dictionary of what was drawn for it.
    """
    simulated = simulate_subject(np.random.default_rng(task.seed), severity=task.severity, **task.image)
    rows = []
    for phase in PHASES:
        name = f"{task.name}_{phase}"
        image, labels = task.folder / "images" / f"{name}.nii.gz", task.folder / "labels" / f"{name}.nii.gz"
        points = task.folder / "points" / f"{name}.csv"
        write_volume(image, getattr(simulated, phase))
        write_volume(labels, getattr(simulated, f"{phase}_labels"))
        write_points(points, getattr(simulated, f"{phase}_points"))
        rows.append(Subject(name, task.name, image, labels, points, phase, task.group, task.split))
    field = task.folder / "displacement" / f"{task.name}_exhale_to_inhale.nii.gz"
    write_displacement(field, simulated.displacement_mm, simulated.exhale.affine)
    return rows, {"subject": task.name, "group": task.group, **simulated.parameters}


def _write_severity(path, parameters):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(parameters[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()} for row in parameters)
