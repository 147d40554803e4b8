"""`TrainedRun`: a trained network with the config that says how to feed it."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tfreg.config import SHIPPED, Config, Model, find_model, load_written_config
from tfreg.errors import UserError
from tfreg.io.digests import file_digest
from tfreg.io.network_weights import SUFFIX, assign_weights, read_weights
from tfreg.preprocessing.aligned_pair import NetworkInput
from tfreg.runtime.keras_settings import own_keras_settings
from tfreg.transforms.deformation import Deformation
from tfreg.transforms.displacement_deformation import DisplacementDeformation
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

# What a .keras file holds.
MODEL_PARTS = {"config.json", "metadata.json", "model.weights.h5"}


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A network and its config.

    Args:
        name: What results call the model: the run's folder name.
        sha256: Of the model file.
        config: A `tfreg.config.Config`.
        network: The `keras.Model`.

    Example:
        >>> run = tfreg.load_run("run")
        >>> sorted(run.provenance)
        ['name', 'sha256']
        >>> sorted(run.network.output)
        ['displacement', 'gradients', 'linear', 'warped']
    """

    name: str
    sha256: str
    config: Config
    network: Any

    @property
    def provenance(self) -> dict[str, Any]:
        """What a report says of the model, a dictionary."""
        return {"name": self.name, "sha256": self.sha256}

    @cached_property
    def _head(self):
        """The network up to matrix and control points: `Transform` does the rest, exactly and at any resolution."""
        import keras

        from tfreg.ops.acceleration import compiles_models

        outputs = {}
        if "linear" in self.network.output:
            outputs["linear"] = self.network.output["linear"]
        array = self.config.model.deformation_array
        if array in {layer.name for layer in self.network.layers}:
            outputs[array] = self.network.get_layer(array).output
        head = keras.Model(self.network.input, outputs)
        head.compile(jit_compile=compiles_models())
        return head

    @own_keras_settings()
    def predict(self, pair: NetworkInput) -> Transform:
        """Predicts a pair's transform in one forward pass.

        Args:
            pair: A `tfreg.preprocessing.aligned_pair.NetworkInput`.

        Returns:
            A `Transform`.

        Raises:
            UserError: If the predicted linear part mirrors or collapses space.
        """
        predicted = {name: np.asarray(value)[0] for name, value in self._head.predict_on_batch(pair.batch).items()}
        return predicted_transform(predicted, pair.lattice, pair.init, self.config.model, f"model {self.name}")


def predicted_transform(
    predicted: Mapping[str, np.ndarray], lattice: Lattice, init: np.ndarray, model: Model, name: str
) -> Transform:
    """The transform that a network's answer means.

    Args:
        predicted: Dictionary: `linear` `(3, 4)` and `logits` `(i, j, k, 3)`, or `control` `(i, j, k, 4)` of the
            displacement head, or one of the two.
        lattice: Of the pair that the network saw.
        init: `(4, 4)`, what the moving image was read by there, fixed world to moving world, mm.
        model: `tfreg.config.Model`, the network's options.
        name: What error messages call the model.

    Returns:
        A `Transform`.

    Raises:
        UserError: If a part is missing or not finite, or the linear part mirrors or collapses space.
    """
    array, parts = model.deformation_array, model.predicted_arrays
    missing = [part for part in parts if part not in predicted]
    if missing:
        raise UserError(f"{name}: gives no {missing[0]} for this pair; use a model that `tfreg train` wrote")
    if array in parts and not np.isfinite(predicted[array]).all():
        raise UserError(f"{name}: predicts values that are not finite for this pair; train it again")
    try:
        deformation = _deformation(predicted[array], lattice.shape, model) if array in parts else None
        return Transform(lattice, predicted.get("linear", np.eye(3, 4)), deformation, init)
    except ValueError as error:
        raise UserError(f"{name}: predicts no valid transform for this pair ({error}); train it again") from error


def _deformation(values, shape, model):
    """The deformation that a network's head means by its values at the control points."""
    if model.head == "displacement":
        return DisplacementDeformation(values, shape, model.stride)
    return Deformation(values, shape, model.stride, model.integration, model.anchor)


