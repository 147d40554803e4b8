"""`tfreg simulate`: a breathing-chest data set with masks, landmarks, health labels and the true deformations."""

import csv
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import tfreg
from tfreg.config import SimulationOptions
from tfreg.errors import UserError, WorkError
from tfreg.io.folders.result_folder import Kind, claimed_result
from tfreg.io.formats import MAX_VOXELS, write_points, write_volume
from tfreg.io.itk_transforms import write_displacement
from tfreg.io.json_files import Record
from tfreg.io.tables.manifest import Subject, write_subjects
from tfreg.io.tables.manifest_checks import SPLITS
from tfreg.runtime.processes import process_pool, result_of
from tfreg.runtime.progress import NO_PROGRESS, Progress
from tfreg.runtime.resources import Resources
from tfreg.simulation.subject import simulate_subject

PHASES = ("inhale", "exhale")
GROUPS = ("healthy", "fibrosis")
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


class SimulationRecord(Record):
    """What simulation.json says: the versions and the options that the data set was made with.

    Args:
        tfreg, numpy: Versions.
        arguments: The `SimulationOptions`.
    """

    tfreg: str
    numpy: str
    arguments: SimulationOptions


@dataclass(frozen=True)
class _Task:
    """One subject to simulate; it travels to a worker process."""

    folder: Path
    name: str
    seed: np.random.SeedSequence
    severity: float
    group: str
    split: str
    options: SimulationOptions


def simulate(
    out: str | Path,
    options: SimulationOptions | None = None,
    resources: Resources | None = None,
    force: bool = False,
    progress: Progress = NO_PROGRESS,
) -> Path:
    """Writes a folder of simulated subjects at inhale and exhale.

    Args:
        out: The folder to make; it appears whole or not at all.
        options: A `tfreg.config.SimulationOptions`, or None for the defaults. Equal options write equal voxels,
            whatever the resources are.
        resources: A `Resources`, or None for one process. A subject keeps one thread busy: without `workers`, so many
            subjects as there may be `threads` are simulated side by side. The seed is that of the options.
        force: Replace `out` if it holds a simulated data set.
        progress: Is told how many subjects are done.

    Returns:
        Path of the manifest, `out/subjects.csv`.

    Raises:
        UserError: If the images would be too large, or `out` exists and is not to be replaced.
        WorkError: If a process is killed.

    Example:
        >>> from tfreg.config import SimulationOptions
        >>> options = SimulationOptions(subjects=1, shape=(16, 16, 16), spacing=(22, 22, 22), seed=5)
        >>> tfreg.simulate("people", options).as_posix()
        'people/subjects.csv'
        >>> tfreg.read_volume("people/images/s001_inhale.nii.gz").shape
        (16, 16, 16)
    """
    out, options = Path(out), options or SimulationOptions()
    if math.prod(options.shape) > MAX_VOXELS:
        raise UserError(f"--shape {options.shape}: more than {MAX_VOXELS} voxels; give fewer, with a larger spacing")
    with claimed_result(out, DATA_SET, force) as written, written() as folder:
        rows, parameters = [], []
        for pair, drawn in _run(_tasks(folder, options), resources or Resources(), progress):
            rows += pair
            parameters.append(drawn)
        write_subjects(folder / "subjects.csv", rows)
        _write_severity(folder / "severity.csv", parameters)
        readme = README.format(version=tfreg.__version__, modality=options.modality.upper())
        (folder / "README.txt").write_text(readme, encoding="utf-8")
        record = SimulationRecord(tfreg=tfreg.__version__, numpy=np.__version__, arguments=options)
        (folder / RECORD).write_text(record.text(), encoding="utf-8")
    return out / "subjects.csv"


def _tasks(folder, options):
    """The subjects' tasks: who is ill, how much, and in which split."""
    count = options.subjects
    root = np.random.SeedSequence(options.seed)
    drawing, *seeds = root.spawn(count + 1)
    rng = np.random.default_rng(drawing)
    order = rng.permutation(count)
    ill = round(options.diseased * count)
    severities, split = np.zeros(count), {}
    severities[order[:ill]] = rng.uniform(*options.severity, ill)
    ends = np.cumsum(options.splits) / np.sum(options.splits)
    for members in (order[:ill], order[ill:]):
        for rank, index in enumerate(members):
            split[index] = SPLITS[int(np.searchsorted(ends, (rank + 0.5) / len(members)))]
    diseased_indices = set(order[:ill].tolist())
    width = max(3, len(str(count)))
    return [
        _Task(
            folder=folder,
            name=f"s{index + 1:0{width}}",
            seed=seeds[index],
            severity=float(severities[index]),
            group=GROUPS[index in diseased_indices],
            split=split[index],
            options=options,
        )
        for index in range(count)
    ]


def _run(tasks, resources, progress):
    """Results in the order of the tasks, from this process or from workers."""
    for name in ("images", "labels", "points", "displacement"):
        (tasks[0].folder / name).mkdir()
    if resources.workers == 1 and resources.threads:
        resources = replace(resources, workers=resources.threads, threads=1)
    resources = replace(resources, workers=min(resources.workers, len(tasks)))
    with progress.stage("Simulating", len(tasks)) as advance:
        for result in _results(tasks, resources):
            yield result
            advance()


def _results(tasks, resources):
    """What `_write_subject` gives for each task."""
    if resources.workers == 1:
        yield from (_write_subject(task, resources) for task in tasks)
        return
    with process_pool(resources) as submit:
        for future in [submit(_write_subject, task) for task in tasks]:
            result = result_of(future)
            if isinstance(result, dict):
                raise WorkError(
                    "a simulating process was killed, as where memory runs out; use fewer --threads or a smaller "
                    "--shape"
                )
            yield result


def _write_subject(task, resources):
    """Simulates one subject and writes its files.

    Returns:
        Its two manifest rows, and a dictionary of what was drawn for it.
    """
    options = task.options
    with resources.limited():
        simulated = simulate_subject(
            np.random.default_rng(task.seed),
            options.shape,
            options.spacing,
            options.modality,
            task.severity,
            options.orientation,
            options.circular_fov,
        )
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
