"""How well probabilities tell two groups apart, and how sure that is."""

import numpy as np
from scipy import optimize, stats

from tfreg.classification.summary import AreaDifference, ClassifierMetrics
from tfreg.metrics.statistics import BOOTSTRAPS, COVERAGE

PERMUTATIONS = 10_000
CALIBRATION_BINS = 5


def area_under_curve(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: the share of pairs of one ill and one healthy that are ordered rightly.

    Args:
        targets: `(n,)`, 0 healthy and 1 ill.
        probabilities: `(..., n)`, of being ill; ties count half.

    Returns:
        `(...)`, NaN where a group is empty.
    """
    targets, probabilities = np.asarray(targets), np.asarray(probabilities)
    ranks = stats.rankdata(probabilities, axis=-1)
    ill, healthy = (targets == 1).sum(axis=-1), (targets == 0).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return ((ranks * targets).sum(axis=-1) - ill * (ill + 1) / 2) / (ill * healthy)


def metrics_of(
    targets: np.ndarray, probabilities: np.ndarray, folds: np.ndarray, threshold: float, seed: int = 0
) -> ClassifierMetrics:
    """All metrics of one method.

    Args:
        targets: `(n,)`, 0 healthy and 1 ill.
        probabilities: `(n,)`, of being ill, of subjects that the method had not seen.
        folds: `(n,)`, which subjects were judged by one and the same trained model.
        threshold: From which on a subject is called ill.
        seed: Of the random draws.

    Returns:
        The metrics.
    """
    called = probabilities >= threshold
    right = called == (targets == 1)
    interval = stats.binomtest(int(right.sum()), len(right)).proportion_ci(COVERAGE, "wilson")
    sensitivity, specificity = right[targets == 1].mean(), right[targets == 0].mean()
    slope, intercept = calibration(targets, probabilities)
    return ClassifierMetrics(
        subjects=len(targets),
        ill=int(targets.sum()),
        accuracy=float(right.mean()),
        accuracy_interval=(float(interval.low), float(interval.high)),
        sensitivity=float(sensitivity),
        specificity=float(specificity),
        balanced_accuracy=float((sensitivity + specificity) / 2),
        auc=float(area_under_curve(targets, probabilities)),
        auc_interval=area_interval(targets, probabilities),
        p=permutation_test(targets, probabilities, folds, seed),
        brier=float(np.mean((probabilities - targets) ** 2)),
        brier_of_prevalence=float(targets.mean() * (1 - targets.mean())),
        calibration_slope=slope,
        calibration_intercept=intercept,
    )


def area_interval(targets: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the area under the ROC curve, which keeps a width where the groups are told apart wholly.

    Args:
        targets: `(n,)`, 0 healthy and 1 ill.
        probabilities: `(n,)`, of being ill.

    Returns:
        Lower and upper end.

    Reference:
        Newcombe, Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2, method 5
        (Statistics in Medicine 2006).
    """
    ill, healthy = int((targets == 1).sum()), int((targets == 0).sum())
    observed, spare = float(area_under_curve(targets, probabilities)), (ill + healthy) / 2 - 1
    deviations = stats.norm.ppf((1 + COVERAGE) / 2)

    def beyond(area):
        """Above 0 where the observed area is further from `area` than chance explains."""
        shared = spare * ((1 - area) / (2 - area) + area / (1 + area))
        return (observed - area) ** 2 - deviations**2 * area * (1 - area) * (1 + shared) / (ill * healthy)

    # An area of 0 or 1 explains itself, and is no end of the interval that begins there.
    low = optimize.brentq(beyond, 0, min(observed, 1 - 1e-9)) if observed > 0 else 0.0
    high = optimize.brentq(beyond, max(observed, 1e-9), 1) if observed < 1 else 1.0
    return float(low), float(high)


def bootstrapped_areas(targets: np.ndarray, probabilities: np.ndarray, seed: int = 0) -> np.ndarray:
    """Areas under the ROC curve of cohorts drawn with replacement within each group, `(draws,)`.

    Args:
        targets: `(n,)`, 0 healthy and 1 ill.
        probabilities: `(n,)`, of being ill.
        seed: Equal seeds draw the same subjects, so that two methods can be compared draw by draw.
    """
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(targets == group) for group in (0, 1)]
    drawn = np.concatenate([rng.choice(group, (BOOTSTRAPS, len(group))) for group in groups], axis=1)
    return area_under_curve(targets[drawn], probabilities[drawn])


