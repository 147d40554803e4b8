"""Statistics over pairs: intervals by bootstrap over subjects, and tests of one method against another."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

BOOTSTRAPS = 2000
COVERAGE = 0.95

# Fewer subjects say too little of the others for an interval or a test.
MIN_SUBJECTS = 5


def bootstrap_interval(
    values: Sequence[float] | np.ndarray, subjects: Sequence[tuple[str, ...]], seed: int = 0
) -> tuple[float, float]:
    """Interval of a mean over pairs, by drawing subjects with replacement.

    A pair counts as often as all its subjects are drawn together: pairs that share a subject are not independent,
    and drawing pairs would make the interval too narrow.

    Args:
        values: `(n,)`, a metric of each pair.
        subjects: For each pair a tuple of its subjects' names.
        seed: Of the random draws.

    Returns:
        Lower and upper bound of the central 95 %; NaN for fewer than `MIN_SUBJECTS`.
    """
    values = np.asarray(values, np.float64)
    names = sorted({name for pair in subjects for name in pair})
    if len(names) < MIN_SUBJECTS:
        return float("nan"), float("nan")
    number = {name: i for i, name in enumerate(names)}
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), BOOTSTRAPS)
    weights = np.stack([np.prod(counts[:, [number[name] for name in pair]], axis=1) for pair in subjects], axis=1)
    total = weights.sum(axis=1)
    means = (weights @ values)[total > 0] / total[total > 0]
    outside = (1 - COVERAGE) / 2
    low, high = np.quantile(means, (outside, 1 - outside))
    return float(low), float(high)


def paired_test(differences: Sequence[float] | np.ndarray, subjects: Sequence[tuple[str, ...]]) -> float:
    """Wilcoxon's signed-rank test of paired differences, one mean difference a subject.

    Args:
        differences: `(n,)`, one method's metric less another's, of each pair.
        subjects: For each pair a tuple of its subjects' names. A pair of two people counts for both.

    Returns:
        The two-sided p value; NaN for fewer than `MIN_SUBJECTS`.
    """
    by_subject: dict[str, list[float]] = {}
    for difference, pair in zip(differences, subjects, strict=True):
        for name in pair:
            by_subject.setdefault(name, []).append(difference)
    means = np.array([np.mean(values) for values in by_subject.values()])
    if len(means) < MIN_SUBJECTS:
        return float("nan")
    if not means.any():
        return 1.0
    return float(stats.wilcoxon(means, zero_method="pratt").pvalue)


def holm(p_values: Sequence[float] | np.ndarray) -> list[float]:
    """P values of several tests, adjusted by Holm's method so that one is wrong as rarely as a single test.

    Args:
        p_values: A list of floats; NaN stays and is not counted.

    Returns:
        A list of as many floats.
    """
    p_values = np.asarray(p_values, np.float64)
    result = np.full(p_values.shape, np.nan)
    finite = np.flatnonzero(np.isfinite(p_values))
    order = finite[np.argsort(p_values[finite])]
    factors = np.arange(len(order), 0, -1)
    result[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return result.tolist()
