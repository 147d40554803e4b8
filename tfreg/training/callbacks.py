"""The callbacks of a training, in the order in which they must act."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tfreg.config import Config
from tfreg.training.run_report import HISTORY, METRICS, MODEL

if TYPE_CHECKING:
    import keras

    from tfreg.training.pair_dataset import PairDataset
    from tfreg.training.simulated_pairs import SimulatedDataset
    from tfreg.training.training_state import TrainingState


def training_callbacks(
    run: Path, config: Config, training_set: "PairDataset", check: Callable[[], None]
) -> "tuple[list[keras.callbacks.Callback], TrainingState]":
    """The callbacks of a training.

    Args:
        run: Folder of the run.
        config: Its config.
        training_set: Random pairs, a set of which each epoch has its own.
        check: Called before a state is saved; raises where this process must not write any more.

    Returns:
        The callbacks, of which the last is the training state, and that state.
    """
    import keras

    from tfreg.training.epoch_callbacks import EpochOfData, FiniteMetrics
    from tfreg.training.training_state import TrainingState

    settings = config.training
    monitored = {"monitor": METRICS[settings.monitor], "mode": "min" if settings.monitor == "val_loss" else "max"}
    reduce = keras.callbacks.ReduceLROnPlateau(
        **monitored,
        factor=settings.learning_rate_factor,
        patience=settings.learning_rate_patience,
        min_delta=0,
    )
    stop = keras.callbacks.EarlyStopping(**monitored, patience=settings.stop_patience)
    best = keras.callbacks.ModelCheckpoint(str(run / MODEL), **monitored, save_best_only=True)
    state = TrainingState(
        run / "state",
        {
            reduce: ("best", "wait", "cooldown_counter"),
            stop: ("best", "wait", "best_epoch", "stopped_epoch"),
            best: ("best",),
        },
        files=[run / MODEL, run / HISTORY],
        check=check,
    )
    callbacks = [EpochOfData(training_set), FiniteMetrics(), reduce, stop, best]
    if keras.backend.backend() == "tensorflow":
        callbacks.append(keras.callbacks.TensorBoard(str(run / "tensorboard"), write_graph=False))
    callbacks.append(keras.callbacks.CSVLogger(str(run / HISTORY), append=True))
    callbacks.append(state)  # last: an epoch counts as done once everything above has been written
    return callbacks, state


def supervised_callbacks(
    run: Path, training_set: "SimulatedDataset", check: Callable[[], None]
) -> "tuple[list[keras.callbacks.Callback], TrainingState]":
    """The callbacks of a training on simulated pairs, whose learning rate follows a plan and whose last epoch counts.

    Args:
        run: Folder of the run.
        training_set: Random pairs, a set of which each epoch has its own.
        check: Called before a state is saved; raises where this process must not write any more.

    Returns:
        The callbacks, of which the last is the training state, and that state.
    """
    from tfreg.training.epoch_callbacks import EpochHistory, EpochOfData, FiniteMetrics
    from tfreg.training.training_state import TrainingState

    state = TrainingState(run / "state", {}, files=[run / HISTORY], check=check)
    history = EpochHistory(str(run / HISTORY), append=True)
    return [EpochOfData(training_set), FiniteMetrics(), history, state], state
