"""The compiled network of a training, on one device or on several."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfreg.config import Config
from tfreg.errors import UserError
from tfreg.runtime.keras_settings import own_keras_settings

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

# Side of the blank volumes that losses and metrics are built with, voxels.
BLANK_SIZE = 8


@own_keras_settings()
def build_model(config: Config, labels: Sequence[int] = (), taught: Sequence[int] = ()) -> "keras.Model":
    """Builds and compiles the network that a config describes.

    Args:
        config: A `tfreg.config.Config`.
        labels: Label values whose overlap is measured, or none.
        taught: Label values whose overlap counts in the loss, or none.

    Returns:
        A compiled `keras.Model`.
    """
    import keras

    from tfreg.losses.label_overlap import LabelOverlap
    from tfreg.losses.regularisers import GradientPenalty, LinearPenalty
    from tfreg.losses.similarities import build_similarity
    from tfreg.losses.warped_dice import WarpedDice
    from tfreg.models.registration_network import build_registration_network
    from tfreg.ops.acceleration import compiles_models

    model = build_registration_network(**config.model.model_dump())
    losses = {"warped": build_similarity(config.loss.similarity, config.loss.window)}
    if "linear" in model.output:
        losses["linear"] = LinearPenalty(config.loss.alpha)
    if "gradients" in model.output:
        losses["gradients"] = GradientPenalty(config.loss.beta, config.loss.smoothness)
    if taught:
        losses["displacement"] = LabelOverlap(taught, config.loss.dice)
    model.compile(
        optimizer=keras.optimizers.Adam(config.training.learning_rate),
        loss=losses,
        metrics={"displacement": [WarpedDice(labels)]} if labels else None,
        jit_compile=compiles_models(),
    )
    return model


def create_state(model: "keras.Model") -> None:
    """Creates the variables of a compiled model's optimizer, losses and metrics.

    `fit` would create them in its first step, and TensorFlow traces a step that creates variables three times.

    Args:
        model: What `build_model` or `build_supervised` returns.
    """
    import keras

    model.optimizer.build(model.trainable_variables)
    outputs = keras.tree.map_structure(
        lambda output: np.zeros([n or BLANK_SIZE for n in output.shape], np.float32), model.output
    )
    model.compute_loss(y=outputs, y_pred=outputs)
    model.compute_metrics(None, outputs, outputs)
    model.reset_metrics()


def strategy_of(
    config: Config, several_gpus: bool = False, devices: Sequence[str] | None = None
) -> "tf.distribute.Strategy | None":
    """How batches are split over devices.

    Args:
        config: Of the run; its batch size counts.
        several_gpus: Takes all GPUs.
        devices: Names of TensorFlow's devices to take instead, such as "GPU:1".

    Returns:
        A `tf.distribute.MirroredStrategy`, or None for one device.

    Raises:
        UserError: If there are fewer than two devices, the batches cannot be split evenly, or the backend is another.
    """
    if not (several_gpus or devices):
        return None
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UserError("--several-gpus: needs the TensorFlow backend; unset KERAS_BACKEND")
    import tensorflow as tf

    devices = devices or [device.name for device in tf.config.list_logical_devices("GPU")]
    if len(devices) < 2:
        raise UserError(f"--several-gpus: TensorFlow sees {len(devices)} GPUs here; leave the option out")
    if config.training.batch_size % len(devices):
        raise UserError(
            f"--several-gpus: training.batch_size {config.training.batch_size} cannot be split over "
            f"{len(devices)} devices; set it to a multiple"
        )
    return tf.distribute.MirroredStrategy(devices)


def reads_once(strategy: "tf.distribute.Strategy | None") -> bool:
    """Whether Keras reads every batch once; False where it reads a first batch ahead of `fit`, to build the model.

    Its queue of several workers then hands the batches that it had prepared out again, in later epochs.
    """
    import keras

    return strategy is None and keras.backend.backend() == "tensorflow"
