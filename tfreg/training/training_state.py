"""What an interrupted training needs to go on as if nothing had happened."""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras

from tfreg.errors import UserError
from tfreg.io.folders.whole_file import on_disk


class TrainingState(keras.callbacks.Callback):
    """Saves weights, optimiser, the schedule's counters and files after every epoch, and restores them.

    Keras' own BackupAndRestore keeps neither the patience counters nor the best values of
    ReduceLROnPlateau, EarlyStopping and ModelCheckpoint, and can be caught between its two files. Here
    a folder named after the epoch holds everything; renaming it into place is what makes it count.

    List it after the callbacks that it saves, and after those that write the files.

    All is on disk before it counts, so that a power loss leaves the state of this epoch or of the one before.

    Args:
        directory: Where the state lies, created when needed.
        attributes: Dictionary of callback to the names of its attributes to save (numbers or None).
        files: Files that other callbacks write epoch by epoch. `restore` brings back what they held
            after the last finished epoch: what an interrupted one wrote, whole or in part, is gone.
        check: Called before a state is saved; raises where this process must not write any more.
    """

    def __init__(
        self,
        directory: str | Path,
        attributes: Mapping[keras.callbacks.Callback, Sequence[str]],
        files: Sequence[str | Path] = (),
        check: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self.directory = Path(directory)
        self.attributes = attributes
        self.files = [Path(file) for file in files]
        self.check = check
        self.stopped = False
        self._restored = None

    def restore(self, model: keras.Model) -> int:
        """Loads the newest saved state into a compiled model, and brings back the files.

        Afterwards `stopped` tells whether a callback had ended the training with that epoch.

        Returns:
            The number of finished epochs, to be given to `fit` as `initial_epoch`; 0 if there is none.

        Raises:
            UserError: If the state is damaged.
        """
        epoch, folder = max(self._saved(), default=(0, None))
        if folder is not None:
            try:
                state = json.loads((folder / "callbacks.json").read_text())
                self.stopped, self._restored = state["stopped"], state["callbacks"]
                model.optimizer.build(model.trainable_variables)
                model.load_weights(folder / "state.weights.h5")
            # Whatever a damaged file makes Keras raise, the file is what is wrong.
            except Exception as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise UserError(
                    f"{folder}: cannot be restored ({reason}); delete {self.directory}, and the training begins anew"
                ) from error
        for file in self.files:
            if folder is not None and (folder / file.name).exists():
                # Renamed into place: a kill here leaves the saved state to be restored again.
                shutil.copyfile(folder / file.name, file.with_name(f"{file.name}.part"))
                os.replace(file.with_name(f"{file.name}.part"), file)
            else:
                file.unlink(missing_ok=True)
        return epoch

    def on_epoch_begin(self, epoch, logs=None):
        # After every callback's own on_train_begin, which resets its counters.
        if self._restored is not None:
            for (callback, names), values in zip(self.attributes.items(), self._restored, strict=True):
                for name in names:
                    setattr(callback, name, values[name])
            self._restored = None

    def on_epoch_end(self, epoch, logs=None):
        self.check()
        earlier = [folder for _, folder in self._saved()]
        unfinished = self.directory / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        self.model.save_weights(unfinished / "state.weights.h5")
        values = [
            {name: _number(getattr(callback, name)) for name in names} for callback, names in self.attributes.items()
        ]
        state = {"stopped": bool(self.model.stop_training), "callbacks": values}
        (unfinished / "callbacks.json").write_text(json.dumps(state))
        for file in self.files:
            if file.exists():
                shutil.copyfile(file, unfinished / file.name)
        for file in (*unfinished.iterdir(), unfinished):
            on_disk(file)
        os.replace(unfinished, self.directory / f"epoch-{epoch + 1:05d}")
        on_disk(self.directory)
        for folder in earlier:
            shutil.rmtree(folder)

    def _saved(self):
        for folder in self.directory.glob("epoch-*"):
            if match := re.fullmatch(r"epoch-(\d+)", folder.name):
                yield int(match[1]), folder


def _number(value):
    return value if value is None or isinstance(value, (bool, int)) else float(value)
