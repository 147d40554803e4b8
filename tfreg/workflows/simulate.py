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
from tfreg.errors import UserError
from tfreg.transforms.itk_files import write_displacement
from tfreg.volumes.formats import MAX_VOXELS, write_points, write_volume
from tfreg.volumes.manifest import Subject, write_subjects
from tfreg.volumes.phantom import simulate_subject
from tfreg.workflows.progress import progress_bar
from tfreg.workflows.result_folder import Kind, claimed_result

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
SMALLEST_SHAPE = 16
OPPOSITES = str.maketrans("LPI", "RAS")

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
    shape, spacing = _check_image(shape, spacing, modality, orientation)
    _check_cohort(subjects, diseased, severity, splits, seed, threads)
    image = {
        "shape": shape,
        "spacing": spacing,
        "modality": modality,
        "orientation": orientation,
        "circular_fov": bool(circular_fov),
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
        for result in results:
            done.append(result)
            bar.advance(shown)
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


def _check_image(shape, spacing, modality, orientation):
    shape, spacing = tuple(shape), tuple(float(mm) for mm in spacing)
    if len(shape) != 3 or any(n != int(n) or n < SMALLEST_SHAPE for n in shape):
        raise UserError(f"shape {shape}: give three whole numbers of at least {SMALLEST_SHAPE} voxels")
    if math.prod(shape) > MAX_VOXELS:
        raise UserError(f"shape {shape}: more than {MAX_VOXELS} voxels; give fewer, with a larger spacing")
    if len(spacing) != 3 or not all(math.isfinite(mm) and mm > 0 for mm in spacing):
        raise UserError(f"spacing {spacing}: give three positive numbers of mm")
    if modality not in ("mr", "ct"):
        raise UserError(f"modality {modality!r}: choose mr or ct")
    if sorted(c.translate(OPPOSITES) for c in str(orientation)) != ["A", "R", "S"]:
        raise UserError(f"orientation {orientation!r}: give three letters such as RAS, one of L or R, P or A, I or S")
    return tuple(int(n) for n in shape), spacing


def _check_cohort(subjects, diseased, severity, splits, seed, threads):
    if not isinstance(subjects, int) or subjects < 1:
        raise UserError(f"subjects {subjects}: give a whole number of at least 1")
    if not 0 <= diseased <= 1:
        raise UserError(f"diseased {diseased}: give a share from 0 to 1")
    if len(severity) != 2 or not 0 <= severity[0] <= severity[1] <= 1:
        raise UserError(f"severity {tuple(severity)}: give two rising numbers from 0 to 1")
    if len(splits) != 3 or min(splits) < 0 or not math.isclose(sum(splits), 1, abs_tol=1e-6):
        raise UserError(f"splits {tuple(splits)}: give the shares of train, validation and test, which add up to 1")
    if not isinstance(seed, int) or seed < 0:
        raise UserError(f"seed {seed}: give a whole number from 0")
    if not isinstance(threads, int) or threads < 1:
        raise UserError(f"threads {threads}: give a whole number of at least 1")
