"""A map taken apart into three one-dimensional ones does what the map did."""

import numpy as np
import pytest

from tfreg.transforms.deformation import Deformation, logits_from_displacement
from tfreg.transforms.inverse import inverted
from tfreg.transforms.projection import STEEPEST, control_centres, control_displacements

SHAPE = (24, 20, 28)
PHASES = (0.3, 1.0, 2.0)


def rebuilt(mapped, shape, stride):
    return Deformation(
        logits_from_displacement(control_displacements(mapped, stride), stride), shape, stride, "composed", "start"
    )


def wave(points, amplitude=1.2):
    """A smooth map whose components depend on all three coordinates; the first planes hardly move."""
    ramp = np.clip(points / 8, 0, 1)
    turned = points[..., [1, 2, 0]] / 5 + points[..., [2, 0, 1]] / 7
    return points + amplitude * ramp.prod(-1, keepdims=True) * np.sin(turned + PHASES)


def inner(shape):
    return np.stack(np.meshgrid(*(np.arange(9, n - 4) for n in shape), indexing="ij"), axis=-1).astype(float)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_centres_lie_in_the_middle_of_cells(stride):
    centres = control_centres((8, 9, 5), stride)
    assert centres.shape == (-(-8 // stride), -(-9 // stride), -(-5 // stride), 3)
    np.testing.assert_allclose(centres[0, 0, 0], (stride - 1) / 2)
    np.testing.assert_allclose(np.diff(centres[:, 0, 0, 0]), stride)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_identity_stays_exact(stride):
    displacement = control_displacements(control_centres(SHAPE, stride), stride)
    np.testing.assert_array_equal(displacement, 0)


@pytest.mark.parametrize(("stride", "error"), [(1, 0.03), (2, 0.06)])
def test_any_smooth_map_is_followed(stride, error):
    points = inner(SHAPE)
    found = rebuilt(wave(control_centres(SHAPE, stride)), SHAPE, stride)(points)
    moved = np.abs(wave(points) - points)
    assert moved.max() > 1
    assert np.abs(found - wave(points)).mean() < error
    # Half a voxel's confusion of centres and cell ends would show: slopes reach 0.3 voxels a voxel.
    assert np.abs(found - wave(points)).max() < 5 * error


def test_a_composed_deformation_and_its_inverse_are_followed(smooth_deformation):
    truth = smooth_deformation(SHAPE, stride=2, scale=0.3, sigma=4.0, anchor="start")
    centres, points = control_centres(SHAPE, 2), inner(SHAPE)
    forward, backward = (rebuilt(mapped, SHAPE, 2) for mapped in (truth(centres), inverted(truth, centres)))
    assert np.abs(truth(points) - points).mean() > 0.3
    assert np.abs(forward(points) - truth(points)).mean() < 0.05
    there_and_back = backward(truth(points))
    assert np.abs(there_and_back - points).mean() < 0.1 * np.abs(truth(points) - points).mean()


def test_what_no_deformation_can_follow_is_limited():
    """A jump and a fold: the nearest that keeps its direction, never the logits' limits."""
    centres = control_centres(SHAPE, 1)
    mapped = centres.copy()
    mapped[12:, ..., 0] += 6
    mapped[:, 10, :, 1] -= 5
    found = rebuilt(mapped, SHAPE, 1)
    assert np.abs(found.gradients - 1).max() <= STEEPEST + 1e-6
    # A stretch of 0.9 a voxel has caught up with a jump of 6 after seven voxels.
    np.testing.assert_allclose(found.displacements[0][20:], 6, atol=0.2)
