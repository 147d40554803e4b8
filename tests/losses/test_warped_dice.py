"""The Dice metric against NumPy."""

import keras
import numpy as np
import pytest

from tfreg.losses.warped_dice import WarpedDice

LABELS = (1, 2, 5)


def dice(fixed, moving, displacement):
    """Mean Dice of one pair over the labels that occur in it; None without any."""
    grid = np.stack(np.meshgrid(*map(np.arange, fixed.shape), indexing="ij"), axis=-1) + displacement
    index = np.clip(np.floor(grid + 0.5).astype(int), 0, np.array(fixed.shape) - 1)
    warped = moving[tuple(np.moveaxis(index, -1, 0))]
    scores = []
    for label in LABELS:
        if (fixed == label).any() or (moving == label).any():
            sizes = (fixed == label).sum() + (warped == label).sum()
            scores.append(2 * ((fixed == label) & (warped == label)).sum() / sizes if sizes else 0.0)
    return np.mean(scores) if scores else None


def pair(rng, shape=(4, 5, 6), values=(0, 1, 2, 5, 7)):
    return rng.choice(values, (2, *shape, 2)).astype("int32")


def test_agrees_with_numpy_over_batches(rng):
    metric = WarpedDice(LABELS)
    expected = []
    for values in ((0, 1, 2, 5, 7), (0, 2), (0, 7)):
        labels = pair(rng, values=values)
        displacement = rng.normal(0, 2, (2, 4, 5, 6, 3)).astype("float32")
        metric.update_state(labels, displacement)
        expected += [dice(labels[b, ..., 0], labels[b, ..., 1], displacement[b]) for b in range(2)]
    assert expected[4:] == [None, None]  # a pair without labels does not count
    assert float(metric.result()) == pytest.approx(np.mean(expected[:4]), abs=1e-6)


def test_right_displacement_scores_one(rng):
    moving = rng.choice((0, 1, 2, 5), (1, 6, 7, 8))
    shift = (1, -2, 3)
    fixed = np.zeros_like(moving)
    inside = np.zeros(moving.shape, bool)
    inside[:, :5, 2:, :5] = True
    fixed[:, :5, 2:, :5] = moving[:, 1:, :5, 3:]
    # What a shift brings in from outside is background on both sides.
    moving = np.where(np.pad(np.ones((1, 5, 5, 5), bool), ((0, 0), (1, 0), (0, 2), (3, 0))), moving, 0)
    displacement = np.where(inside[..., None], shift, 0).astype("float32")
    displacement[~inside] = -np.argwhere(~inside)[:, 1:]  # to voxel (0, 0, 0), background
    metric = WarpedDice(LABELS)
    metric.update_state(np.stack([fixed, moving], axis=-1), displacement)
    assert float(metric.result()) == 1


def test_label_that_the_warp_loses_scores_zero():
    fixed, moving = np.zeros((2, 1, 4, 5, 6), "int32")
    moving[0, 3, 4, 5] = 2
    metric = WarpedDice(LABELS)
    metric.update_state(np.stack([fixed, moving], axis=-1), np.full((1, 4, 5, 6, 3), -9, "float32"))
    assert float(metric.result()) == 0
    assert float(metric.count) == 1


def test_reset_and_empty(rng):
    metric = WarpedDice(LABELS)
    assert float(metric.result()) == 0
    metric.update_state(pair(rng), np.zeros((2, 4, 5, 6, 3), "float32"))
    assert float(metric.result()) > 0
    metric.reset_state()
    assert float(metric.result()) == 0


def test_config_round_trip():
    metric = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(WarpedDice(LABELS, name="d")))
    assert isinstance(metric, WarpedDice)
    assert (metric.name, tuple(metric.labels)) == ("d", LABELS)
