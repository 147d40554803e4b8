"""The models whose weights are one pair's transform."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import ndimage

from tfreg.refinement.deformable_model import DeformableRefinement, compiled_refinement, refinement_models
from tfreg.refinement.field_adam import FieldAdam, gaussian_smoothed
from tfreg.refinement.minimise import minimise

SHAPE, LEADING_MARGIN, MARGIN = (14, 16, 18), (2, 4, 2), (3, 4, 5)


@pytest.fixture
def models():
    """Compiled models, which are this test's alone meanwhile."""
    with refinement_models.leased() as models:
        yield models


def texture(shape, rng, sigma=1.5):
    volume = ndimage.gaussian_filter(rng.normal(size=shape), sigma)
    return ((volume - volume.min()) / np.ptp(volume)).astype("float32")


def images(**volumes):
    """Volumes as a model takes them, and weights of one."""
    pair = {name: volume[None, ..., None] for name, volume in volumes.items()}
    return pair | {f"{name}_weights": np.ones_like(volume) for name, volume in pair.items()}


def a_pair(rng, shift=(0, 0, 0)):
    """A moving texture, and its part that a shift of whole voxels makes the fixed one."""
    moving = texture([n + 2 * r for n, r in zip(SHAPE, MARGIN, strict=True)], rng)
    low = np.array(MARGIN) + np.array(LEADING_MARGIN) + np.array(shift)
    high = np.array(MARGIN) + np.array(SHAPE) + np.array(shift)
    fixed = moving[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return images(fixed=fixed, moving=moving) | {"linear": np.eye(3, 4, dtype="float32")[None]}


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("integration", ["composed", "axiswise"])
def test_begins_at_the_identity(rng, linear, integration):
    pair = a_pair(rng)
    if integration == "axiswise":  # it has no leading margin: only networks use it
        model = DeformableRefinement(SHAPE, (0, 0, 0), MARGIN, integration=integration, linear=linear)
        inner = tuple(slice(r, -r) for r in MARGIN)
        pair |= images(fixed=pair["moving"][0, ..., 0][inner])
    else:
        model = DeformableRefinement(SHAPE, LEADING_MARGIN, MARGIN, linear=linear)
    found = model(pair)
    np.testing.assert_allclose(found["warped"], pair["fixed"], atol=1e-6)
    assert len(model.trainable_variables) == 1 + linear


@pytest.mark.parametrize("similarity", ["lncc", "mse", "mi", "mind"])
def test_finds_a_shift(models, rng, similarity):
    pair = a_pair(rng, shift=(0, 1, -1))
    model = models(SHAPE, LEADING_MARGIN, MARGIN, similarity=similarity, smoothness=0.01)
    model.displacement.assign(np.zeros(model.displacement.shape))
    losses = minimise(model, pair, 40, 0.2)
    assert losses[-1] < 0.7 * losses[0]
    found = np.array(model.displacement)[0, 3:-2, 3:-2, 3:-2].mean((0, 1, 2))
    np.testing.assert_allclose(found, (0, 1, -1), atol=0.35)


def test_weights_leave_voxels_out(rng):
    """What differs where either image counts nothing makes no difference."""
    pair = a_pair(rng)
    spoilt = {name: np.array(value) for name, value in pair.items()}
    spoilt["fixed"][:, :4] = rng.uniform(size=spoilt["fixed"][:, :4].shape)
    model = DeformableRefinement(SHAPE, LEADING_MARGIN, MARGIN, similarity="mse")
    assert float(model(spoilt)["similarity"][0]) > 1e-3
    spoilt["fixed_weights"][:, :4] = 0
    assert float(model(spoilt)["similarity"][0]) == pytest.approx(0, abs=1e-9)


def test_stops_when_it_no_longer_helps(models, rng):
    pair = a_pair(rng)
    model = models(SHAPE, LEADING_MARGIN, MARGIN)
    model.displacement.assign(np.zeros(model.displacement.shape))
    done = []
    losses = minimise(model, pair, 50, 0.2, tolerance=1e-3, progress=done.append)
    assert len(losses) == len(done) == 10


def test_optimiser_forgets_the_last_pair(models, rng):
    pair = a_pair(rng, shift=(1, 0, 0))
    model = models(SHAPE, LEADING_MARGIN, MARGIN)
    runs = []
    for _ in range(2):
        model.displacement.assign(np.zeros(model.displacement.shape))
        runs.append(minimise(model, pair, 6, 0.2))
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX adds gradients in the order of its program")
@pytest.mark.parametrize("linear", [False, True])
def test_gradients_are_summed_in_one_order(rng, linear):
    """TensorFlow begins a sum of three with the one that is free first, and the threads decide which that is."""
    import tensorflow as tf

    model = compiled_refinement(SHAPE, LEADING_MARGIN, MARGIN, similarity="lncc+30*mind", linear=linear)
    step = tf.function(model.train_step, autograph=False).get_concrete_function((a_pair(rng), None, None))
    sums = [len(operation.inputs) for operation in step.graph.get_operations() if operation.type == "AddN"]
    assert sums
    assert max(sums) == 2


def test_loss_that_is_not_finite_is_an_error(models, rng):
    pair = a_pair(rng)
    pair["moving"] = pair["moving"] * np.nan
    model = models(SHAPE, LEADING_MARGIN, MARGIN)
    with pytest.raises(FloatingPointError, match="not finite"):
        minimise(model, pair, 3, 0.2)


def test_anchor_takes_its_part_of_the_displacement(rng):
    model = DeformableRefinement(SHAPE, (0, 0, 0), MARGIN, anchor="centre")
    displacement = rng.normal(size=model.displacement.shape).astype("float32")
    model.displacement.assign(displacement)
    centred = np.array(model.centred_displacement())
    for d, n in enumerate(displacement.shape[1:4]):
        line = np.moveaxis(centred[0, ..., d], d, -1)
        middle = line[..., (n - 1) // 2 : n // 2 + 1].mean(-1)
        np.testing.assert_allclose(middle, 0, atol=1e-6)
        np.testing.assert_allclose(
            np.diff(line, axis=-1), np.diff(np.moveaxis(displacement[0, ..., d], d, -1), axis=-1), atol=1e-5
        )


@pytest.mark.parametrize("similarity", ["lncc", "lncc+30*mind"])
def test_what_lies_right_stays(models, rng, similarity):
    """Steps of one length leave the best place, so the model goes back to it."""
    pair = a_pair(rng)
    model = models(SHAPE, LEADING_MARGIN, MARGIN, similarity=similarity)
    model.displacement.assign(np.zeros(model.displacement.shape))
    losses = minimise(model, pair, 8, 0.3)
    assert losses[0] < 1e-4
    assert losses[-1] > losses[0]
    np.testing.assert_array_equal(model.displacement, 0)


def test_field_adam_takes_steps_of_one_length(rng):
    """Without smoothing and evenness the first step has the learning rate's length at every vector."""
    variable = keras.Variable(np.zeros((1, 3, 4, 5, 3), "float32"))
    optimizer = FieldAdam(0.25, smoothing=0, evenness=0)
    gradient = rng.normal(size=variable.shape).astype("float32")
    optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
    step = np.array(variable)
    np.testing.assert_allclose(np.linalg.norm(step, axis=-1), 0.25, rtol=1e-4)
    np.testing.assert_allclose(step, -0.25 * gradient / np.linalg.norm(gradient, axis=-1, keepdims=True), rtol=1e-4)


def test_field_adam_is_adam_on_single_numbers(rng):
    ours, keras_own = (keras.Variable(np.zeros((7, 1), "float32")) for _ in range(2))
    optimizers = FieldAdam(0.1, beta_2=0.99, smoothing=0, evenness=0), keras.optimizers.Adam(0.1, beta_2=0.99)
    for _ in range(5):
        gradient = ops.convert_to_tensor(rng.normal(size=(7, 1)).astype("float32"))
        for optimizer, variable in zip(optimizers, (ours, keras_own), strict=True):
            optimizer.apply([gradient], [variable])
    np.testing.assert_allclose(ours, keras_own, rtol=1e-3, atol=1e-5)


def test_smoothing_is_scipys(rng):
    field = rng.normal(size=(2, 9, 8, 7, 3)).astype("float32")
    expected = ndimage.gaussian_filter(field, (0, 1.2, 1.2, 1.2, 0), mode="constant", radius=(0, 3, 3, 3, 0))
    np.testing.assert_allclose(gaussian_smoothed(field, 1.2), expected, atol=1e-5)


def test_optimiser_config_round_trip():
    config = FieldAdam(0.3, smoothing=2.0, evenness=0.5).get_config()
    assert FieldAdam.from_config(config).get_config() == config
