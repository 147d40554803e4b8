"""A whole table of subjects registered to deformations, each kept by the content of its images."""

import json
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

import tfreg
from tfreg.config import RegistrationOptions
from tfreg.errors import UserError
from tfreg.io.digests import file_digest
from tfreg.io.folders.result_folder import result_folder
from tfreg.io.formats import header_size
from tfreg.io.tables.manifest import PairFiles, pairs_from_subjects
from tfreg.io.transform_archive import load_transform, save_transform
from tfreg.registration.image_pair import ImagePair
from tfreg.registration.result import without_nan
from tfreg.registration.trained_run import find_run, run_once
from tfreg.runtime.processes import batches_by_size, error_text, in_processes, set_up_once
from tfreg.runtime.progress import progress_bar
from tfreg.runtime.resources import versions

RECORD = "record.json"


@dataclass(frozen=True)
class Registered:
    """One subject's registered pair.

    Args:
        subject: The person's name.
        group: Such as a diagnosis, or None.
        pair: The `PairFiles`.
        folder: Where the transform lies, or None if the registration failed.
        record: What is known of the registration: `initial` (4x4, the initial alignment), `log_jacobian` (see
            `log_jacobian_summary`), `labels_centre` (world mm, or None), `verdict`, `reasons`, `seconds`, `versions`;
            or `error`.
    """

    subject: str
    group: str | None
    pair: PairFiles
    folder: Path | None
    record: dict

    def transform(self):
        """The `Transform`, and the fixed `Lattice`."""
        transform, fixed, _ = load_transform(self.folder)
        return transform, fixed


@dataclass(frozen=True)
class Task:
    """One pair to be registered.

    Args:
        pair: A `PairFiles`.
        cache: The folder of all deformations.
        definition: What decides the result besides the images, a JSON text.
        options: Those of `RegistrationOptions` as pairs of name and value.
        model: The model's file, or None.
        size: Of the fixed image, by its header.
        key: Under which the result is kept, or None where a file cannot be read.
    """

    pair: PairFiles
    cache: Path
    definition: str
    options: tuple
    model: str | None
    size: tuple
    key: str | None


def register_subjects(subjects, pairs, registration, cache, workers, resources, progress=True):
    """Registers every subject's pair, but those whose result is kept already.

    A result is kept under the content of its images and labels, the options, the model and tfreg's version, whatever
    the files are called.

    Args:
        subjects: List of `tfreg.io.tables.manifest.Subject`.
        pairs: A `tfreg.config.PhasePair`.
        registration: A `tfreg.config.PairRegistration`.
        cache: Folder of the deformations, made if it is not there.
        workers: Processes side by side.
        resources: A `tfreg.runtime.resources.Resources`, of each process.
        progress: Shows a progress bar.

    Returns:
        List of `Registered`, in the subjects' order; those that failed among them.

    Raises:
        UserError: If no pair can be made, the model is missing, or the folder cannot be written.
    """
    cache = Path(cache)
    options = registration.model_dump(exclude={"model"})
    definition, model = {"tfreg": tfreg.__version__, **options}, None
    if registration.model is not None:
        file, _ = find_run(registration.model)
        model, definition["model"] = str(file.absolute()), file_digest(file)
        definition["model_config"] = file_digest(file.with_name("config.yaml"))
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{cache}: cannot be written ({error.strerror}); choose another --deformations") from error
    made = pairs_from_subjects(subjects, pairs.moving, pairs.fixed)
    groups = {subject.subject: subject.group for subject in subjects}
    definition = json.dumps(definition, sort_keys=True)
    found, waiting = {}, []
    with progress_bar(progress) as bar:
        line = bar.add_task("registering", total=len(made), status="")
        for pair in made:
            key = _readable_key(pair, definition)
            record = _kept(cache, key)
            if record is None:
                size = header_size(pair.fixed)
                waiting.append(Task(pair, cache, definition, tuple(options.items()), model, size, key))
            else:
                found[pair.id] = record
                bar.advance(line)
        batches = batches_by_size(sorted(waiting, key=lambda task: task.size))
        for task, record in in_processes(_register, batches, resources, workers):
            found[task.pair.id] = record
            bar.update(line, advance=1, status=task.pair.id)
    return [_registered(pair, groups, found[pair.id], cache) for pair in made]


def deformation_key(pair, definition):
    """The name under which a pair's deformation is kept.

    Args:
        pair: The pair's `ImagePair`.
        definition: What decides the result besides the images, a text.

    Returns:
        32 hexadecimal digits, of the images' and labels' voxels and affines and of the definition.
    """
    digest = sha256(definition.encode())
    for name, volume in pair.given().items():
        array = np.ascontiguousarray(volume.array)
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(volume.affine))
        digest.update(array)
    return digest.hexdigest()[:32]


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


def _kept(cache, key):
    """What an earlier registration of the same content found, or None."""
    if key is None or not (cache / key / RECORD).is_file():
        return None
    try:
        return dict(json.loads((cache / key / RECORD).read_text(encoding="utf-8"))) | {"key": key}
    except (ValueError, TypeError) as error:
        raise UserError(f"{cache / key}: is damaged; delete it, and it is made again") from error


def _register(task, resources):
    """Registers a pair and keeps the result, in a process of its own."""
    from tfreg.registration.register import register_pair

    try:
        set_up_once(resources)
        pair = _images(task.pair)
        run = None if task.model is None else run_once(task.model)
        if run is not None and run.sha256 != json.loads(task.definition)["model"]:
            raise UserError(f"{task.model}: was replaced while the subjects were registered; give the command again")
        key = deformation_key(pair, task.definition)  # of what was read now
        result = register_pair(pair, _options(task), run)
        record = {
            "definition": json.loads(task.definition),
            "initial": result.report.init,
            "log_jacobian": {name: asdict(region) for name, region in result.report.log_jacobian.items()},
            "labels_centre": _labels_centre(pair.fixed_labels),
            "verdict": result.report.verdict,
            "reasons": result.report.reasons,
            "seconds": result.report.seconds,
            "versions": versions(),
        }
        frames = (pair.fixed.frame, pair.moving.frame)
        try:
            with result_folder(task.cache / key) as folder:
                lattices = (pair.fixed.lattice, pair.moving.lattice)
                save_transform(folder / "transform.npz", result.transform, *lattices, frames)
                (folder / RECORD).write_text(json.dumps(without_nan(record), indent=2) + "\n", encoding="utf-8")
        except UserError:
            # Another process that works on the same images may have been quicker.
            if _kept(task.cache, key) is None:
                raise
        return record | {"key": key}
    # One pair that fails, whatever the reason, must not cost the others.
    except Exception as error:
        return {"error": error_text(error, task.pair)}


def _options(task):
    """The `RegistrationOptions` of a task."""
    options = dict(task.options)
    return RegistrationOptions(parts=options.pop("transform"), **options)


def _labels_centre(labels):
    """World mm of the middle of a segmentation's bounding box, a list, or None."""
    if labels is None or not labels.array.any():
        return None
    places = np.argwhere(labels.array)
    return labels.lattice.to_world((places.min(axis=0) + places.max(axis=0)) / 2).tolist()


def _registered(pair, groups, record, cache):
    folder = None if "error" in record else cache / record["key"]
    return Registered(pair.fixed_subject, groups[pair.fixed_subject], pair, folder, record)
