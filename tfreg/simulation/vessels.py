"""Trees that fill the simulated lungs, and the points where they branch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from tfreg.simulation.shapes import Tubes

TERMINAL_RADIUS_MM = 0.6


def grow_tree(
    rng: np.random.Generator, root: ArrayLike, cloud: np.ndarray, terminal: int = 2
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tree of tubes from a root into a cloud of points, each branch supplying half of its parent's points.

    The cloud is cut in two across its longest direction, and a branch runs from the present node part
    of the way to the middle of each half, until a branch supplies few points. Radii follow Murray's
    law: the cube of the radius is proportional to the number of points supplied.

    Args:
        rng: `numpy.random.Generator`.
        root: `(3,)` mm.
        cloud: `(n, 3)` mm, the points to supply.
        terminal: Number of points at which a branch ends.

    Returns:
        starts `(m, 3)`, ends `(m, 3)` and radii `(m, 2)` of the segments, mm. An end that is also
        the start of others is a bifurcation.
    """
    segments = []
    pending = [(np.asarray(root, dtype=np.float64), cloud, TERMINAL_RADIUS_MM * len(cloud) ** (1 / 3))]
    while pending:
        node, points, parent_radius = pending.pop()
        middle = points.mean(axis=0)
        centred = points - middle
        longest = np.linalg.eigh(centred.T @ centred)[1][:, -1]
        order = np.argsort(centred @ longest, kind="stable")
        cut = int(np.clip(rng.uniform(0.35, 0.65) * len(order), 1, len(order) - 1))
        for half in (points[order[:cut]], points[order[cut:]]):
            course = half.mean(axis=0) - node
            tip = node + rng.uniform(0.4, 0.55) * course + rng.normal(0, 0.05, 3) * np.linalg.norm(course)
            radius = TERMINAL_RADIUS_MM * len(half) ** (1 / 3)
            segments.append((node, tip, min(parent_radius, 1.15 * radius), radius))
            if len(half) > terminal:
                pending.append((tip, half, radius))
    starts, ends, first, last = (np.array(column) for column in zip(*segments, strict=True))
    return starts, ends, np.stack([first, last], axis=1)


def lung_vessels(
    rng: np.random.Generator, hila: Sequence[ArrayLike], clouds: Sequence[np.ndarray]
) -> tuple[Tubes, np.ndarray]:
    """Arteries and veins of both lungs.

    Args:
        rng: `numpy.random.Generator`.
        hila: Two `(3,)` points, mm, where the vessels enter the right and the left lung.
        clouds: Two `(n, 3)` arrays of points inside the lungs, mm.

    Returns:
        `Tubes`, and the bifurcations `(m, 3)` in mm, thick branches first.
    """
    starts, ends, radii = [], [], []
    for hilum, cloud in zip(hila, clouds, strict=True):
        shuffled = rng.permutation(cloud)
        for shift, part in (((0, 6, 6), shuffled[::2]), ((0, -6, -12), shuffled[1::2])):
            tree = grow_tree(rng, np.asarray(hilum) + shift, part)
            for column, values in zip((starts, ends, radii), tree, strict=True):
                column.append(values)
    starts, ends, radii = (np.concatenate(column) for column in (starts, ends, radii))
    bifurcations, first = np.unique(starts, axis=0, return_index=True)
    thick_first = np.argsort(-radii[first, 0], kind="stable")
    return Tubes(starts, ends, radii[:, 0], radii[:, 1]), bifurcations[thick_first]


def spread_points(points: np.ndarray, count: int) -> np.ndarray:
    """Picks points far from each other: each next one is the farthest from those picked so far.

    Args:
        points: `(n, 3)` mm; the first is picked first.
        count: How many to pick, at most n.

    Returns:
        `(count, 3)` mm.
    """
    picked = [0]
    distance = np.linalg.norm(points - points[0], axis=1)
    while len(picked) < min(count, len(points)):
        picked.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[picked[-1]], axis=1))
    return points[picked]
