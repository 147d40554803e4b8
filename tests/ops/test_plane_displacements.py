"""Displacements on some planes alone, and what is composed of them, against the layers at all voxels."""

import numpy as np
import pytest
from keras import ops

from tfreg.layers.composed_integration import ComposedIntegration
from tfreg.layers.gradient_head import GradientHead
from tfreg.ops.composition import composed_at_voxels
from tfreg.ops.grids import voxel_centres
from tfreg.ops.integration import running_sum
from tfreg.ops.plane_displacements import displacements_on_planes
from tfreg.ops.upsampling import upsample_lines, upsampled_voxels

SHAPE = (9, 10, 13)
SOME = ([0, 3, 4, 8], [1, 2, 9], [0, 5, 6, 11, 12])
ALL = tuple(range(n) for n in SHAPE)
some_or_all = pytest.mark.parametrize("planes", [SOME, ALL], ids=["some", "all"])


def composed_on(planes, logits, stride, anchor):
    planes = [ops.convert_to_tensor(list(index), "int32") for index in planes]
    return composed_at_voxels(displacements_on_planes(logits, SHAPE, stride, anchor, planes), voxel_centres(planes))


def on_planes(field, planes):
    for axis, index in enumerate(planes):
        field = ops.take(field, list(index), axis=axis + 1)
    return field


def mapped_everywhere(logits, stride, anchor):
    gradients = GradientHead(stride)(logits, np.zeros((1, *SHAPE, 1), np.float32))
    return ComposedIntegration(anchor)(gradients)


@pytest.fixture(params=[1, 2])
def stride(request):
    return request.param


@pytest.fixture
def logits(rng, stride):
    return rng.normal(0, 1.5, (1, *(-(-n // stride) for n in SHAPE), 3)).astype("float32")


@some_or_all
@pytest.mark.parametrize("anchor", ["start", "centre"])
def test_it_is_the_layers_map_at_those_voxels(logits, stride, anchor, planes, path):
    with path():
        found = composed_on(planes, logits, stride, anchor)
    np.testing.assert_allclose(found, on_planes(mapped_everywhere(logits, stride, anchor), planes), atol=2e-5)


@pytest.mark.parametrize("anchor", ["start", "centre"])
def test_so_is_its_gradient(logits, stride, anchor, rng, gradient, path):
    seen = rng.normal(size=(1, *map(len, SOME), 3)).astype("float32")

    def some(logits):
        return ops.sum(seen * composed_on(SOME, logits, stride, anchor))

    def everywhere(logits):
        return ops.sum(seen * on_planes(mapped_everywhere(logits, stride, anchor), SOME))

    with path():
        (found,) = gradient(some, logits)
    (expected,) = gradient(everywhere, logits)
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_no_logits_are_the_identity_exactly(stride):
    logits = np.zeros((1, *(-(-n // stride) for n in SHAPE), 3), np.float32)
    expected = np.stack(np.meshgrid(*SOME, indexing="ij"), axis=-1)[None]
    np.testing.assert_array_equal(composed_on(SOME, logits, stride, "start"), expected)


@pytest.mark.parametrize("axis", range(3))
def test_some_voxels_of_a_line(axis, rng, path):
    volume = rng.normal(size=(2, 4, 5, 6, 1)).astype("float32")
    voxels = ops.convert_to_tensor([0, 2, 3], "int32")
    with path():
        sums, finer = running_sum(volume, axis, voxels), upsampled_voxels(volume, 3, axis, voxels + 5)
    taken = [0, 2, 3]
    np.testing.assert_allclose(sums, np.cumsum(volume, axis + 1).take(taken, axis + 1), atol=1e-5)
    expected = np.array(upsample_lines(volume, 3, axis)).take(np.add(taken, 5), axis + 1)
    np.testing.assert_allclose(finer, expected, atol=1e-5)
