"""Goes through the epochs of a training."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfreg.config import Config
from tfreg.errors import WorkError
from tfreg.runtime.progress import Progress
from tfreg.training.run_report import MODEL, read_history

if TYPE_CHECKING:
    import keras


def fit(
    run: Path,
    config: Config,
    model: "keras.Model",
    data_sets: tuple[Any, Any],
    callbacks: "Sequence[keras.callbacks.Callback]",
    finished_epochs: int,
    progress: Progress,
) -> bool:
    """Trains until the last epoch, until a callback ends it, or until `training.seconds` are over.

    Args:
        run: Folder of the run.
        config: Its config.
        model: Compiled.
        data_sets: Batches to learn from, and those to be measured on, or None.
        callbacks: The last of them saves the state.
        finished_epochs: How many are done already.
        progress: Is told how many batches are done, and after each epoch its losses.

    Returns:
        Whether the time was over first: then another call goes on.

    Raises:
        WorkError: If a metric is not finite any more.
    """
    from tfreg.training.epoch_callbacks import Diverged, EpochProgress, TimeLimit

    settings = config.training
    with progress.stage("training", settings.epochs * settings.steps_per_epoch) as advance:
        if finished_epochs:
            advance(finished_epochs * settings.steps_per_epoch)
        limit = TimeLimit(settings.seconds)
        callbacks = [*callbacks, EpochProgress(advance, settings.epochs), limit]
        try:
            model.fit(
                data_sets[0],
                validation_data=data_sets[1],
                epochs=settings.epochs,
                initial_epoch=finished_epochs,
                callbacks=callbacks,
                shuffle=False,  # the pairs are random already; Keras would shuffle the batches anew after a resume
                verbose=0,
            )
        except Diverged as error:
            for callback in callbacks:
                callback.on_train_end()  # which closes what they write
            raise WorkError(
                f"{run}: the training {error}; {_best_until_now(run, config)}; train into another folder with a lower "
                "training.learning_rate, or look for volumes with odd values"
            ) from error
    return limit.over


def _best_until_now(run, config):
    """What an unfinished run holds."""
    if config.pairs == "simulated":
        return "the run holds no model"
    if not (run / MODEL).is_file():
        return "no epoch before it ended, and the run holds no model"
    _, best = read_history(run, config)
    return f"{run / MODEL} is the best model until then, of epoch {int(best['epoch']) + 1}"
