"""Shapes of the simulated chest: signed distances in millimetres, positive inside."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree


def ellipsoid(
    points: np.ndarray, centre: ArrayLike, radii: ArrayLike, rotation: np.ndarray | None = None
) -> np.ndarray:
    """Signed distance to an ellipsoid, exact to first order at its surface.

    Args:
        points: `(n, 3)` mm.
        centre: Three numbers, mm.
        radii: Three numbers, mm; np.inf for a cylinder along that axis.
        rotation: `(3, 3)`, its rows are the ellipsoid's axes, or None.

    Returns:
        `(n,)` mm, positive inside.
    """
    local = points - np.asarray(centre)
    if rotation is not None:
        local = local @ rotation.T
    scaled = local / np.asarray(radii)
    return implicit_distance(scaled, scaled / np.asarray(radii))


def implicit_distance(scaled: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Signed distance to |scaled| = 1 from half the gradient of |scaled|², both `(n, d)`; `(n,)`."""
    radius = np.sqrt(np.einsum("nd,nd->n", scaled, scaled))
    steepness = np.sqrt(np.einsum("nd,nd->n", gradient, gradient))
    return (1 - radius) * np.maximum(radius, 1e-6) / np.maximum(steepness, 1e-9)


def smooth_minimum(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """The smaller of two distances, rounded where they differ by less than `width` mm."""
    blend = np.maximum(width - np.abs(a - b), 0)
    return np.minimum(a, b) - blend * blend / (4 * width)


def smooth_maximum(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """The larger of two distances, rounded where they differ by less than `width` mm."""
    return -smooth_minimum(-a, -b, width)


@dataclass(frozen=True)
class Diaphragm:
    """Height of the diaphragm: a smooth maximum of bell-shaped domes on a floor.

    Args:
        centres: `(domes, 2)`, x and y of each dome, chest mm.
        heights: `(domes,)`, z of each dome, chest mm.
        widths: `(domes, 2)`, half widths along x and y, mm.
        floor: z that no point goes below, mm.
    """

    centres: np.ndarray
    heights: np.ndarray
    widths: np.ndarray
    floor: float
    rounding_mm: float = 9.0

    def height(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """z of the diaphragm over `(n,)` x and y, chest mm; `(n,)`, never below the floor."""
        total = 1.0
        for (cx, cy), top, (wx, wy) in zip(self.centres, self.heights, self.widths, strict=True):
            bell = np.exp(-((((x - cx) / wx) ** 2 + ((y - cy) / wy) ** 2) ** 1.25))
            total = total + np.expm1((top - self.floor) / self.rounding_mm * bell)
        return self.floor + self.rounding_mm * np.log(total)

    def distance(self, points: np.ndarray, step: float = 1.0) -> np.ndarray:
        """Signed distance of `(n, 3)` points above the diaphragm, to first order, `(n,)` mm."""
        x, y, z = points.T
        height = self.height(x, y)
        slope_x = (self.height(x + step, y) - height) / step
        slope_y = (self.height(x, y + step) - height) / step
        return (z - height) / np.sqrt(1 + slope_x**2 + slope_y**2)


@dataclass(frozen=True)
class Tubes:
    """Tapering tubes: segments with a radius at each end.

    Args:
        starts: `(segments, 3)` mm.
        ends: `(segments, 3)` mm.
        start_radii: `(segments,)` mm.
        end_radii: `(segments,)` mm.
    """

    starts: np.ndarray
    ends: np.ndarray
    start_radii: np.ndarray
    end_radii: np.ndarray
    _classes: list = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        # The nearest axis is the nearest surface only among tubes of like radius: one search tree a class.
        bins = np.digitize(self.start_radii, [0.9, 1.5, 2.5, 4.5])
        classes = []
        for index in np.unique(bins):
            segments = np.flatnonzero(bins == index)
            lengths = np.linalg.norm(self.ends[segments] - self.starts[segments], axis=1)
            counts = np.maximum(np.ceil(lengths / 2.5).astype(int), 1) + 1
            owner = np.repeat(segments, counts)
            share = np.concatenate([np.linspace(0, 1, n) for n in counts])[:, None]
            samples = self.starts[owner] * (1 - share) + self.ends[owner] * share
            classes.append((cKDTree(samples), owner, self.start_radii[segments].max()))
        object.__setattr__(self, "_classes", classes)

    @classmethod
    def along(cls, *paths: ArrayLike) -> "Tubes":
        """Tubes along polylines, each given as rows of x, y, z, radius."""
        paths = [np.asarray(path, dtype=np.float64) for path in paths]
        first, last = np.concatenate([p[:-1] for p in paths]), np.concatenate([p[1:] for p in paths])
        return cls(first[:, :3], last[:, :3], first[:, 3], last[:, 3])

    def widened(self, by_mm: float) -> "Tubes":
        """The same tubes, each radius larger by `by_mm`."""
        return Tubes(self.starts, self.ends, self.start_radii + by_mm, self.end_radii + by_mm)

    def cover(self, points: np.ndarray, voxel_mm: float) -> np.ndarray:
        """Share of each voxel that lies in a tube, thin tubes dimmed by their share of the voxel.

        Args:
            points: `(n, 3)` mm, voxel centres.
            voxel_mm: Edge of a voxel, one number.

        Returns:
            `(n,)` in [0, 1].
        """
        cover = np.zeros(len(points))
        blur = 0.35 * voxel_mm
        for tree, owner, largest in self._classes:
            margin = np.hypot(largest, 1.5 * blur) + 0.5 * voxel_mm
            distance, nearest = tree.query(points, distance_upper_bound=margin + 1.3)
            hit = np.flatnonzero(np.isfinite(distance))
            segment = owner[nearest[hit]]
            start, along = self.starts[segment], self.ends[segment] - self.starts[segment]
            offset = points[hit] - start
            share = np.einsum("nd,nd->n", offset, along) / np.maximum(np.einsum("nd,nd->n", along, along), 1e-9)
            share = np.clip(share, 0, 1)
            away = np.linalg.norm(offset - share[:, None] * along, axis=1)
            radius = self.start_radii[segment] * (1 - share) + self.end_radii[segment] * share
            seen = np.hypot(radius, 1.5 * blur)
            value = (radius / seen) ** 2 * np.clip(0.5 + (seen - away) / voxel_mm, 0, 1)
            cover[hit] = np.maximum(cover[hit], value)
        return cover
