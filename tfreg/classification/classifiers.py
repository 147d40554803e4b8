"""The two ways of telling healthy from ill: averaged networks, and a regression that they must beat."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tfreg.errors import WorkError
from tfreg.runtime.keras_settings import own_keras_settings

# Weight of the regression's squared coefficients, scikit-learn's own; features are standardised before.
REGULARISATION = 1.0

CALLED_TOGETHER = 64  # subjects


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Networks trained on different parts of a cohort, whose probabilities are averaged.

    Args:
        networks: List of `keras.Model`s made by `build_classifier`.
        parts: `(n,)`, for each training subject the number of the network that was not trained on it.
        held_out: `(n,)`, that network's probability for it.

    Reference:
        Christodoulidis et al. 2018, section 3.3.
    """

    networks: list[Any]
    parts: np.ndarray | None = None
    held_out: np.ndarray | None = None

    def each(self, inputs):
        """The probability of being ill by each network, `(networks, n)`; inputs `(n, i, j, k, channels)`."""
        return np.stack([_probability(network, inputs) for network in self.networks])

    def predict(self, inputs):
        """The averaged probability of being ill, `(n,)`; inputs `(n, i, j, k, channels)`."""
        return self.each(inputs).mean(axis=0)


@dataclass(frozen=True)
class JacobianRegression:
    """Logistic regression on standardised figures of the log Jacobian inside labels.

    Args:
        names: What the features are called.
        means, deviations: Of the training subjects' features; a missing feature takes the mean.
        weights: One a feature.
        intercept: Log odds at the means.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float

    def predict(self, features):
        """The probability of being ill, `(n,)`, of features `(n, features)` in the order of `names`."""
        standardised = (np.where(np.isnan(features), self.means, features) - self.means) / self.deviations
        return 1 / (1 + np.exp(-(standardised @ np.array(self.weights) + self.intercept)))

    def save(self, path):
        """Writes a JSON file that `load` reads."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path):
        """Reads what `save` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in content.items()})


def stratified_folds(targets, folds, seed):
    """Parts of a cohort with equal shares of both groups.

    Args:
        targets: `(n,)`, 0 healthy and 1 ill, one a subject.
        folds: How many parts; no more than the smaller group has subjects.
        seed: Of the random order.

    Returns:
        `(n,)`, the number of each subject's part.
    """
    from sklearn.model_selection import StratifiedKFold

    numbers = np.empty(len(targets), int)
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed).split(np.zeros(len(targets)), targets)
    for number, (_, held_out) in enumerate(splits):
        numbers[held_out] = number
    return numbers


def fit_ensemble(inputs, targets, settings, folds, seed, on_network=lambda: None):
    """Trains a network on the cohort without each of its parts.

    Args:
        inputs: `(n, i, j, k, channels)` float32.
        targets: `(n,)`, 0 healthy and 1 ill.
        settings: A `tfreg.config.ClassifierNetwork`.
        folds: How many networks.
        seed: Of parts, weights and batches.
        on_network: Called after each network.

    Returns:
        An `Ensemble`.
    """
    parts = stratified_folds(targets, folds, seed)
    networks, held_out = [], np.empty(len(targets))
    for part in range(folds):
        network = fit_network(inputs[parts != part], targets[parts != part], settings, seed * folds + part)
        held_out[parts == part] = _probability(network, inputs[parts == part])
        networks.append(network)
        on_network()
    return Ensemble(networks, parts, held_out)


@own_keras_settings()
def fit_network(inputs, targets, settings, seed):
    """Trains one network: binary cross entropy, Adam, a rate that is halved again and again.

    Args:
        inputs: `(n, i, j, k, channels)` float32.
        targets: `(n,)`, 0 healthy and 1 ill.
        settings: A `tfreg.config.ClassifierNetwork`.
        seed: Of weights and batches.

    Returns:
        A trained `keras.Model`.

    Raises:
        WorkError: If the training diverges.
    """
    import keras

    from tfreg.models.classifier_network import build_classifier
    from tfreg.ops.acceleration import compiles_models

    keras.utils.set_random_seed(seed)
    network = build_classifier(inputs.shape[1:4], inputs.shape[4], settings.filters, settings.hidden_units)
    network.compile(
        keras.optimizers.Adam(settings.learning_rate),
        {"probability": "binary_crossentropy"},
        jit_compile=compiles_models(),
    )
    schedule = keras.callbacks.LearningRateScheduler(
        lambda epoch: settings.learning_rate * 0.5 ** (epoch // settings.halve_after)
    )
    history = network.fit(
        {"deformation": inputs},
        {"probability": targets[:, None].astype(np.float32)},
        # A last batch of one would normalise a subject by itself.
        batch_size=_even_batch(len(targets), settings.batch_size),
        sample_weight=_weights(targets, settings.balanced),
        epochs=settings.epochs,
        callbacks=[schedule],
        verbose=0,
    )
    if not np.isfinite(history.history["loss"]).all():
        raise WorkError("the classifier's training diverged; lower network.learning_rate")
    return network


def fit_regression(features, targets, names, balanced):
    """Fits the regression that a network must beat.

    Args:
        features: `(n, features)`, NaN where one is missing.
        targets: `(n,)`, 0 healthy and 1 ill.
        names: What the features are called.
        balanced: Whether both groups weigh the same.

    Returns:
        A `JacobianRegression`.
    """
    from sklearn.linear_model import LogisticRegression

    known = ~np.isnan(features)
    means = np.where(known, features, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, features, means)
    deviations = filled.std(axis=0)
    deviations[deviations == 0] = 1
    model = LogisticRegression(C=REGULARISATION, class_weight="balanced" if balanced else None)
    model.fit((filled - means) / deviations, targets)
    numbers = (means.tolist(), deviations.tolist(), model.coef_[0].tolist())
    return JacobianRegression(tuple(names), *map(tuple, numbers), float(model.intercept_[0]))


@own_keras_settings()
def _probability(network, inputs):
    """`(n,)` float64. Called as it is: Keras' `predict` would compile a function for each of many small networks."""
    parts = [inputs[start : start + CALLED_TOGETHER] for start in range(0, len(inputs), CALLED_TOGETHER)]
    found = [network({"deformation": part}, training=False)["probability"] for part in parts]
    found = np.concatenate([np.asarray(part)[:, 0] for part in found]).astype(np.float64)
    # What is not a number is below every threshold: all would be called healthy.
    if not np.isfinite(found).all():
        raise WorkError("the classifier's network gives probabilities that are not finite; train it again")
    return found


def _even_batch(count, batch_size):
    """The largest batch size that leaves no last batch of one."""
    return next(size for size in range(min(batch_size, count), 0, -1) if count % size != 1 or size == 1)


def _weights(targets, balanced):
    """`(n,)`, the subjects' weights, one on average."""
    if not balanced:
        return np.ones(len(targets), np.float32)
    counts = np.bincount(targets, minlength=2)
    return (len(targets) / (2 * counts[targets])).astype(np.float32)
