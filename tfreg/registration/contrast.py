"""Images of opposite contrast: one shows dark what the other shows bright."""

import numpy as np

from tfreg.metrics.intensity_correlation import correlation
from tfreg.preprocessing.aligned_pair import AlignedPair, Side
from tfreg.preprocessing.network_grid import cube_lattice
from tfreg.preprocessing.pyramid import onto_level

# The images are compared on cubes of the fixed field of view, about this many.
VOXELS = 40_000

# Their contrast is opposite where they correlate less than this.
OPPOSITE = -0.1

# What lies outside an image counts as dark: if the fixed image's border is brighter than the moving one's by this
# much, it is the negative, else the moving image.
BRIGHTER = 0.25


def negative_side(pair: AlignedPair) -> Side | None:
    """Which image of a pair is to be inverted so that both show the same bright.

    Args:
        pair: An `AlignedPair`.

    Returns:
        "fixed", "moving", or None where the images' contrast is not opposite over the voxels that both have.
    """
    lattice = cube_lattice(pair.fixed.lattice, VOXELS)
    fixed, fixed_counts = onto_level(pair.fixed, lattice, None, pair.fixed_mask)
    moving, moving_counts = onto_level(pair.moving, lattice, pair.init, pair.moving_mask)
    if not correlation(fixed, moving, fixed_counts * moving_counts > 0.5) < OPPOSITE:
        return None
    return "fixed" if _border_mean(pair.fixed) - _border_mean(pair.moving) > BRIGHTER else "moving"


def _border_mean(volume):
    """The mean of an image's outermost voxels."""
    border = np.ones(volume.shape, bool)
    border[1:-1, 1:-1, 1:-1] = False
    return float(volume.array[border].mean())
