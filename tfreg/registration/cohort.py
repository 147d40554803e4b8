"""A whole table of subjects registered to deformations, each cached by the content of its images."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

import tfreg
from tfreg.config import PairRegistration, PhasePair, RegistrationOptions
from tfreg.errors import UserError
from tfreg.io.digests import bytes_digest, file_digest
from tfreg.io.folders.result_folder import result_folder
from tfreg.io.formats import header_size
from tfreg.io.json_files import Block, Record
from tfreg.io.tables.manifest import PairFiles, Subject, pairs_from_subjects
from tfreg.io.transform_archive import load_transform, save_transform
from tfreg.metrics.volume_change import VolumeChange
from tfreg.registration.image_pair import ImagePair
from tfreg.registration.registration_report import Matrix, RegistrationReport
from tfreg.registration.trained_run import find_run, run_once
from tfreg.runtime.processes import batches_by_size, error_text, in_processes, set_up_once
from tfreg.runtime.progress import NO_PROGRESS, Progress
from tfreg.runtime.resources import Resources, versions
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

RECORD = "record.json"


class Definition(Block):
    """What decides a registration besides the images.

    Attributes:
        tfreg: Its version.
        options: How the pair is registered.
        network, network_config: Digests of the network's file and of the config beside it, or None.
    """

    tfreg: str
    options: RegistrationOptions
    network: str | None = None
    network_config: str | None = None

    @classmethod
    def of(cls, registration: PairRegistration) -> "Definition":
        """The definition of registrations of today; a `UserError` where the model is missing."""
        if registration.model is None:
            return cls(tfreg=tfreg.__version__, options=registration.options())
        file, _ = find_run(registration.model)
        return cls(
            tfreg=tfreg.__version__,
            options=registration.options(),
            network=file_digest(file),
            network_config=file_digest(file.with_name("config.yaml")),
        )

    def text(self) -> str:
        """The same text for equal definitions."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


class DeformationRecord(Record):
    """What is written of a registration beside its transform: record.json.

    Attributes:
        definition: What decided it besides the images.
        initial: `(4, 4)`, the initial alignment, fixed world to moving world, RAS+ mm.
        log_jacobian: Region ("all", "labels", each label) to its change of volume.
        labels_centre: World mm of the middle of the fixed segmentation's bounding box, or None.
        verdict: "pass" or "review".
        reasons: Why it should be reviewed, sentences.
        seconds: What each step took.
        versions: Of the packages that it depends on.
    """

    KIND: ClassVar[str] = "a cached deformation"
    CURE: ClassVar[str] = "delete its folder, and it is made again"
    definition: Definition
    initial: Matrix
    log_jacobian: dict[str, VolumeChange]
    labels_centre: tuple[float, float, float] | None
    verdict: str
    reasons: tuple[str, ...]
    seconds: dict[str, float]
    versions: dict[str, str]


@dataclass(frozen=True)
class Registered:
    """One subject's registered pair.

    Args:
        subject: The person's name.
        group: Such as a diagnosis, or None.
        pair: The images.
        folder: Where the transform lies, or None if the registration failed.
        record: What is written of the registration, or None if it failed.
        error: Why it failed, one line, or None.
    """

    subject: str
    group: str | None
    pair: PairFiles
    folder: Path | None = None
    record: DeformationRecord | None = None
    error: str | None = None

    def transform(self) -> tuple[Transform, Lattice]:
        """The transform, and the fixed lattice."""
        if self.folder is None:
            raise UserError(f"{self.pair.id}: was not registered ({self.error}); leave the subject out")
        transform, fixed, _ = load_transform(self.folder)
        return transform, fixed


@dataclass(frozen=True)
class Task:
    """One pair to be registered.

    Args:
        pair: Its files.
        cache: The folder of all deformations.
        definition: What decides the result besides the images.
        model: The network's file, or None.
        size: Of the fixed image, by its header.
    """

    pair: PairFiles
    cache: Path
    definition: Definition
    model: str | None
    size: tuple[float, ...]


@dataclass(frozen=True)
class Outcome:
    """What a task gave: the name and the record of a cached deformation, or an error."""

    key: str | None = None
    record: DeformationRecord | None = None
    error: str | None = None


