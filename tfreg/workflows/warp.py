"""`tfreg warp`: applies a result to more images, segmentations and landmarks."""

from pathlib import Path

from tfreg.errors import UserError
from tfreg.transforms.archive import load_transform
from tfreg.volumes.formats import WRITTEN, read_points, read_volume, write_points, write_volume
from tfreg.volumes.intensity import filled
from tfreg.volumes.resampling import INTERPOLATIONS
from tfreg.volumes.volume import Volume
from tfreg.workflows.result_file import check_file, written_files


def warp_files(
    transform, inputs, out, *, inverse=False, interpolation="linear", reference=None, background=None, force=False
):
    """Warps volumes and points of the moving image's world into the fixed image's.

    Args:
        transform: A folder that `tfreg register` wrote, or its transform.npz.
        inputs: Image or label files, or landmarks (.csv), in the moving image's world.
        out: The file to write, or for several inputs a folder, where they keep their names.
        inverse: The other way round: inputs are in the fixed image's world and are taken to the moving
            image's.
        interpolation: "linear" or "cubic" for images, "nearest" for labels.
        reference: A volume on whose grid the result lies; None is the fixed image's grid (with `inverse`,
            the moving image's).
        background: Value outside the volume; None is the smallest of an image, 0 for labels.
        force: Replaces existing files.

    Returns:
        List of the paths written.

    Raises:
        UserError: If an input is bad, two outputs are the same or exist, or the place cannot be written.
    """
    if interpolation not in INTERPOLATIONS:
        raise UserError(f"--interpolation {interpolation}: choose {', '.join(INTERPOLATIONS)}")
    found, fixed_lattice, moving_lattice = load_transform(transform)
    # A volume is pulled back: it is read at the places that the map of the grid's points names. Points are pushed.
    pull, push = (found.inverse(), found) if inverse else (found, found.inverse())
    lattice, frame = moving_lattice if inverse else fixed_lattice, 1
    if reference is not None:
        volume = read_volume(reference)
        lattice, frame = volume.lattice, volume.frame
    inputs = [Path(path) for path in inputs]
    targets = _targets(inputs, Path(out), force, (reference, transform if Path(transform).is_file() else None))
    displacement_mm = None
    warped = []
    for path in inputs:
        if path.suffix.lower() == ".csv":
            warped.append((write_points, push(read_points(path))))
            continue
        if displacement_mm is None:
            displacement_mm = pull.displacement_mm(lattice)
        array = _warped(pull, path, lattice, interpolation, background, displacement_mm)
        warped.append((write_volume, Volume(array, lattice.affine, frame=frame)))
    with written_files(targets, force) as partials:
        for (write, content), partial in zip(warped, partials, strict=True):
            write(partial, content)
    return targets


def _warped(pull, path, lattice, interpolation, background, displacement_mm):
    """`(i, j, k)`, a file's values on the lattice."""
    labels = interpolation == "nearest"
    volume = read_volume(path, labels=labels)
    if not labels:
        volume = volume.with_array(filled(volume.array)[0])
    if background is None:
        background = 0 if labels else float(volume.array.min())
    return pull.warp(volume, lattice, interpolation, background, displacement_mm).array


def _targets(inputs, out, force, others):
    """The file that each input is written to; none of them is one of the inputs or of the others."""
    targets = [out] if len(inputs) == 1 and not out.is_dir() else [out / path.name for path in inputs]
    for path, target in zip(inputs, targets, strict=True):
        if targets.count(target) > 1:
            raise UserError(f"{target}: two inputs have this name; warp them one at a time")
        points = path.suffix.lower() == ".csv"
        if points and target.suffix.lower() != ".csv":
            raise UserError(f"{target}: landmarks are written as .csv; name it so")
        check_file(target, (".csv",) if points else WRITTEN, force, (*inputs, *others), make_folder=True)
    return targets
