"""`tfreg warp`: applies a result to more images, segmentations and landmarks."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfreg.errors import InputWarning, UserError
from tfreg.io.folders.result_file import check_file, written_files
from tfreg.io.formats import (
    WRITTEN,
    landmark_extension,
    read_landmarks,
    read_values,
    whole_numbers,
    writable_name,
    write_landmarks,
    write_volume,
)
from tfreg.io.header_checks import shear_note
from tfreg.io.points import LISTED, doubts
from tfreg.io.transform_archive import load_frames, load_transform
from tfreg.transforms.transform import WorldMap
from tfreg.volumes.label_values import look_like_labels, lost_labels
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.padding import holds_background, left_out_note, outside_value
from tfreg.volumes.resampling import INTERPOLATIONS
from tfreg.volumes.volume import Volume


@dataclass(frozen=True)
class WarpOptions:
    """How files are warped.

    Args:
        inverse: The other way round: inputs are in the fixed image's world and are taken to the moving
            image's.
        interpolation: "linear" or "cubic" for images, which come out as float32; "nearest" for labels, which come out
            as the smallest integers that hold them, and for images whose values must not be mixed.
        reference: A volume on whose grid the result lies; None is the fixed image's grid (with `inverse`,
            the moving image's).
        background: Value outside the volume; None is an image's padding or else its smallest value, 0 for labels.

    Raises:
        UserError: If there is no such interpolation.
    """

    inverse: bool = False
    interpolation: str = "linear"
    reference: str | Path | None = None
    background: float | None = None

    def __post_init__(self):
        if self.interpolation not in INTERPOLATIONS:
            raise UserError(f"--interpolation {self.interpolation}: choose {', '.join(INTERPOLATIONS)}")


def warp_files(
    transform: str | Path,
    inputs: Iterable[str | Path],
    out: str | Path,
    options: WarpOptions | None = None,
    force: bool = False,
    on_written: Callable[[Path], None] | None = None,
) -> list[Path]:
    """Warps volumes and points of the moving image's world into the fixed image's.

    What a person should look at is told as an `InputWarning` that names the file. An input that cannot be warped does
    not keep the others from it.

    Args:
        transform: A folder that `tfreg register` wrote, or its transform.npz.
        inputs: Image or label files, or landmarks (.csv, .fcsv, .mrk.json), in the moving image's world.
        out: The file to write, or for several inputs a folder, where they keep their names (DICOM becomes .nii.gz).
        options: `WarpOptions`, or None for the defaults.
        force: Replaces existing files.
        on_written: Called with each path once it is written, or None.

    Returns:
        List of the paths written.

    Raises:
        UserError: If an input is bad, two outputs are the same or exist, or the place cannot be written. Of several
            inputs the good ones are written before.
    """
    options = options or WarpOptions()
    inputs = [Path(path) for path in inputs]
    others = (options.reference, transform if Path(transform).is_file() else None)
    targets = _targets(inputs, Path(out), force, others)
    task = _task(transform, options)
    # Of a reference, its reader says so.
    if options.reference is None and task.lattice.is_sheared and not all(map(landmark_extension, inputs)):
        _warn(transform, [shear_note(task.lattice)])
    written, failures = [], []
    for path, target in zip(inputs, targets, strict=True):
        try:
            content = task.landmarks(path) if landmark_extension(path) else task.volume(path)
            with written_files([target], force) as (partial,):
                if landmark_extension(path):
                    write_landmarks(partial, *content)
                else:
                    write_volume(partial, content)
        except UserError as error:
            failures.append(str(error))
            continue
        written.append(target)
        if on_written is not None:
            on_written(target)
    if failures and len(inputs) > 1:
        raise UserError(
            f"{len(failures)} of {len(inputs)} inputs could not be warped, the others are in {out}: "
            f"{' | '.join(failures)}"
        )
    if failures:
        raise UserError(failures[0])
    return written


def _task(transform, options):
    """The `_Task` of a result and of the options."""
    forward, *lattices = load_transform(transform)
    frames = load_frames(transform)
    # A volume is pulled back: it is read at the places that the map of the grid's points names. Points are pushed.
    pull, push = (forward.inverse(), forward) if options.inverse else (forward, forward.inverse())
    source, lattice, frame = (*lattices, frames[1]) if options.inverse else (*lattices[::-1], frames[0])
    if options.reference is not None:
        volume = read_values(options.reference)
        _warn(options.reference, volume.notes)
        lattice, frame = volume.lattice, volume.frame
    return _Task(pull, push, source, lattice, frame, options.interpolation, options.background)


@dataclass(eq=False)
class _Task:
    """What is done to every input.

    Args:
        pull, push: The maps of the result's points to the input's, and back.
        source: The `Lattice` of the image that landmarks belong to.
        lattice, frame: Where the results lie, and the NIfTI code of that world.
        interpolation, background: See `WarpOptions`.
    """

    pull: WorldMap
    push: WorldMap
    source: Lattice
    lattice: Lattice
    frame: int
    interpolation: str
    background: float | None
    _displacement_mm: np.ndarray | None = None

    @property
    def displacement_mm(self):
        """`(i, j, k, 3)`, of `pull` on the lattice."""
        if self._displacement_mm is None:
            self._displacement_mm = self.pull.displacement_mm(self.lattice)
        return self._displacement_mm

    def landmarks(self, path):
        """The `Landmarks` of a file, and where they go."""
        landmarks = read_landmarks(path)
        points = landmarks.points
        missing = np.count_nonzero(np.isnan(points).any(axis=1))
        _warn(path, [f"{missing} of {len(points)} points are not placed, and stay so."] if missing else ())
        _warn(path, doubts(points, self.source, landmarks.names))
        return landmarks, self.push(points)

    def volume(self, path):
        """A file's values on the lattice, a `Volume`."""
        nearest = self.interpolation == "nearest"
        volume = read_values(path, as_stored=nearest)
        _warn(path, volume.notes)
        labels = self._labels(path, volume) if nearest else None
        if labels is not None:
            background = 0 if self.background is None else int(self.background)
            result = self.pull.warp(labels, self.lattice, "nearest", background, self.displacement_mm)
            _warn(path, _losses(labels.array, result.array))
        else:
            result = self._image(path, volume)
        return Volume(result.array, self.lattice.affine, frame=self.frame)

    def _labels(self, path, volume):
        """The volume as labels that can hold the background, or None where its values are an image's."""
        array, missing = volume.array, 0
        if array.dtype.kind == "f":
            finite = np.isfinite(array)
            missing = array.size - np.count_nonzero(finite)
            array = np.where(finite, array, 0)
        try:
            labels = whole_numbers(path, array)
        except UserError:
            _warn(path, ["its values are not whole numbers: it was warped as an image, not as labels."])
            return None
        # Of an image, such as a CT, hardly a voxel equals its neighbour.
        if len(np.unique(labels)) > 2 and not look_like_labels(labels):
            return None
        if missing:
            _warn(path, [f"{missing} voxels that are not finite were taken as background, 0."])
        if self.background is not None and not float(self.background).is_integer():
            raise UserError(f"{path}: --background {self.background:g} is no whole number, as labels are; give one")
        return volume.with_array(self._holding(path, labels))

    def _image(self, path, volume):
        """An image on the lattice, a `Volume`."""
        background = self.background
        volume = volume.with_array(self._holding(path, volume.array))
        if self.interpolation != "nearest" and look_like_labels(volume.array):
            values = np.unique(volume.array).tolist()
            _warn(
                path,
                [
                    f"it looks like labels ({_listed(f'{value:g}' for value in values)}), and {self.interpolation} "
                    "interpolation makes values between them; --interpolation nearest keeps them."
                ],
            )
        if not np.isfinite(volume.array).any():
            _warn(path, ["no voxel has a finite value."])
            return self.pull.warp(volume, self.lattice, "nearest", np.nan if background is None else background)
        background = outside_value(volume.array) if background is None else background
        if self.interpolation != "nearest":
            _warn(path, left_out_note(volume.array, background))
        warp = self.pull.warp if self.interpolation == "nearest" else self.pull.warp_image
        result = warp(volume, self.lattice, self.interpolation, background, self.displacement_mm)
        same = np.array_equal(result.array, np.full_like(result.array, background), equal_nan=True)
        if same and (volume.array != background).any():
            _warn(path, [f"it does not reach the grid, and the result is {background:g} everywhere."])
        return result

    def _holding(self, path, array):
        """Values in a dtype that holds the background too: integers stay integers if it is one."""
        if not holds_background(self.background):
            raise UserError(f"{path}: --background {self.background:g} is beyond float32; give a smaller number")
        if self.background is None or array.dtype.kind == "f":
            return array
        if not float(self.background).is_integer():
            return array.astype(np.float32)
        try:
            return whole_numbers(path, array, int(self.background))
        except UserError:
            raise UserError(
                f"{path}: no integers hold its values and --background {self.background:g}; give a smaller number"
            ) from None


