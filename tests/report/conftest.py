"""A pair that looks different wherever it could be mixed up."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tfreg.report.pair_views import PairViews
from tfreg.volumes.volume import Volume

TURN = Rotation.from_euler("xyz", [10, -15, 20], degrees=True).as_matrix()


def made_pair(orientation="RAS", turned=False, shape=(14, 10, 12), labelled=True):
    """Views of random codes, a smooth displacement and a log Jacobian, and the same upright."""
    rng = np.random.default_rng(7)
    affine = np.diag([2.0, 3.0, 2.5, 1.0])
    affine[:3, 3] = [-10, 20, -100]
    if turned:
        affine[:3, :3] = TURN @ affine[:3, :3]
    upright = {name: rng.integers(1, 256, shape, np.uint8) for name in ("fixed", "moving", "warped")}
    upright["warped"][:, :, 0] = 0  # not reached
    upright["labels"] = np.zeros(shape, np.uint8)
    upright["labels"][3:9, 3:7, 4:9] = 1
    upright["labels"][9:11, 3:7, 4:9] = 2
    upright["log_jacobian"] = ndimage.gaussian_filter(rng.standard_normal(shape), 2).astype(np.float32) * 3
    there = {name: Volume(array, affine).reoriented(orientation) for name, array in upright.items()}
    logarithm = there.pop("log_jacobian").array
    views = PairViews(
        **(there if labelled else there | {"labels": None}),
        windows={"fixed": (-1000.0, 500.0), "moving": (0.0, 2.0)},
        label_values=(3, 41) if labelled else (),
    )
    smooth = [ndimage.gaussian_filter(rng.standard_normal(views.fixed.shape), 3) for _ in range(3)]
    displacement_mm = (np.stack(smooth, axis=-1) * 20).astype(np.float32)
    return SimpleNamespace(views=views, displacement_mm=displacement_mm, log_jacobian=logarithm, upright=upright)


@pytest.fixture(scope="session")
def pair_of():
    """`pair_of(orientation, turned, shape, labelled)`: see `made_pair`."""
    return made_pair
