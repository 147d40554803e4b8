"""Volumes under the headers that tools disagree about."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tfreg.volumes.volume import Volume

OBLIQUE = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()

AFFINES = {
    "RAS": np.diag([1.5, 1.0, 2.5]),
    "LAS": np.diag([-1.5, 1.0, 2.5]),
    "LPS": np.diag([-1.5, -1.0, 2.5]),
    "SLA": np.array([[0, -1.0, 0], [0, 0, 1.5], [2.5, 0, 0]]),
    "oblique": OBLIQUE @ np.diag([0.8, 1.3, 3.1]),
    "oblique and flipped": OBLIQUE @ np.diag([0.8, -1.3, 3.1]),
}


@pytest.fixture(params=AFFINES.values(), ids=AFFINES.keys())
def affine(request):
    """`(4, 4)`, voxel to world RAS+ mm, with an origin far from zero."""
    matrix = np.eye(4)
    matrix[:3, :3] = request.param
    matrix[:3, 3] = [-31.25, 17.5, 120.75]
    return matrix


@pytest.fixture
def volume(affine):
    """A ramp of unequal sizes and slopes, `(4, 5, 6)` float32."""
    i, j, k = np.indices((4, 5, 6))
    return Volume((100 * i + 10 * j + k - 7.5).astype(np.float32), affine)
