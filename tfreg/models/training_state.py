"""What an interrupted training needs to go on as if nothing had happened."""

import json
import os
import re
import shutil
from pathlib import Path

import keras


class TrainingState(keras.callbacks.Callback):
    """Saves weights, optimiser and the schedule's counters after every epoch, and restores them.

    Keras' own BackupAndRestore keeps neither the patience counters nor the best values of
    ReduceLROnPlateau, EarlyStopping and ModelCheckpoint, and can be caught between its two files. Here
    a folder named after the epoch holds everything; renaming it into place is what makes it count.

    List it after the callbacks that it keeps.

    Args:
        directory: Where the state lies, created when needed.
        keep: Dictionary of callback to the names of its attributes to save (numbers or None).
    """

    def __init__(self, directory, keep):
        super().__init__()
        self.directory = Path(directory)
        self.keep = keep
        self._restored = None

    def restore(self, model):
        """Loads the newest saved state into a compiled model.

        Returns:
            The number of finished epochs, to be given to `fit` as `initial_epoch`; 0 if there is none.
        """
        saved = sorted(self._saved())
        if not saved:
            return 0
        epoch, folder = saved[-1]
        model.optimizer.build(model.trainable_variables)
        model.load_weights(folder / "state.weights.h5")
        self._restored = json.loads((folder / "callbacks.json").read_text())
        return epoch

    def on_epoch_begin(self, epoch, logs=None):
        # After every callback's own on_train_begin, which resets its counters.
        if self._restored is not None:
            for (callback, names), values in zip(self.keep.items(), self._restored, strict=True):
                for name in names:
                    setattr(callback, name, values[name])
            self._restored = None

    def on_epoch_end(self, epoch, logs=None):
        earlier = [folder for _, folder in self._saved()]
        unfinished = self.directory / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        self.model.save_weights(unfinished / "state.weights.h5")
        values = [{name: _number(getattr(callback, name)) for name in names} for callback, names in self.keep.items()]
        (unfinished / "callbacks.json").write_text(json.dumps(values))
        os.replace(unfinished, self.directory / f"epoch-{epoch + 1:05d}")
        for folder in earlier:
            shutil.rmtree(folder)

    def _saved(self):
        for folder in self.directory.glob("epoch-*"):
            if match := re.fullmatch(r"epoch-(\d+)", folder.name):
                yield int(match[1]), folder


def _number(value):
    return value if value is None or isinstance(value, (bool, int)) else float(value)
