"""The whole network: the untrained identity, its size, its outputs, and that it survives saving."""

import itertools

import keras
import numpy as np
import pytest
from scipy import ndimage

from tfreg.models.registration_network import build_registration_network

ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
SIZES = [(20, 24, 28), (31, 45, 27), (17, 14, 22)]
SMALL = {
    "encoder_filters": (4, 6),
    "encoder_dilations": (1, 3),
    "squeeze_ratio": 4,
    "decoder_filters": (5, 4),
}
OUTPUTS = {
    "both": {"linear", "gradients", "displacement", "warped"},
    "linear": {"linear", "displacement", "warped"},
    "deformable": {"gradients", "displacement", "warped"},
}
VARIANTS = [
    {"transform": "linear", "stride": 1},
    {"transform": "linear", "stride": 2},
    *(
        {"transform": transform, "integration": integration, "anchor": anchor, "stride": stride}
        for transform, integration, anchor, stride in itertools.product(
            ("deformable", "both"), ("composed", "axiswise"), ("centre", "start"), (1, 2)
        )
    ),
]
COMPARED = VARIANTS[1::3]
if not ON_TENSORFLOW:  # every size and variant is compiled anew, some seconds each
    SIZES = [(9, 14, 11)]
    VARIANTS = VARIANTS[1::5]
    COMPARED = VARIANTS[2:]
several_compilations = pytest.mark.skipif(
    not ON_TENSORFLOW, reason="checked on TensorFlow; JAX compiles whole networks for it and learns nothing more"
)


def variant_name(options):
    return "-".join(str(value) for value in options.values())


def images(rng, shape, batch=1):
    fixed, moving = rng.random((2, batch, *shape, 1), "float32")
    return {"fixed": fixed, "moving": moving}


def outputs_of(model, inputs):
    if ON_TENSORFLOW:
        return {name: keras.ops.convert_to_numpy(value) for name, value in model(inputs).items()}
    return model.predict(inputs, verbose=0)  # on JAX, compiled: one operation at a time is slow


def voxel_centres(shape):
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).astype("float64")


def is_identity(outputs, inputs):
    batch, *shape, _ = inputs["moving"].shape
    np.testing.assert_array_equal(outputs["warped"], inputs["moving"])
    np.testing.assert_array_equal(outputs["displacement"], np.zeros((batch, *shape, 3)))
    if "linear" in outputs:
        np.testing.assert_array_equal(outputs["linear"], np.repeat(np.eye(3, 4)[None], batch, axis=0))
    if "gradients" in outputs:
        np.testing.assert_array_equal(outputs["gradients"], np.ones((batch, *shape, 3)))


@pytest.fixture(autouse=True)
def same_weights_every_time():
    keras.utils.set_random_seed(2018)


@pytest.fixture(scope="module")
def network():
    """The paper's network as it is by default, untrained."""
    return build_registration_network()


def test_untrained_network_returns_the_moving_image(network, rng):
    for shape in SIZES:
        inputs = images(rng, shape)
        outputs = outputs_of(network, inputs)
        assert set(outputs) == OUTPUTS["both"]
        is_identity(outputs, inputs)


@pytest.mark.parametrize("options", VARIANTS, ids=variant_name)
def test_every_untrained_variant_returns_the_moving_image(options, rng):
    model = build_registration_network(**options, **SMALL)
    for shape in SIZES:
        inputs = images(rng, shape)
        outputs = outputs_of(model, inputs)
        assert set(outputs) == OUTPUTS[options["transform"]]
        is_identity(outputs, inputs)


@pytest.mark.parametrize("border", ["edge", "zero"])
def test_known_sizes_and_borders_return_the_moving_image(border, rng):
    inputs = images(rng, (9, 12, 7), batch=2)
    model = build_registration_network((9, 12, 7), border=border, **SMALL)
    is_identity(outputs_of(model, inputs), inputs)
    is_identity(model.predict(inputs, verbose=0), inputs)
    assert model.output["displacement"].shape == (None, 9, 12, 7, 3)


