"""The averaged networks and the regression beside them."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from tfreg.classification import classifiers
from tfreg.classification.classifiers import (
    Ensemble,
    JacobianRegression,
    fit_ensemble,
    fit_network,
    fit_regression,
    stratified_folds,
)
from tfreg.config import ClassifierNetwork
from tfreg.errors import WorkError

QUICK = ClassifierNetwork(filters=2, hidden_units=8, epochs=12, batch_size=4, learning_rate=3e-3)


@pytest.fixture
def planted(rng):
    """Deformations of which the ill ones point the other way in one half."""
    targets = rng.permutation(np.repeat([0, 1], [14, 10]))
    inputs = 0.3 * rng.standard_normal((24, 4, 5, 6, 3))
    inputs[:, 2:, :, :, 0] += (2 * targets - 1)[:, None, None, None]
    return inputs.astype(np.float32), targets


def test_parts_hold_both_groups_alike():
    targets = np.repeat([0, 1], [11, 40])
    parts = stratified_folds(targets, 5, seed=3)
    assert sorted(np.bincount(parts)) == [10, 10, 10, 10, 11]
    assert all(2 <= (targets[parts == part] == 0).sum() <= 3 for part in range(5))
    np.testing.assert_array_equal(parts, stratified_folds(targets, 5, seed=3))
    assert (parts != stratified_folds(targets, 5, seed=4)).any()


def test_an_ensemble_finds_what_is_there(planted):
    inputs, targets = planted
    told = []
    ensemble = fit_ensemble(inputs, targets, QUICK, 3, seed=0, on_network=lambda: told.append(1))
    assert len(ensemble.networks) == len(told) == 3
    assert roc_auc_score(targets, ensemble.held_out) == 1
    each = ensemble.each(inputs)
    assert each.shape == (3, 24)
    np.testing.assert_allclose(ensemble.predict(inputs), each.mean(axis=0))
    assert ((ensemble.predict(inputs) > 0.5) == (targets == 1)).all()


def test_each_network_is_trained_without_its_part(planted, monkeypatch):
    inputs, targets = planted
    seen = []
    monkeypatch.setattr(classifiers, "fit_network", lambda x, y, *_: seen.append((x, y)))
    monkeypatch.setattr(classifiers, "_probability", lambda _, x: x[:, 0, 0, 0, 0])
    ensemble = fit_ensemble(inputs, targets, QUICK, 4, seed=1)
    parts = stratified_folds(targets, 4, 1)
    for part, (volumes, groups) in enumerate(seen):
        np.testing.assert_array_equal(volumes, inputs[parts != part])
        np.testing.assert_array_equal(groups, targets[parts != part])
    np.testing.assert_array_equal(ensemble.held_out, inputs[:, 0, 0, 0, 0])


def test_a_network_that_is_lost_calls_nobody_healthy(planted):
    """What is not a number lies below every threshold."""
    inputs, targets = planted
    with pytest.raises(WorkError, match=r"the classifier's training diverged; lower network\.learning_rate"):
        fit_network(inputs, targets, QUICK.model_copy(update={"learning_rate": 1e30}), seed=0)
    network = fit_network(inputs, targets, QUICK.model_copy(update={"epochs": 1}), seed=0)
    network.set_weights([np.full_like(weight, np.nan) for weight in network.get_weights()])
    with pytest.raises(WorkError, match="gives probabilities that are not finite"):
        Ensemble([network]).predict(inputs)


def test_equal_seeds_train_equal_networks(planted):
    first, again, other = (fit_network(*planted, QUICK, seed).get_weights() for seed in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_rate_is_halved_again_and_again(planted):
    settings = QUICK.model_copy(update={"epochs": 5, "halve_after": 2, "learning_rate": 8e-4})
    network = fit_network(*planted, settings, seed=0)
    assert float(network.optimizer.learning_rate) == pytest.approx(2e-4)


@pytest.mark.parametrize(("count", "size", "expected"), [(24, 8, 8), (17, 8, 7), (9, 8, 7), (5, 8, 5), (3, 2, 3 - 2)])
def test_no_batch_is_a_single_subject_where_it_can_be_helped(count, size, expected):
    assert classifiers._even_batch(count, size) == expected


def test_both_groups_weigh_the_same():
    weights = classifiers._weights(np.array([0, 0, 0, 1]), balanced=True)
    np.testing.assert_allclose(weights, [2 / 3, 2 / 3, 2 / 3, 2])
    np.testing.assert_allclose(classifiers._weights(np.array([0, 0, 0, 1]), balanced=False), 1)


@pytest.mark.parametrize("balanced", [True, False])
def test_the_regression_is_scikit_learns(rng, tmp_path, balanced):
    targets = np.repeat([0, 1], [30, 12])
    features = rng.standard_normal((42, 3)) * (1, 10, 0.01) + targets[:, None] * (1, 0, 0.01) + (0, 5, 2)
    found = fit_regression(features, targets, ("a", "b", "c"), balanced)
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(class_weight="balanced" if balanced else None).fit(scaler.transform(features), targets)
    new = rng.standard_normal((7, 3)) * (1, 10, 0.01) + (0, 5, 2)
    expected = model.predict_proba(scaler.transform(new))[:, 1]
    np.testing.assert_allclose(found.predict(new), expected, atol=1e-9)
    found.save(tmp_path / "regression.json")
    assert JacobianRegression.load(tmp_path / "regression.json") == found


def test_a_missing_feature_takes_the_mean(rng):
    targets = np.repeat([0, 1], 10)
    features = rng.standard_normal((20, 2)) + targets[:, None]
    features[3, 0] = np.nan
    features = np.column_stack([features, np.full(20, 7.0)])  # and one that tells nothing
    found = fit_regression(features, targets, ("a", "b", "c"), True)
    assert found.means[0] == pytest.approx(np.nanmean(features[:, 0]))
    assert found.weights[2] == 0
    assert found.predict(np.array([[np.nan, 1.0, 7.0]])) == found.predict(np.array([[found.means[0], 1.0, 7.0]]))