def area_difference(
    targets: np.ndarray, probabilities: np.ndarray, others: np.ndarray, seed: int = 0
) -> AreaDifference:
    """By how much one method's area under the ROC curve is larger than another's on the same subjects.

    Args:
        targets: `(n,)`, 0 healthy and 1 ill.
        probabilities, others: `(n,)`, of being ill, by the two methods.
        seed: Of the random draws.

    Returns:
        The difference and its 95 % interval.
    """
    difference = area_under_curve(targets, probabilities) - area_under_curve(targets, others)
    draws = bootstrapped_areas(targets, probabilities, seed) - bootstrapped_areas(targets, others, seed)
    return AreaDifference(difference=float(difference), interval=_interval(draws))


def permutation_test(targets: np.ndarray, probabilities: np.ndarray, folds: np.ndarray, seed: int = 0) -> float:
    """How often labels that tell nothing give so large an area under the ROC curve.

    Where labels tell nothing, those of held-out subjects are exchangeable among the subjects whom one trained model
    judged: they are permuted within each fold, which needs no new training and is exact.

    Args:
        targets: `(n,)`, 0 healthy and 1 ill.
        probabilities: `(n,)`, of being ill.
        folds: `(n,)`, which subjects were judged by one and the same trained model.
        seed: Of the random permutations.

    Returns:
        The one-sided p value.

    Reference:
        Ojala and Garriga, Permutation tests for studying classifier performance (JMLR 2010).
    """
    rng = np.random.default_rng(seed)
    permuted = np.broadcast_to(targets, (PERMUTATIONS, len(targets))).copy()
    for fold in np.unique(folds):
        inside = np.flatnonzero(folds == fold)
        permuted[:, inside] = rng.permuted(permuted[:, inside], axis=1)
    areas = area_under_curve(permuted, np.broadcast_to(probabilities, permuted.shape))
    reached = (areas >= area_under_curve(targets, probabilities) - 1e-12).sum()
    return float((1 + reached) / (1 + PERMUTATIONS))


def calibration(targets: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """Whether probabilities mean what they say: logistic regression of the truth on their log odds.

    Args:
        targets: `(n,)`, 0 healthy and 1 ill.
        probabilities: `(n,)`, of being ill.

    Returns:
        Slope, 1 if right and below 1 if too sure, NaN where the groups are told apart without a fault, and the
        intercept at slope 1, 0 if right and above 0 if the probabilities are too low.

    Reference:
        Van Calster et al., Calibration: the Achilles heel of predictive analytics (BMC Medicine 2019).
    """
    odds = np.log(np.clip(probabilities, 1e-6, 1 - 1e-6)) - np.log(np.clip(1 - probabilities, 1e-6, 1 - 1e-6))

    def deviance(parameters):
        logits = parameters[0] * odds + parameters[1]
        return np.sum(np.logaddexp(0, logits) - targets * logits)

    separable = area_under_curve(targets, probabilities) in (0, 1)
    slope = float("nan") if separable else float(optimize.minimize(deviance, (1.0, 0.0)).x[0])
    intercept = optimize.brentq(lambda shift: np.sum(1 / (1 + np.exp(-(odds + shift))) - targets), -50, 50)
    return slope, float(intercept)


def calibration_bins(targets: np.ndarray, probabilities: np.ndarray) -> list[tuple[float, float, float, float]]:
    """The truth beside the probability, in bins of equally many subjects.

    Args:
        targets: `(n,)`, 0 healthy and 1 ill.
        probabilities: `(n,)`, of being ill.

    Returns:
        A list of (mean probability, share of the ill, lower and upper end of that share's 95 % interval).
    """
    order = np.argsort(probabilities, kind="stable")
    bins = []
    for inside in np.array_split(order, min(CALIBRATION_BINS, len(order))):
        ill = int(targets[inside].sum())
        interval = stats.binomtest(ill, len(inside)).proportion_ci(COVERAGE, "wilson")
        bins.append((float(probabilities[inside].mean()), ill / len(inside), float(interval.low), float(interval.high)))
    return bins


def _interval(draws):
    outside = (1 - COVERAGE) / 2
    low, high = np.quantile(draws, (outside, 1 - outside))
    return float(low), float(high)
