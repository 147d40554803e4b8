"""The paper's classifier: networks trained on different folds of a cohort, whose probabilities are averaged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfreg.config import ClassifierNetwork
from tfreg.errors import WorkError
from tfreg.runtime.keras_settings import own_keras_settings

CALLED_TOGETHER = 64  # subjects


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Networks trained without different folds of a cohort, whose probabilities are averaged.

    Args:
        networks: `keras.Model`s made by `build_classifier`.
        folds: `(n,)`, for each training subject the number of the network that was not trained on it.
        held_out: `(n,)`, that network's probability for it.

    Reference:
        Christodoulidis et al. 2018, section 3.3.
    """

    networks: list[Any]
    folds: np.ndarray | None = None
    held_out: np.ndarray | None = None

    def each(self, inputs: np.ndarray) -> np.ndarray:
        """The probability of being ill by each network, `(networks, n)`; inputs `(n, i, j, k, channels)`."""
        return np.stack([_probability(network, inputs) for network in self.networks])

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """The averaged probability of being ill, `(n,)`; inputs `(n, i, j, k, channels)`."""
        return self.each(inputs).mean(axis=0)


def stratified_folds(targets: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Folds of a cohort with equal shares of both groups.

    Args:
        targets: `(n,)`, 0 healthy and 1 ill, one a subject.
        folds: How many; no more than the smaller group has subjects.
        seed: Of the random order.

    Returns:
        `(n,)`, the number of each subject's fold.
    """
    from sklearn.model_selection import StratifiedKFold

    numbers = np.empty(len(targets), int)
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed).split(np.zeros(len(targets)), targets)
    for number, (_, held_out) in enumerate(splits):
        numbers[held_out] = number
    return numbers


def fit_ensemble(
    inputs: np.ndarray,
    targets: np.ndarray,
    settings: ClassifierNetwork,
    folds: int,
    seed: int,
    on_network: Callable[[], None] = lambda: None,
) -> Ensemble:
    """Trains a network on the cohort without each of its folds.

    Args:
        inputs: `(n, i, j, k, channels)` float32.
        targets: `(n,)`, 0 healthy and 1 ill.
        settings: Of each network.
        folds: How many networks.
        seed: Of folds, weights and batches.
        on_network: Called after each network.

    Returns:
        The networks.

    Raises:
        WorkError: If a training diverges.
    """
    fold_of = stratified_folds(targets, folds, seed)
    networks, held_out = [], np.empty(len(targets))
    compiled = compiled_network(inputs.shape[1:], settings)
    for fold in range(folds):
        inside = fold_of == fold
        network = fit_network(inputs[~inside], targets[~inside], settings, seed * folds + fold, compiled)
        held_out[inside] = _probability(network, inputs[inside])
        networks.append(network)
        on_network()
    return Ensemble(networks, fold_of, held_out)


@own_keras_settings()
def fit_network(
    inputs: np.ndarray, targets: np.ndarray, settings: ClassifierNetwork, seed: int, compiled: Any = None
) -> Any:
    """Trains one network: binary cross entropy, Adam, a rate that is halved again and again.

    Args:
        inputs: `(n, i, j, k, channels)` float32.
        targets: `(n,)`, 0 healthy and 1 ill.
        settings: Of the network.
        seed: Of weights and batches.
        compiled: What `compiled_network` made for such inputs, in which the training takes place, or None for a new
            one.

    Returns:
        A trained `keras.Model`.

    Raises:
        WorkError: If the training diverges.
    """
    import keras

    compiled = compiled_network(inputs.shape[1:], settings) if compiled is None else compiled
    keras.utils.set_random_seed(seed)
    network = _built(inputs.shape[1:], settings)
    compiled.set_weights(network.get_weights())
    for variable in compiled.optimizer.variables:
        variable.assign(keras.ops.zeros(variable.shape, variable.dtype))  # the schedule sets the rate
    labels = targets[:, None].astype(np.float32)
    weights = _weights(targets, settings.balanced)
    # A last batch of one would normalise a subject by itself.
    batch = _even_batch(len(targets), settings.batch_size)
    draws = np.random.default_rng(seed)
    loss = 0.0
    compiled.reset_metrics()
    # Not `fit`: starting an epoch takes it longer than the steps of a small cohort.
    for epoch in range(settings.epochs):
        compiled.optimizer.learning_rate = settings.learning_rate * 0.5 ** (epoch // settings.halve_after)
        for chosen in np.split(draws.permutation(len(targets)), range(batch, len(targets), batch)):
            loss = compiled.train_on_batch(
                {"deformation": inputs[chosen]}, {"probability": labels[chosen]}, sample_weight=weights[chosen]
            )
    if not np.isfinite(loss):  # the mean of all steps
        raise WorkError("the classifier's training diverged; lower network.learning_rate")
    network.set_weights(compiled.get_weights())
    return network


@own_keras_settings()
def compiled_network(shape: Sequence[int], settings: ClassifierNetwork) -> Any:
    """A network for one training after the other: TensorFlow traces its steps once for all of them.

    Args:
        shape: `(i, j, k, channels)` of the deformations.
        settings: Of the network.

    Returns:
        A compiled `keras.Model`.
    """
    import keras

    from tfreg.ops.acceleration import compiles_models

    network = _built(shape, settings)
    network.compile(
        keras.optimizers.Adam(settings.learning_rate),
        {"probability": "binary_crossentropy"},
        jit_compile=compiles_models(),
    )
    network.optimizer.build(network.trainable_variables)  # a first step that creates variables is traced three times
    return network


def _built(shape, settings):
    from tfreg.models.classifier_network import build_classifier

    return build_classifier(shape[:3], shape[3], settings.filters, settings.hidden_units)


@own_keras_settings()
def _probability(network, inputs):
    """`(n,)` float64. Called as it is: Keras' `predict` would compile a function for each of many small networks."""
    batches = [inputs[start : start + CALLED_TOGETHER] for start in range(0, len(inputs), CALLED_TOGETHER)]
    outputs = [network({"deformation": batch}, training=False)["probability"] for batch in batches]
    probabilities = np.concatenate([np.asarray(output)[:, 0] for output in outputs]).astype(np.float64)
    # What is not a number is below every threshold: all would be called healthy.
    if not np.isfinite(probabilities).all():
        raise WorkError("the classifier's network gives probabilities that are not finite; train it again")
    return probabilities


def _even_batch(count, batch_size):
    """The largest batch size that leaves no last batch of one."""
    return next(size for size in range(min(batch_size, count), 0, -1) if count % size != 1 or size == 1)


def _weights(targets, balanced):
    """`(n,)`, the subjects' weights, one on average."""
    if not balanced:
        return np.ones(len(targets), np.float32)
    counts = np.bincount(targets, minlength=2)
    return (len(targets) / (2 * counts[targets])).astype(np.float32)
