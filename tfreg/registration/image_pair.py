"""What is known of a pair of volumes, and whether it fits together."""

from dataclasses import dataclass

import numpy as np

from tfreg.errors import UserError
from tfreg.io.formats import read_landmarks, read_points, read_volume
from tfreg.io.points import doubts
from tfreg.volumes.lattice import difference
from tfreg.volumes.volume import Volume


@dataclass(eq=False)
class Case:
    """What is known of a pair besides the transform.

    Args:
        fixed, moving: Image `Volume`s.
        fixed_labels, moving_labels: Segmentations on their image's lattice, or None.
        fixed_points, moving_points: `(n, 3)` landmarks in world RAS+ mm, or None.
        fixed_mask, moving_mask: Where the images count, on their image's lattice, or None.
    """

    fixed: Volume
    moving: Volume
    fixed_labels: Volume | None = None
    moving_labels: Volume | None = None
    fixed_points: np.ndarray | None = None
    moving_points: np.ndarray | None = None
    fixed_mask: Volume | None = None
    moving_mask: Volume | None = None


def read_input(name, path, read_volume=read_volume):
    """Reads what one of a `Case`'s names stands for.

    Args:
        name: A name of a `Case`'s.
        path: The file.
        read_volume: Reads an image, or with `labels=True` a segmentation or a mask.

    Returns:
        Points `(n, 3)` in world RAS+ mm, or a `Volume`.

    Raises:
        UserError: If the file is bad.
    """
    if name.endswith("_points"):
        return read_points(path)
    return read_volume(path, labels=name.endswith(("_labels", "_mask")))


def check_case(case, names):
    """Refuses labels, masks and points that do not fit their images.

    Args:
        case: A `Case`.
        names: Dictionary of input to what error messages call it, such as its file.

    Raises:
        UserError: If an input is of another kind, a segmentation lies on another lattice, or the landmarks are not
            pairs.
    """
    _check_kinds(case, names)
    for side in ("fixed", "moving"):
        image = getattr(case, side)
        for kind in ("labels", "mask"):
            volume = getattr(case, f"{side}_{kind}")
            if volume is not None and not volume.lattice.same_as(image.lattice):
                raise UserError(
                    f"{names[f'{side}_{kind}']}: lies in another frame than the {side} image {names[side]} "
                    f"({difference(volume.lattice, image.lattice)}); resample it onto that image"
                )
    for kind in ("labels", "points"):
        given = [side for side in ("fixed", "moving") if getattr(case, f"{side}_{kind}") is not None]
        if len(given) == 1:
            missing = "moving" if given == ["fixed"] else "fixed"
            raise UserError(f"{names[f'{given[0]}_{kind}']}: the {missing} {kind} are missing; give both, or neither")
    if case.fixed_points is not None and len(case.fixed_points) != len(case.moving_points):
        raise UserError(
            f"{names['moving_points']}: holds {len(case.moving_points)} points and {names['fixed_points']} "
            f"{len(case.fixed_points)}; list the same landmarks in the same order"
        )


def check_landmark_order(fixed_points, moving_points):
    """Refuses two files that name the same landmarks in another order: they are paired by their order.

    Args:
        fixed_points, moving_points: Files of as many landmarks, or None.

    Raises:
        UserError: If the order differs.
    """
    if fixed_points is None or moving_points is None:
        return
    fixed, moving = (read_landmarks(path).names for path in (fixed_points, moving_points))
    if fixed != moving and sorted(fixed) == sorted(moving) and len(set(fixed)) == len(fixed):
        number, (first, other) = next(
            (number, names) for number, names in enumerate(zip(fixed, moving, strict=True), 1) if len(set(names)) > 1
        )
        raise UserError(
            f"{moving_points}: names point {number} {other!r}, and {fixed_points} names it {first!r}; list the same "
            "landmarks in the same order"
        )


def landmark_doubts(case):
    """What a person should look at before a pair's landmarks are believed.

    Args:
        case: A `Case`.

    Returns:
        List of sentences, which begin with the side.
    """
    sides = (("fixed", case.fixed, case.fixed_points), ("moving", case.moving, case.moving_points))
    return [
        f"{side} points: {text}"
        for side, image, points in sides
        if points is not None
        for text in doubts(points, image.lattice)
    ]


def notes_beside(case):
    """What the readers of segmentations and masks had to decide, and did not for their images.

    Args:
        case: A `Case`.

    Yields:
        Sentences, which begin with the input's name.
    """
    for name, volume in vars(case).items():
        if name.endswith(("_labels", "_mask")) and volume is not None:
            known = getattr(case, name.split("_")[0]).notes
            yield from (f"{name.replace('_', ' ')}: {note}" for note in volume.notes if note not in known)


def _check_kinds(case, names):
    """Refuses a file's name or an array where a `Volume` is wanted, and points that are none."""
    for name, value in vars(case).items():
        if value is None and name not in ("fixed", "moving"):
            continue
        if name.endswith("_points"):
            setattr(case, name, _points(value, names[name]))
        elif not isinstance(value, Volume):
            raise UserError(f"{names[name]}: is no Volume; read it with `tfreg.read_volume`")
        elif name.endswith("_mask") and not value.array.any():
            raise UserError(f"{names[name]}: empty mask, all voxels are 0; give one that holds the object")


def _points(values, name):
    """`(n, 3)` float64."""
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if array.ndim != 2 or array.shape[1] != 3 or not len(array) or not np.isfinite(array).all():
        raise UserError(f"{name}: give (n, 3) finite numbers, world RAS+ mm")
    return array
