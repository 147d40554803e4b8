"""Small callbacks of training: which epoch the data is in, whether it diverged, and how far the work has come."""

import math
import time
from collections.abc import Mapping

import keras

from tfreg.runtime.progress import Advance
from tfreg.training.pair_dataset import PairDataset
from tfreg.training.simulated_pairs import SimulatedDataset


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
    """Tells a data set which epoch it draws its random pairs for.

    Args:
        dataset: A `PairDataset` or a `SimulatedDataset`.
    """

    def __init__(self, dataset: PairDataset | SimulatedDataset) -> None:
        super().__init__()
        self.dataset = dataset

    def on_epoch_begin(self, epoch, logs=None):
        self.dataset.epoch = epoch


class EpochHistory(keras.callbacks.CSVLogger):
    """`keras.callbacks.CSVLogger` without empty columns for a validation that there is not."""

    def on_epoch_end(self, epoch, logs=None):
        self.keys = self.keys or sorted(logs)
        super().on_epoch_end(epoch, logs)


class TimeLimit(keras.callbacks.Callback):
    """Ends a call of `fit` after the epoch in which a time is over, unless that is the last one anyhow.

    List it after the training's state: the training itself has not ended then, and goes on in another call.

    Args:
        seconds: Since `fit` began, or None for any time.

    Attributes:
        over: Whether it has ended the call.
    """

    def __init__(self, seconds: float | None) -> None:
        super().__init__()
        self.seconds = seconds
        self.over = False
        self._began = 0.0

    def on_train_begin(self, logs=None):
        self._began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        ended = self.model.stop_training or epoch + 1 == self.params["epochs"]
        if self.seconds is not None and not ended and time.monotonic() - self._began >= self.seconds:
            self.over = self.model.stop_training = True


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
        names |= {"mean_distance": "voxels", "distance_before": "of"}
        metrics = ", ".join(f"{text} {logs[key]:.4f}" for key, text in names.items() if key in logs)
        self.advance(0, f"epoch {epoch + 1}/{self.epochs}: {metrics}")
