"""Small callbacks of training: which epoch the data is in, whether it diverged, and how far the work has come."""

import math
import sys

import keras


class Diverged(ArithmeticError):
    """A training whose figures are not finite any more.

    Args:
        epoch: The number of the epoch, from 1 on.
        figures: Dictionary of name to value, of those that are not finite.
    """

    def __init__(self, epoch, figures):
        told = ", ".join(f"{name} is {value}" for name, value in figures.items())
        super().__init__(f"diverged in epoch {epoch}: {told}")
        self.epoch = epoch


class FiniteFigures(keras.callbacks.Callback):
    """Ends a training in which a loss or a measure is not finite.

    List it before the callbacks that write and compare: Keras takes a first figure that is not a number for the best
    of all, and no later one for better.
    """

    def on_epoch_end(self, epoch, logs=None):
        bad = {name: float(value) for name, value in (logs or {}).items() if not math.isfinite(value)}
        if bad:
            raise Diverged(epoch + 1, bad)


class EpochOfData(keras.callbacks.Callback):
    """Tells a `PairDataset` which epoch it draws its random pairs for."""

    def __init__(self, dataset):
        super().__init__()
        self.dataset = dataset

    def on_epoch_begin(self, epoch, logs=None):
        self.dataset.epoch = epoch


class EpochProgress(keras.callbacks.Callback):
    """Advances a progress bar, and on anything but a terminal prints a line an epoch.

    Args:
        bar: A started `rich.progress.Progress`.
        epochs: The largest number of epochs.
        steps: Batches an epoch.
    """

    def __init__(self, bar, epochs, steps):
        super().__init__()
        self.bar = bar
        self.epochs = epochs
        self.steps = steps
        self.task = None
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        if self.task is None:
            self.task = self.bar.add_task("training", total=self.epochs * self.steps, status="")
        self.bar.update(self.task, completed=epoch * self.steps)

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update(self.task, completed=self.epoch * self.steps + batch + 1)

    def on_epoch_end(self, epoch, logs=None):
        figures = {"loss": "loss", "val_loss": "validation loss", "val_displacement_dice": "validation Dice"}
        status = ", ".join(f"{text} {logs[key]:.4f}" for key, text in figures.items() if key in logs)
        self.bar.update(self.task, status=status)
        if self.bar.disable:
            print(f"epoch {epoch + 1}/{self.epochs}: {status}", file=sys.stderr, flush=True)
