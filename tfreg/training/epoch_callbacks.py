"""Small callbacks of training: which epoch the data is in, whether it diverged, and how far the work has come."""

import math
from collections.abc import Mapping

import keras

from tfreg.runtime.progress import Advance
from tfreg.training.pair_dataset import PairDataset


class Diverged(ArithmeticError):
    """A training whose metrics are not finite any more.

    Args:
        epoch: The number of the epoch, from 1 on.
        metrics: By name, those that are not finite.
    """

    def __init__(self, epoch: int, metrics: Mapping[str, float]) -> None:
        values = ", ".join(f"{name} is {value}" for name, value in metrics.items())
        super().__init__(f"diverged in epoch {epoch}: {values}")
        self.epoch = epoch


class FiniteMetrics(keras.callbacks.Callback):
    """Ends a training in which a loss or a measure is not finite.

    List it before the callbacks that write and compare: Keras takes a first metric that is not a number for the best
    of all, and no later one for better.
    """

    def on_epoch_end(self, epoch, logs=None):
        bad = {name: float(value) for name, value in (logs or {}).items() if not math.isfinite(value)}
        if bad:
            raise Diverged(epoch + 1, bad)


class EpochOfData(keras.callbacks.Callback):
    """Tells a `PairDataset` which epoch it draws its random pairs for.

    Args:
        dataset: A `PairDataset`.
    """

    def __init__(self, dataset: PairDataset) -> None:
        super().__init__()
        self.dataset = dataset

    def on_epoch_begin(self, epoch, logs=None):
        self.dataset.epoch = epoch


class EpochProgress(keras.callbacks.Callback):
    """Says how far a training has come: batch by batch, and after each epoch its losses.

    Args:
        advance: Of the stage whose steps are the batches of all epochs.
        epochs: The largest number of epochs.
    """

    def __init__(self, advance: Advance, epochs: int) -> None:
        super().__init__()
        self.advance = advance
        self.epochs = epochs

    def on_train_batch_end(self, batch, logs=None):
        self.advance()

    def on_epoch_end(self, epoch, logs=None):
        names = {"loss": "loss", "val_loss": "validation loss", "val_displacement_dice": "validation Dice"}
        metrics = ", ".join(f"{text} {logs[key]:.4f}" for key, text in names.items() if key in logs)
        self.advance(0, f"epoch {epoch + 1}/{self.epochs}: {metrics}")
