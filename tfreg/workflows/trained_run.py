"""A trained network with the config that says how to feed it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfreg.config import Config, load_config
from tfreg.errors import UserError
from tfreg.transforms.deformation import Deformation
from tfreg.transforms.transform import Transform


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A network and its config.

    Args:
        name: What results call the model: the run's folder name.
        sha256: Of the model file.
        config: A `tfreg.config.Config`.
        network: The `keras.Model`.
    """

    name: str
    sha256: str
    config: Config
    network: Any

    def predict(self, pair):
        """Predicts a pair's transform in one forward pass.

        Args:
            pair: A `tfreg.volumes.preprocessing.PreparedPair`.

        Returns:
            A `Transform`.

        Raises:
            UserError: If the predicted linear part mirrors or collapses space.
        """
        import keras

        outputs = {}
        if "linear" in self.network.output:
            outputs["linear"] = self.network.output["linear"]
        if "gradients" in self.network.output:
            outputs["logits"] = self.network.get_layer("logits").output
        head = keras.Model(self.network.input, outputs)
        batch = {"fixed": pair.fixed[None, ..., None], "moving": pair.moving[None, ..., None]}
        predicted = {name: np.asarray(value)[0] for name, value in head.predict_on_batch(batch).items()}
        model = self.config.model
        deformation = None
        if "logits" in predicted:
            deformation = Deformation(
                predicted["logits"], pair.lattice.shape, model.stride, model.integration, model.anchor
            )
        try:
            return Transform(pair.lattice, predicted.get("linear", np.eye(3, 4)), deformation, pair.init)
        except ValueError as error:
            raise UserError(f"model {self.name}: predicts no valid transform for this pair ({error})") from error


def load_run(path):
    """Loads a run folder's best model, or a .keras file that lies in a run folder.

    Args:
        path: The folder, or a .keras file beside a config.yaml.

    Returns:
        A `TrainedRun`.

    Raises:
        UserError: If the folder is not a run, or its model cannot be loaded.
    """
    import keras

    # The package's layers register themselves when imported.
    import tfreg.losses.regularisers
    import tfreg.losses.similarities
    import tfreg.losses.warped_dice
    import tfreg.models.registration_network  # noqa: F401

    path = Path(path)
    file = path / "model.keras" if path.is_dir() else path
    if not file.exists():
        raise UserError(f"{path}: holds no trained model; give a run folder that `tfreg train` wrote, or none")
    config = load_config(file.with_name("config.yaml"))
    try:
        network = keras.saving.load_model(file, compile=False)
    except (ValueError, OSError, KeyError, TypeError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise UserError(f"{file}: cannot be loaded as a tfreg model ({first_line}); train it again") from error
    return TrainedRun(file.absolute().parent.name, hashlib.sha256(file.read_bytes()).hexdigest(), config, network)
