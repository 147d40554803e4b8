"""The averaged networks."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tfreg.classification import ensemble as ensembles
from tfreg.classification.ensemble import Ensemble, compiled_network, fit_ensemble, fit_network, stratified_folds
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


def test_folds_hold_both_groups_alike():
    targets = np.repeat([0, 1], [11, 40])
    folds = stratified_folds(targets, 5, seed=3)
    assert sorted(np.bincount(folds)) == [10, 10, 10, 10, 11]
    assert all(2 <= (targets[folds == fold] == 0).sum() <= 3 for fold in range(5))
    np.testing.assert_array_equal(folds, stratified_folds(targets, 5, seed=3))
    assert (folds != stratified_folds(targets, 5, seed=4)).any()


def test_an_ensemble_finds_what_is_there(planted):
    inputs, targets = planted
    trained = []
    ensemble = fit_ensemble(inputs, targets, QUICK, 3, seed=0, on_network=lambda: trained.append(1))
    assert len(ensemble.networks) == len(trained) == 3
    assert roc_auc_score(targets, ensemble.held_out) == 1
    each = ensemble.each(inputs)
    assert each.shape == (3, 24)
    np.testing.assert_allclose(ensemble.predict(inputs), each.mean(axis=0))
    assert ((ensemble.predict(inputs) > 0.5) == (targets == 1)).all()


def test_each_network_is_trained_without_its_fold(planted, monkeypatch):
    inputs, targets = planted
    seen = []
    monkeypatch.setattr(ensembles, "fit_network", lambda x, y, *_: seen.append((x, y)))
    monkeypatch.setattr(ensembles, "_probability", lambda _, x: x[:, 0, 0, 0, 0])
    ensemble = fit_ensemble(inputs, targets, QUICK, 4, seed=1)
    folds = stratified_folds(targets, 4, 1)
    for fold, (volumes, groups) in enumerate(seen):
        np.testing.assert_array_equal(volumes, inputs[folds != fold])
        np.testing.assert_array_equal(groups, targets[folds != fold])
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
    compiled = compiled_network(planted[0].shape[1:], settings)
    fit_network(*planted, settings, seed=0, compiled=compiled)
    assert float(compiled.optimizer.learning_rate) == pytest.approx(2e-4)


def test_a_network_owes_nothing_to_the_one_before(planted):
    """Both are trained in the same compiled network, or the second in one of its own."""
    compiled = compiled_network(planted[0].shape[1:], QUICK)
    fit_network(*planted, QUICK, seed=1, compiled=compiled)
    second, alone = (fit_network(*planted, QUICK, seed=2, compiled=one).get_weights() for one in (compiled, None))
    for weight, expected in zip(second, alone, strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize(("count", "size", "expected"), [(24, 8, 8), (17, 8, 7), (9, 8, 7), (5, 8, 5), (3, 2, 3 - 2)])
def test_no_batch_is_a_single_subject_where_it_can_be_helped(count, size, expected):
    assert ensembles._even_batch(count, size) == expected


def test_both_groups_weigh_the_same():
    weights = ensembles._weights(np.array([0, 0, 0, 1]), balanced=True)
    np.testing.assert_allclose(weights, [2 / 3, 2 / 3, 2 / 3, 2])
    np.testing.assert_allclose(ensembles._weights(np.array([0, 0, 0, 1]), balanced=False), 1)
