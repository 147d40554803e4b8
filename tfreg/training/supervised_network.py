"""The registration network as it is trained where the true displacement is known."""

import keras

from tfreg.config import Config
from tfreg.losses.place_error import PlaceError, distance_before, log_error_bias, mean_distance
from tfreg.models.registration_network import build_registration_network
from tfreg.ops.acceleration import compiles_models
from tfreg.runtime.keras_settings import own_keras_settings


@own_keras_settings()
def build_supervised(config: Config) -> tuple[keras.Model, keras.Model]:
    """Builds the network, and compiles a model of it whose output is what the loss compares.

    Args:
        config: Of a run with simulated pairs.

    Returns:
        The network; and a model that shares its weights, with the output `(batch, i, j, k, 4)`: displacement and
        logarithm of the expected error, in voxels.
    """
    network = build_registration_network(**config.model.model_dump())
    output = keras.layers.Concatenate(name="place", dtype="float32")(
        [network.output["displacement"], network.output["log_error"]]
    )
    model = keras.Model(network.input, output, name="supervised_network")
    supervision, settings = config.simulated.supervision, config.training
    steps = settings.epochs * settings.steps_per_epoch
    warmup = min(supervision.warmup_steps, steps - 1)
    rate = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / max(warmup, 1),
        max(steps - warmup, 1),
        warmup_target=settings.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    model.compile(
        optimizer=keras.optimizers.Adam(
            rate,
            beta_2=0.99,
            global_clipnorm=supervision.clip_norm,
            use_ema=True,
            ema_momentum=supervision.averaging,
        ),
        loss=PlaceError(supervision.slopes, supervision.expected_error),
        metrics=[mean_distance, distance_before, log_error_bias],
        jit_compile=compiles_models(),
    )
    return network, model
