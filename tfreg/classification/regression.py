"""Logistic regression on the log Jacobian inside labels, which the networks must beat."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from tfreg.io.json_files import Record

# Weight of the regression's squared coefficients, scikit-learn's own; features are standardised before.
REGULARISATION = 1.0


class JacobianRegression(Record):
    """Logistic regression on standardised metrics of the log Jacobian inside labels: regression.json.

    Attributes:
        names: What the features are called.
        means, deviations: Of the training subjects' features; a missing feature takes the mean.
        weights: One a feature.
        intercept: Log odds at the means.
    """

    KIND: ClassVar[str] = "a classifier"
    CURE: ClassVar[str] = "train the classifier again"
    names: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The probability of being ill, `(n,)`, of features `(n, features)` in the order of `names`."""
        standardised = (np.where(np.isnan(features), self.means, features) - self.means) / self.deviations
        return 1 / (1 + np.exp(-(standardised @ np.array(self.weights) + self.intercept)))


def fit_regression(
    features: np.ndarray, targets: np.ndarray, names: Sequence[str], balanced: bool
) -> JacobianRegression:
    """Fits the regression that a network must beat.

    Args:
        features: `(n, features)`, NaN where one is missing.
        targets: `(n,)`, 0 healthy and 1 ill.
        names: What the features are called.
        balanced: Whether both groups weigh the same.

    Returns:
        The regression.
    """
    from sklearn.linear_model import LogisticRegression

    there = ~np.isnan(features)
    means = np.where(there, features, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    filled = np.where(there, features, means)
    deviations = filled.std(axis=0)
    deviations[deviations == 0] = 1
    model = LogisticRegression(C=REGULARISATION, class_weight="balanced" if balanced else None)
    model.fit((filled - means) / deviations, targets)
    return JacobianRegression(
        names=tuple(names),
        means=tuple(means.tolist()),
        deviations=tuple(deviations.tolist()),
        weights=tuple(model.coef_[0].tolist()),
        intercept=float(model.intercept_[0]),
    )