def find_run(path: str | Path) -> tuple[Path, Config]:
    """Finds a model's file and reads its config, without loading Keras.

    Args:
        path: A run folder, a .keras file or an .npz file of weights beside a config.yaml, or "weights": those that
            ship with the package. (./weights is a folder of that name.)

    Returns:
        The `Path` of the model file and the `Config`.

    Raises:
        UserError: If there is no model, it is damaged, or its config does not fit.
    """
    path = find_model(path)
    if path.suffix == SUFFIX and path.is_file():
        return path, load_written_config(path.with_name("config.yaml"))
    file = path / "model.keras" if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{path}: holds no trained model; give a run folder that `tfreg train` wrote, or none")
    try:
        with zipfile.ZipFile(file) as archive:
            sound = archive.testzip() is None and MODEL_PARTS.issubset(archive.namelist())
    # Whatever a garbage file makes zipfile raise, the file is what is wrong.
    except Exception:
        sound = False
    if not sound:
        raise UserError(f"{file}: is not a Keras model, or is damaged; copy it again, or train again")
    return file, load_written_config(file.with_name("config.yaml"))


@own_keras_settings()
def load_run(path: str | Path) -> TrainedRun:
    """Loads a run folder's best model, a model's file, or the weights that ship.

    Args:
        path: See `find_run`.

    Returns:
        A `TrainedRun`.

    Raises:
        UserError: If the folder is not a run, or its model cannot be loaded or has weights that are not finite.

    Example:
        >>> run = tfreg.load_run("run")
        >>> run.name, run.config.model.transform
        ('run', 'both')
        >>> registration = tfreg.register("exhale.nii.gz", "inhale.nii.gz", model=run)
    """
    file, config = find_run(path)
    if file == SHIPPED:
        return load_weights()
    if file.suffix == SUFFIX:
        return _weights_run(file, config)

    import keras

    # The package's layers register themselves when imported.
    import tfreg.losses.regularisers
    import tfreg.losses.similarities
    import tfreg.losses.warped_dice
    import tfreg.models.registration_network  # noqa: F401

    digest = file_digest(file)
    try:
        network = keras.saving.load_model(file, compile=False)
    # Whatever another package's model makes Keras raise, the file is what is wrong.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{file}: cannot be loaded as a tfreg model ({reason}); train it again") from error
    if not isinstance(network.input, dict) or set(network.input) != {"fixed", "moving"}:
        raise UserError(f"{file}: is not a registration network; give a run folder that `tfreg train` wrote")
    if not all(np.isfinite(weight).all() for weight in network.get_weights()):
        raise UserError(f"{file}: holds weights that are not finite, as of a training that diverged; train it again")
    if file_digest(file) != digest:
        raise UserError(f"{file}: changed while it was read, as where it is trained; wait for its end")
    return TrainedRun(file.absolute().parent.name, digest, config, network)


@lru_cache(maxsize=1)
def load_weights() -> TrainedRun:
    """Loads the weights that ship with the package, once in a process.

    They were trained on simulated volumes alone, and take volumes of any kind and size; their model card lies beside
    them, in tfreg/weights/.

    Returns:
        A `TrainedRun`.

    Example:
        >>> weights = tfreg.load_weights()
        >>> weights.name, weights.config.model.head
        ('zero_shot_v0', 'displacement')
        >>> tfreg.register("exhale.nii.gz", "inhale.nii.gz", model=weights, refine=False).report.model.name
        'zero_shot_v0'
    """
    return _weights_run(*find_run(SHIPPED))


@own_keras_settings()
def _weights_run(file, config):
    """The `TrainedRun` of a file of weights: the network is built from its config, for volumes of any size."""
    from tfreg.models.registration_network import build_registration_network

    digest, weights = file_digest(file), read_weights(file)
    network = build_registration_network(**config.model.model_dump())
    assign_weights(network, weights, file)
    return TrainedRun(file.stem, digest, config, network)


@lru_cache(maxsize=4)
def run_once(path: str | Path) -> TrainedRun:
    """`load_run` in a process that does many tasks."""
    return load_run(path)
