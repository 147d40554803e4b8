"""Registration by tfreg and by its peers, each to a displacement in mm on the fixed image's lattice.

Every method takes the fixed and the moving `Volume` and the `DataSet`, and returns a `Found`. The clock runs
from volumes in memory to the tool's own result; turning that into one displacement is not counted.
"""

import functools
import time
from dataclasses import dataclass, field

import numpy as np

from tfreg.evaluation.baselines import BASELINES
from tfreg.preprocessing.initial_alignment import initial_alignment
from tfreg.transforms.transform import Transform

THREADS = 2


@dataclass(eq=False)
class Found:
    """What a method finds for a pair.

    Args:
        displacement_mm: `(i, j, k, 3)` float32 on the fixed lattice, RAS+ mm: the whole transform.
        seconds: What the registration took.
        certificate: tfreg's own, a dictionary; empty for the others.
        transform: tfreg's own `Transform`, None for the others.
    """

    displacement_mm: np.ndarray
    seconds: float
    certificate: dict = field(default_factory=dict)
    transform: Transform | None = None


def headers(fixed, moving, data_set):
    """No registration."""
    return Found(np.zeros((*fixed.shape, 3), np.float32), 0.0)


def initial(fixed, moving, data_set):
    """The initial alignment alone."""
    started = time.perf_counter()
    init = initial_alignment(data_set.init, fixed, moving)
    seconds = time.perf_counter() - started
    return Found(Transform.identity(fixed.lattice, init).displacement_mm(fixed.lattice), seconds)


def baseline(fixed, moving, data_set, name):
    """One of `tfreg evaluate`'s baselines."""
    options = {"cubes_mm": data_set.cubes_mm} if name.startswith("greedy") else {}
    return Found(*BASELINES[name].register(fixed, moving, data_set.init, THREADS, **options))


def tfreg(fixed, moving, data_set, preset):
    """tfreg: refinement from the identity, without a network."""
    from tfreg import register

    started = time.perf_counter()
    result = register(fixed, moving, refine=True, preset=preset, init=data_set.init)
    seconds = time.perf_counter() - started
    return Found(result.displacement_mm, seconds, result.report.certificate, result.transform)


# greedy_r2 and greedy_r4 are the names in the results that stand.
PEERS = {
    "greedy_r4": "greedy_r4",
    "greedy_r2": "greedy",
    "syn": "syn",
    "elastix": "elastix",
    "demons": "demons",
}
METHODS = {
    "headers": headers,
    "initial": initial,
    **{name: functools.partial(baseline, name=known) for name, known in PEERS.items()},
    "tfreg_fast": functools.partial(tfreg, preset="fast"),
    "tfreg_quality": functools.partial(tfreg, preset="quality"),
}

# The package that a method needs besides tfreg.
PACKAGES = {name: BASELINES[known].package for name, known in PEERS.items()}
