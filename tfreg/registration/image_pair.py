"""`ImagePair`: the images, labels, landmarks and masks of a pair, and whether they fit together."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from tfreg.errors import UserError
from tfreg.io.formats import read_landmarks, read_points, read_volume
from tfreg.io.points import doubts
from tfreg.io.tables.manifest import PairFiles
from tfreg.registration.initial_matrix import checked_matrix, matrix_from_file
from tfreg.volumes.lattice import difference
from tfreg.volumes.volume import Volume

INPUTS = (
    *("fixed", "moving", "fixed_labels", "moving_labels", "fixed_points", "moving_points"),
    *("fixed_mask", "moving_mask"),
)


@dataclass(eq=False)
class ImagePair:
    """What is known of a pair besides the transform; refused where it does not fit together.

    Args:
        fixed, moving: Image `Volume`s.
        fixed_labels, moving_labels: Segmentations on their image's lattice, or None.
        fixed_points, moving_points: `(n, 3)` landmarks in world RAS+ mm, or None.
        fixed_mask, moving_mask: Where the images count, on their image's lattice, or None.
        initial_transform: `(4, 4)`, fixed world to moving world, RAS+ mm, to begin from; None leaves it to a rule.
        names: Dictionary of input to what error messages call it, such as its file.

    Raises:
        UserError: If an input is of another kind, a segmentation lies on another lattice, or the landmarks are not
            pairs.

    Example:
        >>> fixed, moving = tfreg.read_volume("exhale.nii.gz"), tfreg.read_volume("inhale.nii.gz")
        >>> lungs = tfreg.read_volume("chests/labels/s003_exhale.nii.gz", labels=True)
        >>> pair = tfreg.ImagePair(fixed, moving, fixed_mask=lungs)
        >>> list(pair.given())
        ['fixed', 'moving', 'fixed_mask']
    """

    fixed: Volume
    moving: Volume
    fixed_labels: Volume | None = None
    moving_labels: Volume | None = None
    fixed_points: np.ndarray | None = None
    moving_points: np.ndarray | None = None
    fixed_mask: Volume | None = None
    moving_mask: Volume | None = None
    initial_transform: np.ndarray | None = None
    names: dict = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.names = {name: name.replace("_", " ") for name in INPUTS} | self.names
        _check_kinds(self)
        _check_lattices(self)
        for kind in ("labels", "points"):
            given = [side for side in ("fixed", "moving") if getattr(self, f"{side}_{kind}") is not None]
            if len(given) == 1:
                missing = "moving" if given == ["fixed"] else "fixed"
                raise UserError(
                    f"{self.names[f'{given[0]}_{kind}']}: the {missing} {kind} are missing; give both, or neither"
                )
        points = self.fixed_points, self.moving_points
        if points[0] is not None and points[1] is not None and len(points[0]) != len(points[1]):
            raise UserError(
                f"{self.names['moving_points']}: holds {len(points[1])} points and "
                f"{self.names['fixed_points']} {len(points[0])}; list the same landmarks in the same order"
            )
        self.initial_transform = checked_matrix(self.initial_transform)

    @classmethod
    def read(cls, files: PairFiles, read_volume: Callable[..., Volume] = read_volume) -> Self:
        """Reads a pair's files.

        Args:
            files: A `tfreg.io.tables.manifest.PairFiles`.
            read_volume: Reads an image, or with `labels=True` a segmentation or a mask.

        Returns:
            An `ImagePair`.

        Raises:
            UserError: If a file is bad, or they do not fit together.
        """
        matrix = None if files.init is None else matrix_from_file(files.init)
        paths = {name: getattr(files, name) for name in INPUTS if getattr(files, name) is not None}
        inputs: dict[str, Any] = {name: read_input(name, path, read_volume) for name, path in paths.items()}
        pair = cls(**inputs, initial_transform=matrix, names=paths)
        check_landmark_order(files.fixed_points, files.moving_points)
        return pair

    def given(self) -> dict[str, Any]:
        """Dictionary of name to the volumes and points that there are."""
        return {name: getattr(self, name) for name in INPUTS if getattr(self, name) is not None}


def read_input(name: str, path: str | Path, read_volume: Callable[..., Volume] = read_volume) -> Volume | np.ndarray:
    """Reads what one of `INPUTS` stands for.

    Args:
        name: One of `INPUTS`.
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


def check_landmark_order(fixed_points: str | Path | None, moving_points: str | Path | None) -> None:
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


def landmark_doubts(pair: ImagePair) -> list[str]:
    """What a person should look at before a pair's landmarks are believed.

    Args:
        pair: An `ImagePair`.

    Returns:
        List of sentences, which begin with the side.
    """
    sides = (("fixed", pair.fixed, pair.fixed_points), ("moving", pair.moving, pair.moving_points))
    return [
        f"{side} points: {text}"
        for side, image, points in sides
        if points is not None
        for text in doubts(points, image.lattice)
    ]


def notes_beside(pair: ImagePair) -> Iterator[str]:
    """What had to be decided where segmentations and masks were read, and not for their images.

    Args:
        pair: An `ImagePair`.

    Yields:
        Sentences, which begin with the input's name.
    """
    for name, volume in pair.given().items():
        if name.endswith(("_labels", "_mask")):
            of_image = getattr(pair, name.split("_")[0]).notes
            yield from (f"{name.replace('_', ' ')}: {note}" for note in volume.notes if note not in of_image)


def _check_kinds(pair):
    """Refuses a file's name or an array where a `Volume` is wanted, and points that are none."""
    for name in INPUTS:
        value, called = getattr(pair, name), pair.names[name]
        if value is None and name not in ("fixed", "moving"):
            continue
        if name.endswith("_points"):
            setattr(pair, name, _points(value, called))
        elif not isinstance(value, Volume):
            raise UserError(f"{called}: is no Volume; read it with `tfreg.read_volume`")
        elif name.endswith("_mask") and not value.array.any():
            raise UserError(f"{called}: empty mask, all voxels are 0; give one that holds the object")


def _check_lattices(pair):
    """Refuses segmentations and masks that lie elsewhere than their images."""
    for side in ("fixed", "moving"):
        image = getattr(pair, side)
        for name in (f"{side}_labels", f"{side}_mask"):
            volume = getattr(pair, name)
            if volume is not None and not volume.lattice.same_as(image.lattice):
                raise UserError(
                    f"{pair.names[name]}: lies in another frame than the {side} image {pair.names[side]} "
                    f"({difference(volume.lattice, image.lattice)}); resample it onto that image"
                )


def _points(values, name):
    """`(n, 3)` float64."""
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if array.ndim != 2 or array.shape[1] != 3 or not len(array) or not np.isfinite(array).all():
        raise UserError(f"{name}: give (n, 3) finite numbers, world RAS+ mm")
    return array
