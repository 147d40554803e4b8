"""What a similarity of every second voxel says, compared with what it says of all."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from tfreg.losses.mind import MIND
from tfreg.losses.similarities import build_similarity

SHAPE = (26, 28, 30)


def images(rng):
    """A smooth image and others that are more and more unlike it, `(1, i, j, k, 1)` in [0, 1]."""
    textures = ndimage.gaussian_filter(rng.standard_normal((2, *SHAPE)), (0, 2, 2, 2))
    fixed, other = (texture / (6 * texture.std()) + 0.5 for texture in textures)
    mixtures = [(1 - share) * fixed + share * other for share in (0.1, 0.3, 0.6)]
    return [np.clip(image, 0, 1).astype("float32")[None, ..., None] for image in (fixed, *mixtures)]


# Patches of voxels that lie apart differ less from each other than patches of neighbours.
@pytest.mark.parametrize(
    ("name", "strength"), [("lncc", 1), ("mse", 1), ("ncc", 1), ("mi", 1), ("mind", 0.4), ("lncc+30*mind", 0.5)]
)
def test_is_about_what_all_voxels_say(name, strength, rng):
    fixed, *others = images(rng)
    all_voxels = build_similarity(name, window=7)
    some = all_voxels.on_every_second_voxel()
    turns = [tuple(slice(first, None, 2) for first in firsts) for firsts in itertools.product((0, 1), repeat=3)]
    whole = [float(all_voxels(fixed, other)) for other in others]
    parts = [np.mean([float(some(fixed[:, i, j, k], other[:, i, j, k])) for i, j, k in turns]) for other in others]
    np.testing.assert_allclose(np.diff(parts), strength * np.diff(whole), rtol=0.25)
    assert (np.diff(parts) > 0).all()


def test_neighbours_lie_as_far_away():
    every = MIND(radius=2, dilation=4, stride=2).on_every_second_voxel()
    assert (every.radius, every.dilation, every.stride) == (2, 2, 1)
    assert MIND(dilation=2).on_every_second_voxel().stride == 1


def test_what_cannot_go_by_every_second_voxel():
    assert MIND(dilation=3).on_every_second_voxel() is None
    assert build_similarity("dwm").on_every_second_voxel() is None
    assert build_similarity("mse+dwm").on_every_second_voxel() is None
    assert build_similarity("mse+0.5*ncc").on_every_second_voxel().weights == [1.0, 0.5]