def test_parameter_count(network):
    def convolution(channels, filters, normalised=True):
        return 27 * channels * filters + (2 if normalised else 1) * filters

    encoder = sum(itertools.starmap(convolution, [(2, 32), (32, 64), (64, 128), (128, 32), (32, 32)]))
    squeeze = 290 * 29 + 29 + 29 * 290 + 290
    decoder = sum(itertools.starmap(convolution, [(290, 128), (128, 64), (64, 32), (32, 32), (32, 32)]))
    heads = convolution(32, 3, normalised=False) + 290 * 12 + 12
    assert network.count_params() == encoder + squeeze + decoder + heads == 1_774_842


def test_merged_features_and_heads_of_the_paper(network):
    assert network.get_layer("encoder").output.shape[-1] == 290
    for name in ("linear", "logits"):
        weights = network.get_layer(name).get_weights()
        assert [np.count_nonzero(weight) for weight in weights] == [0, 0]


@pytest.mark.parametrize("options", COMPARED, ids=variant_name)
def test_outputs_agree_with_scipy(options, rng, perturb, integration_reference):
    """Displacement is that of G_N(A p) for the network's own A and Φ, and warped is read there once."""
    shape = (9, 14, 11)
    inputs = images(rng, shape, batch=2)
    model = perturb(build_registration_network(**options, **SMALL), rng, scale=0.1)
    outputs = outputs_of(model, inputs)
    for name, value in outputs.items():
        assert np.isfinite(value).all(), name
    assert np.abs(outputs["displacement"]).max() > 0.3
    for b in range(2):
        points = voxel_centres(shape)
        if "linear" in outputs:
            centre = (np.array(shape) - 1) / 2
            linear = outputs["linear"][b].astype("float64")
            points = (points - centre) @ linear[:, :3].T + linear[:, 3] + centre
        if "gradients" in outputs:
            points = integration_reference(outputs["gradients"][b], points, options["integration"], options["anchor"])
        np.testing.assert_allclose(outputs["displacement"][b], points - voxel_centres(shape), atol=2e-5)
        places = outputs["displacement"][b] + voxel_centres(shape)
        expected = ndimage.map_coordinates(
            inputs["moving"][b, ..., 0].astype("float64"), np.moveaxis(places, -1, 0), order=1, mode="nearest"
        )
        np.testing.assert_allclose(outputs["warped"][b, ..., 0], expected, atol=1e-5)


def test_saved_model_computes_the_same(tmp_path, rng, perturb):
    inputs = images(rng, (9, 14, 11), batch=2)
    model = perturb(build_registration_network(**SMALL), rng)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    expected = outputs_of(model, inputs)
    for name, value in outputs_of(again, inputs).items():
        np.testing.assert_array_equal(value, expected[name])


@several_compilations
def test_every_volume_is_registered_alone(rng, perturb):
    inputs = images(rng, (9, 14, 11), batch=2)
    model = perturb(build_registration_network(**SMALL), rng)
    together = outputs_of(model, inputs)
    for b in range(2):
        alone = outputs_of(model, {name: value[b : b + 1] for name, value in inputs.items()})
        for name, value in alone.items():
            np.testing.assert_allclose(value[0], together[name][b], atol=2e-5)


def test_trunk_in_bfloat16_keeps_coordinates_float32(rng, perturb):
    inputs = images(rng, (20, 24, 28))
    model = perturb(build_registration_network(**SMALL), rng)
    mixed = build_registration_network(precision="mixed_bfloat16", **SMALL)
    mixed.set_weights(model.get_weights())
    assert mixed.get_layer("encoder").compute_dtype == "bfloat16"
    expected, found = outputs_of(model, inputs), outputs_of(mixed, inputs)
    assert {value.dtype for value in found.values()} == {np.dtype("float32")}
    assert np.abs(expected["displacement"]).max() > 0.5
    np.testing.assert_allclose(found["displacement"], expected["displacement"], atol=0.1)


