"""Random transforms."""

import numpy as np
import pytest
from scipy import ndimage

from tfreg.transforms.deformation import Deformation


@pytest.fixture
def smooth_deformation(rng):
    """`smooth_deformation(shape, ...)`: a `Deformation` of smooth random logits."""

    def smooth_deformation(shape, stride=1, scale=1.0, sigma=2.0, **options):
        coarse = (*(-(-n // stride) for n in shape), 3)
        noise = ndimage.gaussian_filter(rng.standard_normal(coarse), (sigma, sigma, sigma, 0))
        return Deformation((scale * noise / noise.std()).astype(np.float32), shape, stride, **options)

    return smooth_deformation
