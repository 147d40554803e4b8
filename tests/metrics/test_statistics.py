"""Intervals and tests against what they must be on samples whose truth is known."""

from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from tfreg.metrics.statistics import bootstrap_interval, holm, paired_test


def test_the_interval_of_independent_subjects_is_the_means(rng):
    values = rng.normal(3.0, 2.0, 60)
    low, high = bootstrap_interval(values, [(str(i),) for i in range(60)])
    half = NormalDist().inv_cdf(0.975) * values.std() / np.sqrt(60)
    assert low == pytest.approx(values.mean() - half, abs=0.12)
    assert high == pytest.approx(values.mean() + half, abs=0.12)


def test_pairs_of_one_subject_count_once():
    """Ten pairs a subject with the same value say no more than one."""
    values = np.arange(12.0)
    alone = bootstrap_interval(values, [(str(i),) for i in range(12)])
    tenfold = bootstrap_interval(np.repeat(values, 10), [(str(i),) for i in range(12) for _ in range(10)])
    assert tenfold == pytest.approx(alone)


def test_the_interval_covers_the_truth_for_all_ordered_pairs():
    """Figures that two subjects share: drawing pairs would cover the truth in a third of the samples."""
    rng, hits = np.random.default_rng(4), 0
    for seed in range(60):
        effects = rng.normal(0, 1, 12)
        pairs = [(a, b) for a in range(12) for b in range(12) if a != b]
        values = [effects[a] + effects[b] for a, b in pairs]
        low, high = bootstrap_interval(values, [(str(a), str(b)) for a, b in pairs], seed)
        hits += low <= 0 <= high
    assert 48 <= hits <= 60


def test_four_subjects_have_no_interval_and_no_test():
    subjects = [("a", "b"), ("c", "d"), ("a", "c")]
    assert np.isnan(bootstrap_interval([1.0, 2.0, 4.0], subjects)).all()
    assert np.isnan(paired_test([1.0, 2.0, 4.0], subjects))


def test_the_test_is_wilcoxons_of_subject_means(rng):
    differences = rng.normal(0.5, 1, 15)
    subjects = [(str(i),) for i in range(15)]
    assert paired_test(differences, subjects) == pytest.approx(stats.wilcoxon(differences).pvalue)
    twice = paired_test(np.concatenate([differences + 1, differences - 1]), subjects * 2)
    assert twice == pytest.approx(stats.wilcoxon(differences).pvalue)
    assert paired_test(np.zeros(15), subjects) == 1.0


def test_a_pair_of_two_people_counts_for_both():
    pairs = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "e")]
    means = [1.0, (1 + 2) / 2, (2 + 4) / 2, (4 - 9) / 2, -9.0]
    assert paired_test([1.0, 2, 4, -9], pairs) == pytest.approx(stats.wilcoxon(means).pvalue)


def test_holm():
    assert holm([0.01, 0.04, np.nan, 0.03]) == pytest.approx([0.03, 0.06, np.nan, 0.06], nan_ok=True)
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