def register_subjects(
    subjects: Sequence[Subject],
    pairs: PhasePair,
    registration: PairRegistration,
    cache: str | Path,
    resources: Resources | None = None,
    progress: Progress = NO_PROGRESS,
) -> list[Registered]:
    """Registers every subject's pair, but those whose result is cached already.

    A result is cached under the content of its images and labels, the options, the model and tfreg's version, whatever
    the files are called.

    Args:
        subjects: People, two phases of each.
        pairs: The phase that moves and the one that is fixed.
        registration: How pairs are registered.
        cache: Folder of the deformations, made if it is not there.
        resources: As many pairs are registered side by side as there are workers; None for the defaults.
        progress: Whom it tells how far it is.

    Returns:
        One for each subject, in their order; those that failed among them.

    Raises:
        UserError: If no pair can be made, the model is missing, or the folder cannot be written.
    """
    cache, definition = Path(cache), Definition.of(registration)
    model = None if registration.model is None else str(find_run(registration.model)[0].absolute())
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{cache}: cannot be written ({error.strerror}); choose another --deformations") from error
    made = pairs_from_subjects(subjects, pairs.moving, pairs.fixed)
    groups = {subject.subject: subject.group for subject in subjects}
    outcomes, tasks = {}, []
    with progress.stage("registering", len(made)) as advance:
        for pair in made:
            outcome = _cached(cache, _readable_key(pair, definition))
            if outcome is None:
                tasks.append(Task(pair, cache, definition, model, header_size(pair.fixed)))
            else:
                outcomes[pair.id] = outcome
                advance()
        batches = batches_by_size(sorted(tasks, key=lambda task: task.size))
        for task, result in in_processes(_register, batches, resources or Resources()):
            outcomes[task.pair.id] = result if isinstance(result, Outcome) else Outcome(**result)
            advance(status=task.pair.id)
    return [_registered(pair, groups, outcomes[pair.id], cache) for pair in made]


def deformation_key(pair: ImagePair, definition: Definition) -> str:
    """The name under which a pair's deformation is cached.

    Args:
        pair: Images and labels.
        definition: What decides the result besides them.

    Returns:
        32 hexadecimal digits, of the images' and labels' voxels and affines and of the definition.
    """
    parts: list[bytes | memoryview] = [definition.text().encode()]
    for name, volume in pair.given().items():
        array, affine = np.ascontiguousarray(volume.array), np.ascontiguousarray(volume.affine)
        parts += [f"{name} {array.dtype.str} {array.shape}".encode(), affine.data, array.data]
    return bytes_digest(*parts)[:32]


def _images(files):
    """The `ImagePair` of a pair's images and labels."""
    labels = files.fixed_labels is not None and files.moving_labels is not None
    without = ("fixed_points", "moving_points") + (() if labels else ("fixed_labels", "moving_labels"))
    return ImagePair.read(replace(files, **dict.fromkeys(without)))


def _readable_key(pair, definition):
    """`deformation_key`, or None where a file cannot be read: it is read again where the error is recorded."""
    try:
        return deformation_key(_images(pair), definition)
    except UserError:
        return None


def _cached(cache, key):
    """The `Outcome` of an earlier registration of the same content, or None."""
    if key is None or not (cache / key / RECORD).is_file():
        return None
    return Outcome(key, DeformationRecord.read(cache / key / RECORD))


def _register(task, resources):
    """Registers a pair and caches the result, in a process of its own; returns an `Outcome`."""
    from tfreg.registration.register import register_pair

    try:
        set_up_once(resources)
        pair = _images(task.pair)
        run = None if task.model is None else run_once(task.model)
        if run is not None and run.sha256 != task.definition.network:
            raise UserError(f"{task.model}: was replaced while the subjects were registered; give the command again")
        key = deformation_key(pair, task.definition)  # of what was read now
        result = register_pair(pair, task.definition.options, run)
        record = _record(task.definition, pair, result.report)
        frames = (pair.fixed.frame, pair.moving.frame)
        try:
            with result_folder(task.cache / key) as folder:
                lattices = (pair.fixed.lattice, pair.moving.lattice)
                save_transform(folder / "transform.npz", result.transform, *lattices, frames)
                (folder / RECORD).write_text(record.text(), encoding="utf-8")
        except UserError:
            # Another process that works on the same images may have been quicker.
            if _cached(task.cache, key) is None:
                raise
        return Outcome(key, record)
    # One pair that fails, whatever the reason, must not cost the others.
    except Exception as error:
        return Outcome(error=error_text(error, task.pair))


def _record(definition: Definition, pair: ImagePair, report: RegistrationReport) -> DeformationRecord:
    """What is written of a registration, of its report."""
    return DeformationRecord(
        definition=definition,
        initial=report.init,
        log_jacobian=report.log_jacobian,
        labels_centre=_labels_centre(pair.fixed_labels),
        verdict=report.verdict,
        reasons=report.reasons,
        seconds=report.seconds,
        versions=versions(),
    )


def _labels_centre(labels):
    """World mm of the middle of a segmentation's bounding box, a tuple, or None."""
    if labels is None or not labels.array.any():
        return None
    places = np.argwhere(labels.array)
    return tuple(labels.lattice.to_world((places.min(axis=0) + places.max(axis=0)) / 2).tolist())


def _registered(pair, groups, outcome, cache):
    folder = None if outcome.key is None else cache / outcome.key
    subject = pair.fixed_subject
    return Registered(subject, groups[subject], pair, folder, outcome.record, outcome.error)
