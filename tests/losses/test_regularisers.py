"""The L1 terms are sums over a volume and means over the batch."""

import keras
import numpy as np
import pytest

from tfreg.losses.regularisers import GradientPenalty, LinearPenalty, gradient_roughness

UNUSED = np.zeros((2, 1), "float32")


def random_gradients(rng):
    return rng.uniform(0, 2, (2, 4, 5, 6, 3)).astype("float32")


def test_linear_penalty_sums_the_twelve_entries(rng):
    linear = (np.eye(3, 4) + rng.normal(0, 0.5, (2, 3, 4))).astype("float32")
    expected = 0.3 * np.abs(linear - np.eye(3, 4)).sum() / 2  # two volumes
    assert float(LinearPenalty(0.3)(UNUSED, linear)) == pytest.approx(expected, rel=1e-5)


def test_gradient_penalty_sums_the_volume(rng):
    gradients = random_gradients(rng)
    total = np.abs(gradients.astype("float64") - 1).sum() / 2
    found = float(GradientPenalty(1e-3)(UNUSED, gradients))
    assert found == pytest.approx(1e-3 * total, rel=1e-5)
    assert found > 100 * 1e-3 * np.abs(gradients - 1).mean()  # a mean would be 360 times smaller


def test_gradient_penalty_grows_with_the_volume(rng):
    gradients = random_gradients(rng)
    twice = np.concatenate([gradients, gradients[:, ::-1]], axis=1)
    once = float(GradientPenalty(1e-3)(UNUSED, gradients))
    assert float(GradientPenalty(1e-3)(UNUSED, twice)) == pytest.approx(2 * once, rel=1e-5)


def test_penalties_do_not_grow_with_the_batch(rng):
    gradients = random_gradients(rng)
    linear = (np.eye(3, 4) + rng.normal(0, 0.5, (2, 3, 4))).astype("float32")
    for loss, value in ((GradientPenalty(1e-3), gradients), (LinearPenalty(0.3), linear)):
        repeated = float(loss(np.zeros((6, 1), "float32"), np.repeat(value, 3, axis=0)))
        assert repeated == pytest.approx(float(loss(UNUSED, value)), rel=1e-5)


def test_identity_costs_nothing():
    assert float(GradientPenalty(1.0, 1.0)(UNUSED, np.ones((2, 4, 5, 6, 3), "float32"))) == 0
    assert float(LinearPenalty(1.0)(UNUSED, np.repeat(np.eye(3, 4, dtype="float32")[None], 2, axis=0))) == 0


def test_roughness_agrees_with_numpy(rng):
    gradients = random_gradients(rng)
    expected = sum((np.diff(gradients, axis=axis) ** 2).mean(axis=(1, 2, 3, 4)) for axis in (1, 2, 3))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(gradient_roughness(gradients)), expected, rtol=1e-5)


def test_roughness_of_a_ramp():
    i, j, k = np.meshgrid(range(4), range(5), range(6), indexing="ij")
    ramp = 0.1 * i + 0.2 * j - 0.3 * k
    gradients = np.stack([ramp, 2 * ramp, 0 * ramp + 1.5], axis=-1)[None].astype("float32")
    expected = (0.1**2 + 0.2**2 + 0.3**2) * (1 + 4 + 0) / 3
    np.testing.assert_allclose(keras.ops.convert_to_numpy(gradient_roughness(gradients)), [expected], rtol=1e-4)


def test_smoothness_adds_the_roughness(rng):
    gradients = random_gradients(rng)
    roughness = float(keras.ops.mean(gradient_roughness(gradients)))
    plain, smooth = (float(GradientPenalty(1e-3, weight)(UNUSED, gradients)) for weight in (0.0, 0.7))
    assert smooth - plain == pytest.approx(0.7 * roughness, rel=1e-4)


def test_gradients_of_the_penalties(rng, gradient):
    gradients = random_gradients(rng)
    (found,) = gradient(lambda g: GradientPenalty(0.5)(UNUSED, g), gradients)
    np.testing.assert_allclose(found, 0.5 * np.sign(gradients - 1) / 2, atol=1e-6)
    linear = (np.eye(3, 4) + rng.normal(0, 0.5, (2, 3, 4))).astype("float32")
    (found,) = gradient(lambda a: LinearPenalty(0.5)(UNUSED, a), linear)
    np.testing.assert_allclose(found, 0.5 * np.sign(linear - np.eye(3, 4)) / 2, atol=1e-6)


def test_gradient_of_the_roughness(rng, gradient, finite_differences):
    gradients = random_gradients(rng)[:, :2, :3, :2]
    (found,) = gradient(lambda g: keras.ops.sum(gradient_roughness(g)), gradients)
    expected = finite_differences(
        lambda g: sum((np.diff(g, axis=axis) ** 2).mean(axis=(1, 2, 3, 4)).sum() for axis in (1, 2, 3)), gradients
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
