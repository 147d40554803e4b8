"""The network with the displacement head: identity, its map, its losses, and that it survives saving."""

import keras
import numpy as np
import pytest
from scipy import ndimage

from tfreg.losses.mean_squared_error import MeanSquaredError
from tfreg.losses.regularisers import GradientPenalty, LinearPenalty
from tfreg.models.registration_network import build_registration_network
from tfreg.transforms.displacement_deformation import DisplacementDeformation
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
SMALL = {"encoder_filters": (4, 6), "encoder_dilations": (1, 3), "squeeze_ratio": 4, "decoder_filters": (5, 4)}
OUTPUTS = {"gradients", "log_error", "displacement", "warped"}
STRIDES = [1, 2, 3] if ON_TENSORFLOW else [2]
SHAPE = (9, 14, 11)  # no multiple of a stride


def images(rng, shape=SHAPE, batch=2):
    fixed, moving = rng.random((2, batch, *shape, 1), "float32")
    return {"fixed": fixed, "moving": moving}


def outputs_of(model, inputs):
    if ON_TENSORFLOW:  # a prediction would compile the whole model
        return {name: keras.ops.convert_to_numpy(value) for name, value in model(inputs).items()}
    return model.predict(inputs, verbose=0)


def built(**options):
    return build_registration_network(head="displacement", **SMALL, **options)


@pytest.mark.parametrize("transform", ["deformable", "both"])
@pytest.mark.parametrize("stride", STRIDES)
def test_the_untrained_network_returns_the_moving_image(rng, transform, stride):
    model = built(transform=transform, stride=stride)
    for shape in [SHAPE, (17, 13, 22)] if ON_TENSORFLOW else [SHAPE]:
        inputs = images(rng, shape)
        outputs = outputs_of(model, inputs)
        assert set(outputs) == OUTPUTS | ({"linear"} if transform == "both" else set())
        np.testing.assert_array_equal(outputs["warped"], inputs["moving"])
        np.testing.assert_array_equal(outputs["displacement"], np.zeros((2, *shape, 3)))
        np.testing.assert_array_equal(outputs["gradients"], np.ones((2, *shape, 3)))
        np.testing.assert_array_equal(outputs["log_error"], np.zeros((2, *shape, 1)))


@pytest.mark.parametrize("stride", STRIDES)
def test_its_map_is_the_deformations(rng, perturb, stride):
    """Displacement is that of G(A p), evaluated exactly, and warped is read there once."""
    inputs = images(rng)
    model = perturb(built(stride=stride), rng, scale=0.1)
    model = keras.Model(model.input, model.output | {"control": model.get_layer("control").output})
    outputs = outputs_of(model, inputs)
    assert np.abs(outputs["displacement"]).max() > 1
    lattice = Lattice(SHAPE, np.eye(4))
    for b in range(2):
        deformation = DisplacementDeformation(outputs["control"][b], SHAPE, stride)
        transform = Transform(lattice, outputs["linear"][b], deformation, np.eye(4))
        places = transform(lattice.points())
        np.testing.assert_allclose(outputs["displacement"][b], places - lattice.voxels(), atol=5e-5)
        np.testing.assert_allclose(outputs["gradients"][b], deformation.gradients, atol=1e-5)
        np.testing.assert_allclose(np.exp(outputs["log_error"][b, ..., 0]), deformation.expected_error, rtol=1e-4)
        moving = inputs["moving"][b, ..., 0].astype("float64")
        expected = ndimage.map_coordinates(moving, np.moveaxis(places, -1, 0), order=1, mode="nearest")
        np.testing.assert_allclose(outputs["warped"][b, ..., 0], expected, atol=5e-5)


def test_parameter_count():
    """Of the last convolution a fourth filter."""
    heads = (build_registration_network(transform="deformable", head=head) for head in ("gradients", "displacement"))
    gradients, displacement = (network.count_params() for network in heads)
    assert displacement - gradients == 27 * 32 + 1
    assert displacement == 1_772_215


def test_saved_model_computes_the_same(tmp_path, rng, perturb):
    inputs = images(rng)
    model = perturb(built(), rng)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    expected = outputs_of(model, inputs)
    for name, value in outputs_of(again, inputs).items():
        np.testing.assert_array_equal(value, expected[name])


def test_the_losses_of_gradients_train_it(rng, perturb):
    inputs = {name: ndimage.gaussian_filter(value, (0, 1.5, 1.5, 1.5, 0)) for name, value in images(rng).items()}
    model = perturb(built(), rng, 0.02)
    losses = {"warped": MeanSquaredError(), "linear": LinearPenalty(0.02), "gradients": GradientPenalty(1e-4, 0.03)}
    model.compile(keras.optimizers.Adam(2e-3), losses, jit_compile=not ON_TENSORFLOW)
    outputs = outputs_of(model, inputs)
    expected = np.mean((inputs["fixed"] - outputs["warped"]) ** 2)
    expected += 0.02 * np.abs(outputs["linear"] - np.eye(3, 4)).sum() / 2
    expected += 1e-4 * np.abs(outputs["gradients"] - 1).sum() / 2
    expected += 0.03 * sum((np.diff(outputs["gradients"], axis=axis) ** 2).mean() for axis in (1, 2, 3))
    targets = {name: np.zeros((2, 1), "float32") for name in model.output} | {"warped": inputs["fixed"]}
    history = model.fit(inputs, targets, batch_size=2, epochs=4, shuffle=False, verbose=0).history["loss"]
    assert history[0] == pytest.approx(expected, rel=1e-4)
    assert history[-1] < history[0]


@pytest.mark.skipif(not ON_TENSORFLOW, reason="says nothing about a backend")
def test_trunk_in_bfloat16_keeps_coordinates_float32(rng, perturb):
    inputs = images(rng, (20, 24, 28), batch=1)
    model = perturb(built(), rng)
    mixed = built(precision="mixed_bfloat16")
    mixed.set_weights(model.get_weights())
    expected, found = (outputs_of(network, inputs) for network in (model, mixed))
    assert {value.dtype for value in found.values()} == {np.dtype("float32")}
    assert np.abs(expected["displacement"]).max() > 0.5
    np.testing.assert_allclose(found["displacement"], expected["displacement"], atol=0.1)


@pytest.mark.parametrize(
    ("options", "received"),
    [
        ({"head": "logits"}, "head='logits'"),
        ({"head": "displacement", "integration": "axiswise"}, "integration='axiswise'"),
        ({"head": "displacement", "anchor": "start"}, "anchor='start'"),
        ({"head": "gradients", "anchor": "mean"}, "anchor='mean'"),
    ],
)
def test_refuses_what_does_not_go_together(options, received):
    with pytest.raises(ValueError, match=f"Received: {received}"):
        build_registration_network(**options)
    assert build_registration_network(head="displacement", anchor="mean", **SMALL).count_params() > 0