def _losses(before, after):
    """Sentences on the structures of a segmentation that did not come out."""
    lost, count = lost_labels(before, after)
    if not lost:
        return ()
    texts = _listed(f"{value} ({voxels} voxel{'s' * (voxels > 1)})" for value, voxels in lost.items())
    return (f"{len(lost)} of {count} structures are lost, outside the grid or between its voxels: {texts}.",)


def _listed(texts):
    """The first of some texts, and how many more there are."""
    texts = list(texts)
    more = f" and {len(texts) - LISTED} more" if len(texts) > LISTED else ""
    return f"{', '.join(texts[:LISTED])}{more}"


def _warn(path, notes):
    for note in notes:
        warnings.warn(f"{path}: {note}", InputWarning, stacklevel=2)


def _targets(inputs, out, force, others):
    """The file that each input is written to; none of them is one of the inputs or of the others."""
    if len(inputs) == 1 and not out.is_dir():
        targets = [out]
    else:
        targets = [out / (path.name if landmark_extension(path) else writable_name(path)) for path in inputs]
    for path, target in zip(inputs, targets, strict=True):
        if targets.count(target) > 1:
            raise UserError(f"{target}: two inputs have this name; warp them one at a time")
        if landmark_extension(path) and not landmark_extension(target):
            raise UserError(f"{target}: landmarks are written as .csv, .fcsv or .mrk.json; name it so")
        extensions = ("",) if landmark_extension(path) else WRITTEN
        check_file(target, extensions, force, (*inputs, *others), make_folder=True)
    return targets
