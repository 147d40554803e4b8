"""Correlations against SciPy."""

import numpy as np
import pytest
from scipy import stats

from tfreg.metrics.intensity_correlation import correlation, local_correlation

SHAPE = (5, 6, 7)


def test_correlation_is_pearsons(rng):
    fixed, warped = rng.random((2, *SHAPE), np.float32)
    warped += fixed - 1000
    inside = rng.random(SHAPE) > 0.4
    expected = stats.pearsonr(fixed[inside], warped[inside].astype(np.float64))[0]
    assert correlation(fixed, warped, inside) == pytest.approx(expected, abs=1e-6)


def test_correlation_of_nothing_is_not_a_number(rng):
    fixed = rng.random(SHAPE)
    everywhere, nowhere = np.ones(SHAPE, bool), np.zeros(SHAPE, bool)
    assert np.isnan(correlation(fixed, fixed, nowhere))
    assert np.isnan(correlation(fixed, np.full(SHAPE, 3.0), everywhere))


def test_local_correlation_is_the_weighted_mean_of_pearsons(rng):
    fixed, other = rng.random((2, 7, 6, 8))
    warped = 0.6 * fixed - 0.3 * other
    weights = (rng.random(fixed.shape) > 0.3).astype(float)
    expected, total = 0.0, 0.0
    for centre in np.ndindex(fixed.shape):
        box = tuple(slice(max(c - 1, 0), c + 2) for c in centre)
        inside = weights[box] > 0
        share = fixed[box][inside].var() * inside.sum()
        expected += share * stats.pearsonr(fixed[box][inside], warped[box][inside])[0] ** 2
        total += share
    assert local_correlation(fixed, warped, weights, window=3) == pytest.approx(expected / total, rel=1e-9)


def test_local_correlation_sees_likeness_whatever_the_contrast(rng):
    fixed, noise = rng.random((2, 12, 13, 14))
    everywhere = np.ones(fixed.shape)
    assert local_correlation(fixed, 3 - 2 * fixed, everywhere) == pytest.approx(1)
    assert local_correlation(fixed, noise, everywhere) < 0.02
    assert local_correlation(fixed, np.full(fixed.shape, 0.1), everywhere) == 0
    assert np.isnan(local_correlation(np.full(fixed.shape, 0.1), noise, everywhere))
    assert np.isnan(local_correlation(fixed, noise, 0 * everywhere))