@several_compilations
def test_untrained_trunk_in_bfloat16_returns_the_moving_image(rng):
    inputs = images(rng, (20, 24, 28))
    is_identity(outputs_of(build_registration_network(precision="mixed_bfloat16", **SMALL), inputs), inputs)


@pytest.mark.parametrize(
    "options",
    [{"transform": "affine"}, {"integration": "scaling"}, {"anchor": "end"}, {"border": "wrap"}, {"stride": 0}],
    ids=str,
)
def test_refuses_unknown_options(options):
    with pytest.raises(ValueError, match=f"Received: {next(iter(options))}="):
        build_registration_network(**options)


LOSS_WEIGHTS = {"alpha": 0.02, "beta": 1e-4, "smoothness": 0.03}


def compiled_network(rng, perturb, similarity, **options):
    from tfreg.losses.regularisers import GradientPenalty, LinearPenalty
    from tfreg.losses.similarities import build_similarity

    model = perturb(build_registration_network(**SMALL, **options), rng)
    losses = {
        "warped": build_similarity(similarity, 5),
        "linear": LinearPenalty(LOSS_WEIGHTS["alpha"]),
        "gradients": GradientPenalty(LOSS_WEIGHTS["beta"], LOSS_WEIGHTS["smoothness"]),
    }
    model.compile(
        optimizer=keras.optimizers.Adam(2e-3),
        loss={name: loss for name, loss in losses.items() if name in model.output},
        jit_compile=not ON_TENSORFLOW,
    )
    return model


@pytest.mark.parametrize("transform", ["both", "linear", "deformable"] if ON_TENSORFLOW else ["both"])
def test_fit_reports_the_loss_of_eq_4_and_lowers_it(transform, rng, perturb):
    inputs = images(rng, (9, 14, 11), batch=2)
    inputs = {name: ndimage.gaussian_filter(value, (0, 1.5, 1.5, 1.5, 0)) for name, value in inputs.items()}
    model = compiled_network(rng, perturb, "mse", transform=transform)
    outputs = outputs_of(model, inputs)
    expected = np.mean((inputs["fixed"] - outputs["warped"]) ** 2)
    if "linear" in outputs:  # sums over a volume, means over the batch
        expected += LOSS_WEIGHTS["alpha"] * np.abs(outputs["linear"] - np.eye(3, 4)).sum() / 2
    if "gradients" in outputs:
        expected += LOSS_WEIGHTS["beta"] * np.abs(outputs["gradients"] - 1).sum() / 2
        roughness = sum((np.diff(outputs["gradients"], axis=axis) ** 2).mean() for axis in (1, 2, 3))
        expected += LOSS_WEIGHTS["smoothness"] * roughness

    targets = {
        "warped": inputs["fixed"],
        "linear": np.zeros((2, 1), "float32"),
        "gradients": np.zeros((2, 1), "float32"),
        "displacement": np.zeros((2, 1), "float32"),  # without a loss
    }
    targets = {name: targets[name] for name in model.output}
    history = model.fit(inputs, targets, batch_size=2, epochs=4, shuffle=False, verbose=0).history["loss"]
    assert history[0] == pytest.approx(expected, rel=1e-4)
    assert history[-1] < history[0]


@several_compilations
def test_local_correlation_trains(rng, perturb):
    inputs = images(rng, (9, 14, 11), batch=2)
    inputs = {name: ndimage.gaussian_filter(value, (0, 1.5, 1.5, 1.5, 0)) for name, value in inputs.items()}
    model = compiled_network(rng, perturb, "lncc", transform="deformable")
    targets = {"warped": inputs["fixed"], "gradients": np.zeros((2, 1)), "displacement": np.zeros((2, 1))}
    history = model.fit(inputs, targets, batch_size=2, epochs=4, shuffle=False, verbose=0).history["loss"]
    assert history[-1] < history[0]
