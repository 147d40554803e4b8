"""The soft Dice loss by hand, against one-hot images and differences, for any number of labels."""

import keras
import numpy as np
import pytest
from scipy import ndimage

from tfreg.losses.label_overlap import LabelOverlap

SHAPE = (5, 6, 7)


def soft_dice(fixed, moving, displacement, labels):
    """Of one pair, in float64: every label warped as an image of ones and zeros."""
    places = np.moveaxis(np.stack(np.indices(fixed.shape), axis=-1) + displacement, -1, 0)
    values = []
    for label in labels:
        there = (fixed == label).astype(float)
        warped = ndimage.map_coordinates((moving == label).astype(float), places, order=1, mode="nearest")
        if there.sum() + warped.sum() > 0:
            values.append(2 * (there * warped).sum() / (there.sum() + warped.sum()))
    return np.mean(values)


@pytest.fixture
def pair(rng):
    """Labels of two pairs, blocks of a few voxels, and displacements off the lattice that also leave the volume."""
    labels = rng.choice([0, 3, 70, 5000], (2, *SHAPE, 2)).astype("int32")
    labels = np.stack([ndimage.median_filter(one, (3, 3, 3, 1)) for one in labels])
    return labels, rng.uniform(-1.4, 1.4, (2, *SHAPE, 3)).astype("float32")


def test_by_hand():
    """A bar of two voxels, moved by a quarter of one: F W is 1 + 3/4, F and W are 2 each."""
    labels = np.zeros((1, 1, 1, 8, 2), "int32")
    labels[0, 0, 0, 3:5] = 7
    displacement = np.zeros((1, 1, 1, 8, 3), "float32")
    displacement[..., 2] = 0.25
    loss = LabelOverlap((7,), weight=0.5).call(labels, displacement)
    np.testing.assert_allclose(loss, [0.5 * (1 - 1.75 / 2)], rtol=1e-5)


def test_equals_images_of_ones_and_zeros(pair):
    labels, displacement = pair
    loss = LabelOverlap((70, 3, 5000, 12), weight=2.0).call(labels, displacement)
    expected = [1 - soft_dice(lab[..., 0], lab[..., 1], d, (3, 70, 5000, 12)) for lab, d in zip(*pair, strict=True)]
    assert min(expected) > 0.1
    np.testing.assert_allclose(loss, 2 * np.array(expected), rtol=1e-5)


def test_labels_that_are_not_named_do_not_count(pair):
    labels, displacement = pair
    other = np.where(labels == 70, 71, labels)
    one, two = (np.asarray(LabelOverlap((3, 5000)).call(array, displacement)) for array in (labels, other))
    np.testing.assert_array_equal(one, two)


def test_the_gradient_agrees_with_differences(pair, gradient, rng):
    labels, displacement = pair
    loss = LabelOverlap((3, 70, 5000))
    (found,) = gradient(lambda d: keras.ops.sum(loss.call(labels, d)), displacement)
    direction = rng.standard_normal(displacement.shape)
    # Trilinear interpolation has kinks at voxel centres.
    off = np.abs(displacement - np.round(displacement)).min(-1, keepdims=True) > 0.01
    direction = np.where(off, direction, 0)
    values = []
    for sign in (1, -1):
        moved = displacement.astype("float64") + sign * 1e-5 * direction
        values.append(
            sum(1 - soft_dice(lab[..., 0], lab[..., 1], d, (3, 70, 5000)) for lab, d in zip(labels, moved, strict=True))
        )
    assert (found * direction).sum() == pytest.approx((values[0] - values[1]) / 2e-5, rel=2e-3, abs=1e-5)


def test_a_pair_without_labels_counts_as_nothing(pair, gradient):
    labels, displacement = pair
    labels[0] = 0
    loss = LabelOverlap((3, 70, 5000))
    values = np.asarray(loss.call(labels, displacement))
    assert values[0] == 0
    assert values[1] > 0.1
    (found,) = gradient(lambda d: keras.ops.sum(loss.call(labels, d)), displacement)
    assert np.isfinite(found).all()
    assert not found[0].any()
    assert found[1].any()


def test_perfect_overlap_is_zero(pair):
    labels, _ = pair
    same = np.repeat(labels[..., :1], 2, axis=-1)
    still = np.zeros((2, *SHAPE, 3), "float32")
    np.testing.assert_allclose(LabelOverlap((3, 70, 5000)).call(same, still), 0, atol=1e-6)


def test_many_labels(rng):
    """A thousand labels are summed in the memory of eight."""
    labels = rng.integers(0, 1001, (1, 10, 11, 12, 2)).astype("int32")
    still = np.zeros((1, 10, 11, 12, 3), "float32")
    loss = LabelOverlap(range(1, 1001)).call(labels, still)
    expected = 1 - soft_dice(labels[0, ..., 0], labels[0, ..., 1], still[0], range(1, 1001))
    np.testing.assert_allclose(loss, [expected], rtol=1e-5)
