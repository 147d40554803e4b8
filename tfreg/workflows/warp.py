"""`tfreg warp`: applies a result to more images and segmentations."""

import contextlib
from pathlib import Path

from tfreg.errors import UserError
from tfreg.transforms.archive import load_transform
from tfreg.volumes.formats import read_volume, write_volume
from tfreg.volumes.intensity import filled
from tfreg.volumes.resampling import INTERPOLATIONS
from tfreg.volumes.volume import Volume


def warp_files(transform, inputs, out, *, interpolation="linear", reference=None, background=None, force=False):
    """Warps volumes of the moving image's world into the fixed image's.

    Args:
        transform: A folder that `tfreg register` wrote, or its transform.npz.
        inputs: Image or label files in the moving image's world.
        out: The file to write, or for several inputs a folder, where they keep their names.
        interpolation: "linear" or "cubic" for images, "nearest" for labels.
        reference: A volume on whose grid the result lies; None is the fixed image's grid.
        background: Value outside the moving volume; None is the smallest of an image, 0 for labels.
        force: Replaces existing files.

    Returns:
        List of the paths written.

    Raises:
        UserError: If an input is bad, two outputs are the same or exist, or the place cannot be written.
    """
    if interpolation not in INTERPOLATIONS:
        raise UserError(f"--interpolation {interpolation}: choose {', '.join(INTERPOLATIONS)}")
    found, lattice, _ = load_transform(transform)
    frame = 1
    if reference is not None:
        volume = read_volume(reference)
        lattice, frame = volume.lattice, volume.frame
    targets = _targets([Path(path) for path in inputs], Path(out), force)
    labels = interpolation == "nearest"
    displacement_mm = found.displacement_mm(lattice)
    warped = []
    for path in inputs:
        moving = read_volume(path, labels=labels)
        if not labels:
            moving = moving.with_array(filled(moving.array)[0])
        fill = background if background is not None else 0 if labels else float(moving.array.min())
        result = found.warp(moving, lattice, interpolation, fill, displacement_mm)
        warped.append(Volume(result.array, lattice.affine, frame=frame))
    made = [parent for parent in targets[0].absolute().parents if not parent.exists()]
    written = []
    try:
        for path, volume in zip(targets, warped, strict=True):
            _make_folder(path.parent)
            write_volume(path, volume)
            written.append(path)
    except UserError:
        for path in written:
            path.unlink()
        for parent in made:
            with contextlib.suppress(OSError):  # not there, or no longer empty
                parent.rmdir()
        raise
    return targets


def _make_folder(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be created ({error.strerror}); choose another place") from error


def _targets(inputs, out, force):
    """The file that each input is written to."""
    targets = [out] if len(inputs) == 1 and not out.is_dir() else [out / path.name for path in inputs]
    for target in targets:
        if targets.count(target) > 1:
            raise UserError(f"{target}: two inputs have this name; warp them one at a time")
        if target.exists() and not force:
            raise UserError(f"{target}: already exists; name another file, or replace it with --force")
        if any(target.exists() and target.samefile(path) for path in inputs if path.exists()):
            raise UserError(f"{target}: is the input itself; name another file")
    return targets
