"""Areas, tests and calibration against scikit-learn, enumeration and closed forms."""

import itertools

import numpy as np
import pytest
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from tfreg.classification.statistics import (
    area_difference,
    area_interval,
    area_under_curve,
    bootstrapped_areas,
    calibration,
    calibration_bins,
    metrics_of,
    permutation_test,
)
from tfreg.classification.summary import AreaDifference


@pytest.fixture
def cohort(rng):
    """Targets, and probabilities that tell something, with ties."""
    targets = rng.permutation(np.repeat([0, 1], [23, 37]))
    odds = rng.standard_normal(60) + 1.2 * targets
    return targets, np.round(1 / (1 + np.exp(-odds)), 2)


def test_the_area_is_scikit_learns(cohort, rng):
    targets, probabilities = cohort
    assert area_under_curve(targets, probabilities) == pytest.approx(metrics.roc_auc_score(targets, probabilities))
    several = np.stack([probabilities, rng.random(60), np.full(60, 0.5)])
    expected = [metrics.roc_auc_score(targets, one) for one in several]
    np.testing.assert_allclose(area_under_curve(np.broadcast_to(targets, several.shape), several), expected)
    assert np.isnan(area_under_curve(np.ones(4, int), np.arange(4.0)))


def test_metrics_are_scikit_learns(cohort):
    targets, probabilities = cohort
    ours = metrics_of(targets, probabilities, np.zeros(60, int), 0.6)
    called = probabilities >= 0.6
    assert ours.accuracy == pytest.approx(metrics.accuracy_score(targets, called))
    assert ours.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(targets, called))
    assert ours.sensitivity == pytest.approx(metrics.recall_score(targets, called))
    assert ours.specificity == pytest.approx(metrics.recall_score(targets, called, pos_label=0))
    assert ours.brier == pytest.approx(metrics.brier_score_loss(targets, probabilities))
    assert ours.brier_of_prevalence == pytest.approx(37 / 60 * 23 / 60)
    assert (ours.subjects, ours.ill) == (60, 37)
    low, high = ours.auc_interval
    assert low < ours.auc < high
    assert ours.p < 0.01


def test_the_bootstrap_is_as_wide_as_the_areas_theory_says(rng):
    targets = np.repeat([0, 1], [400, 300])
    probabilities = rng.standard_normal(700) + targets
    area = area_under_curve(targets, probabilities)
    # Hanley and McNeil 1982, for normal scores.
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + 299 * (q1 - area**2) + 399 * (q2 - area**2)) / (300 * 400)
    assert bootstrapped_areas(targets, probabilities).std() == pytest.approx(np.sqrt(variance), rel=0.15)


def test_an_area_s_interval_is_that_of_the_bootstrap_where_that_works(cohort):
    targets, probabilities = cohort
    draws = np.quantile(bootstrapped_areas(targets, probabilities), (0.025, 0.975))
    np.testing.assert_allclose(area_interval(targets, probabilities), draws, atol=0.03)


def test_an_area_s_interval_covers_the_truth(rng):
    """Normal scores one deviation apart, areas of 0.76: about 95 of 100 small cohorts."""
    targets, truth = np.repeat([0, 1], 20), 0.7602
    inside = 0
    for _ in range(400):
        low, high = area_interval(targets, rng.standard_normal(40) + targets)
        inside += low <= truth <= high
    assert 0.92 < inside / 400 < 0.985


def test_few_people_who_are_told_apart_prove_little():
    targets = np.repeat([0, 1], [8, 8])
    low, high = area_interval(targets, targets + 0.0)
    assert 0.7 < low < 0.9
    assert high == 1
    np.testing.assert_allclose(area_interval(targets, 1.0 - targets), [0, 1 - low])
    assert area_interval(np.repeat(targets, 10), np.repeat(targets + 0.0, 10))[0] > 0.97


def test_the_difference_of_a_method_and_itself_is_nothing(cohort, rng):
    targets, probabilities = cohort
    assert area_difference(targets, probabilities, probabilities) == AreaDifference(difference=0, interval=(0, 0))
    area = area_difference(targets, probabilities, rng.random(60))
    assert area.interval[0] < area.difference < area.interval[1]
    back = area_difference(targets, -probabilities, 1 - probabilities)
    assert back.difference == pytest.approx(0)


def test_the_permutation_test_is_that_of_all_permutations_within_folds():
    targets, folds = np.array([0, 1, 1, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 1, 1])
    probabilities = np.array([0.1, 0.6, 0.35, 0.3, 0.45, 0.4, 0.8])
    observed, reached, total = area_under_curve(targets, probabilities), 0, 0
    for first in itertools.permutations(targets[:3]):
        for second in itertools.permutations(targets[3:]):
            total += 1
            reached += area_under_curve(np.array([*first, *second]), probabilities) >= observed - 1e-12
    assert permutation_test(targets, probabilities, folds) == pytest.approx(reached / total, abs=0.02)


def test_labels_within_folds_alone_are_permuted():
    """Folds of one group each: nothing can be permuted, however well the method tells the folds apart."""
    targets = np.repeat([0, 1], 10)
    assert permutation_test(targets, targets + 0.0, targets) == 1.0
    assert permutation_test(targets, targets + 0.0, np.zeros(20, int)) < 0.001


def test_p_values_of_nothing_are_uniform(rng):
    targets = np.repeat([0, 1], 15)
    values = [permutation_test(rng.permutation(targets), rng.random(30), np.zeros(30, int), seed) for seed in range(60)]
    assert 0.35 < np.mean(values) < 0.65
    assert min(values) > 0.0005


def test_calibration_is_a_logistic_regression_on_log_odds(rng):
    odds = rng.standard_normal(3000)
    targets = (rng.random(3000) < 1 / (1 + np.exp(-odds))).astype(int)
    slope, intercept = calibration(targets, 1 / (1 + np.exp(-odds)))
    assert slope == pytest.approx(1, abs=0.12)
    assert intercept == pytest.approx(0, abs=0.1)
    too_sure, too_low = 3 * odds, odds - 1
    assert calibration(targets, 1 / (1 + np.exp(-too_sure)))[0] == pytest.approx(slope / 3, abs=0.01)
    assert calibration(targets, 1 / (1 + np.exp(-too_low)))[1] == pytest.approx(intercept + 1, abs=0.01)
    model = LogisticRegression(C=np.inf).fit(odds[:, None], targets)
    assert slope == pytest.approx(model.coef_[0, 0], abs=1e-3)


def test_calibration_of_a_faultless_method_has_no_slope():
    targets = np.array([0, 0, 1, 1])
    slope, intercept = calibration(targets, np.array([0.1, 0.2, 0.8, 0.9]))
    assert np.isnan(slope)
    assert intercept == pytest.approx(0, abs=1e-9)


def test_bins_hold_equally_many_from_low_to_high():
    probabilities, targets = np.array([0.9, 0.1, 0.2, 0.8, 0.5, 0.6]), np.array([1, 0, 1, 1, 0, 0])
    bins = calibration_bins(targets[:3], probabilities[:3])
    assert [(round(p, 6), share) for p, share, _, _ in bins] == [(0.1, 0.0), (0.2, 1.0), (0.9, 1.0)]
    bins = calibration_bins(np.tile(targets, 10), np.tile(probabilities, 10))
    assert len(bins) == 5
    assert [p for p, *_ in bins] == sorted(p for p, *_ in bins)
    assert all(low <= share <= high for _, share, low, high in bins)
