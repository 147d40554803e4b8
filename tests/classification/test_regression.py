"""The regression beside the networks, against scikit-learn."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tfreg.classification.regression import JacobianRegression, fit_regression


@pytest.mark.parametrize("balanced", [True, False])
def test_the_regression_is_scikit_learns(rng, tmp_path, balanced):
    targets = np.repeat([0, 1], [30, 12])
    features = rng.standard_normal((42, 3)) * (1, 10, 0.01) + targets[:, None] * (1, 0, 0.01) + (0, 5, 2)
    regression = fit_regression(features, targets, ("a", "b", "c"), balanced)
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(class_weight="balanced" if balanced else None).fit(scaler.transform(features), targets)
    new = rng.standard_normal((7, 3)) * (1, 10, 0.01) + (0, 5, 2)
    expected = model.predict_proba(scaler.transform(new))[:, 1]
    np.testing.assert_allclose(regression.predict(new), expected, atol=1e-9)
    (tmp_path / "regression.json").write_text(regression.text())
    assert JacobianRegression.read(tmp_path / "regression.json") == regression


def test_a_missing_feature_takes_the_mean(rng):
    targets = np.repeat([0, 1], 10)
    features = rng.standard_normal((20, 2)) + targets[:, None]
    features[3, 0] = np.nan
    features = np.column_stack([features, np.full(20, 7.0)])  # and one that tells nothing
    regression = fit_regression(features, targets, ("a", "b", "c"), True)
    assert regression.means[0] == pytest.approx(np.nanmean(features[:, 0]))
    assert regression.weights[2] == 0
    assert regression.predict(np.array([[np.nan, 1.0, 7.0]])) == regression.predict(
        np.array([[regression.means[0], 1.0, 7.0]])
    )


def test_a_regression_of_before_is_read(tmp_path):
    """Its file had no format number."""
    content = {"names": ["1 mean"], "means": [0.1], "deviations": [0.2], "weights": [1.5], "intercept": -0.3}
    (tmp_path / "regression.json").write_text(json.dumps(content))
    regression = JacobianRegression.read(tmp_path / "regression.json")
    assert (regression.names, regression.weights, regression.intercept) == (("1 mean",), (1.5,), -0.3)
