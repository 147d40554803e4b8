"""A volume as one PNG picture, its slices side by side."""

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Mosaic:
    """A volume of bytes as a picture: tile z, counted in rows from the top left, is its slice z.

    Voxel (x, y, z) is pixel (x, y) of its tile, counted from the tile's top left.

    Args:
        png: The file's bytes.
        columns: Tiles in a row.
        checksum: Sum of all bytes of the volume, by which a reader tells that it got them unaltered.
    """

    png: bytes
    columns: int
    checksum: int


def mosaic(array: np.ndarray) -> Mosaic:
    """Makes a `Mosaic` of about equal width and height.

    Args:
        array: `(x, y, z)` uint8, grey, or `(x, y, z, 3)`, red, green and blue.

    Returns:
        A `Mosaic`.

    Raises:
        ValueError: If the array is not of bytes or has other axes.
    """
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[3:] not in ((), (3,)):
        raise ValueError(
            f"`array` must be uint8 of shape (x, y, z) or (x, y, z, 3). Received: {array.dtype}, {array.shape}"
        )
    width, height, depth = array.shape[:3]
    columns = min(depth, max(1, math.ceil(math.sqrt(depth * height / width))))
    rows = -(-depth // columns)
    tiles = np.zeros((rows * columns, height, width, *array.shape[3:]), np.uint8)
    tiles[:depth] = np.swapaxes(array, 0, 2)  # (z, y, x)
    tiles = tiles.reshape(rows, columns, *tiles.shape[1:])
    picture = np.swapaxes(tiles, 1, 2).reshape(rows * height, columns * width, *array.shape[3:])
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return Mosaic(stream.getvalue(), columns, int(array.sum(dtype=np.int64)))
