"""The signatures of an export against the Keras model, SciPy and the exact transform; which volumes they refuse."""

import re

import keras
import numpy as np
import pytest
from exports import MODELS, SHAPE, answer, volumes
from scipy import ndimage

from tfreg.transforms.deformation import Deformation
from tfreg.transforms.displacement_deformation import DisplacementDeformation
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

if keras.backend.backend() != "tensorflow":
    pytest.skip("exports run on TensorFlow", allow_module_level=True)

import tensorflow as tf

from tfreg.serving.saved_model.signatures import MAX_KEYS


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [SHAPE, (1, 6, 7, 16, 1)])
def test_the_answer_is_the_models(exported, name, shape):
    run, _, _, signatures = exported[name]
    inputs = volumes(shape=shape)
    found, expected = answer(signatures["serving_default"], **inputs), run.network.predict_on_batch(inputs)
    assert set(found) == {"warped", "displacement", "linear", run.config.model.deformation_array}
    assert np.abs(expected["displacement"]).max() > 0.1
    for key in ("warped", "displacement", "linear"):
        if key in expected:
            np.testing.assert_allclose(found[key], expected[key], atol=2e-5)
    if name == "linear":
        assert (found["logits"] == 0).all()
    if name == "deformable":
        np.testing.assert_array_equal(found["linear"], np.tile(np.eye(3, 4), (shape[0], 1, 1)))


@pytest.mark.parametrize("name", MODELS)
def test_matrix_and_control_points_make_the_exact_transform(exported, name):
    run, _, _, signatures = exported[name]
    found = answer(signatures["serving_default"], **volumes())
    lattice, model = Lattice(SHAPE[1:4], np.eye(4)), run.config.model
    if model.head == "displacement":
        deformation = DisplacementDeformation(found["control"][1], SHAPE[1:4], model.stride)
    else:
        deformation = Deformation(found["logits"][1], SHAPE[1:4], model.stride, model.integration, model.anchor)
    transform = Transform(lattice, found["linear"][1], deformation, np.eye(4))
    np.testing.assert_allclose(transform.displacement_mm(lattice), found["displacement"][1], atol=1e-4)


def test_whole_numbers_mean_the_same(exported):
    *_, signatures = exported["both"]
    whole = {name: np.rint(volume * 32767).astype(np.int16) for name, volume in volumes().items()}
    found = answer(signatures["int16"], **whole)
    same = answer(signatures["serving_default"], **{name: (v / 32767).astype(np.float32) for name, v in whole.items()})
    for name, value in same.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_warp_is_scipys(exported, name):
    run, _, _, signatures = exported[name]
    registered = answer(signatures["serving_default"], **volumes())
    earlier = {key: registered[key] for key in ("linear", run.config.model.deformation_array)}
    image = volumes(1)["fixed"]
    labels = np.random.default_rng(2).integers(-3, 100_000, SHAPE, np.int32)
    warped = answer(signatures["warp"], image=image, labels=labels, **earlier)
    index = np.moveaxis(np.indices(SHAPE[1:4]), 0, -1)
    for b in range(SHAPE[0]):
        points = np.moveaxis(index + registered["displacement"][b].astype(np.float64), -1, 0)
        inner = np.all([(p > 0) & (p < n - 1) for p, n in zip(points, SHAPE[1:4], strict=True)], axis=0)
        assert inner.mean() > 0.3
        expected = ndimage.map_coordinates(image[b, ..., 0], points, order=1, mode="nearest")
        np.testing.assert_allclose(warped["image"][b, ..., 0][inner], expected[inner], atol=1e-4)
        # Where a place lies half-way between two voxels, rounding decides.
        clear = (np.abs(points - np.floor(points) - 0.5) > 1e-3).all(axis=0)
        expected = ndimage.map_coordinates(labels[b, ..., 0], points, order=0, mode="constant", cval=0)
        np.testing.assert_array_equal(warped["labels"][b, ..., 0][inner & clear], expected[inner & clear])


def test_a_label_that_is_not_reached_is_background(exported):
    *_, signatures = exported["linear"]
    linear = np.eye(3, 4, dtype=np.float32)[None].copy()
    linear[0, 0, 3] = 100
    shape = (1, *SHAPE[1:])
    logits = np.zeros((1, 6, 7, 5, 3), np.float32)
    found = answer(
        signatures["warp"],
        image=np.ones(shape, np.float32),
        labels=np.full(shape, 7, np.int32),
        linear=linear,
        logits=logits,
    )
    assert (found["labels"] == 0).all()


def test_few_bytes_do_not_ask_for_many_answers(exported):
    """A string tensor without values stands for any number of empty ones."""
    *_, signatures = exported["both"]
    assert len(answer(signatures["config"], key=np.full(MAX_KEYS, b"", object))["config"]) == MAX_KEYS
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"at most {MAX_KEYS} keys a request"):
        answer(signatures["config"], key=np.full(MAX_KEYS + 1, b"", object))


NAN = np.full((1, 4, 4, 4, 1), np.nan, np.float32)
ONES = np.ones((1, 4, 4, 4, 1), np.float32)
RAMP = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 4, 4, 4, 1)
CURE = "; the model was trained on intensities from 0 to {}, to which `intensity` in the answer of `config` brings"


@pytest.mark.parametrize(
    ("fixed", "moving", "text"),
    [
        (NAN, ONES, "fixed holds values that are not finite"),
        (ONES, NAN / 0, "moving holds values that are not finite"),
        (ONES, ONES[:, :3], "fixed and moving must have the same shape"),
        (np.ones((1, 50, 50, 50, 1), np.float32),) * 2 + ("at most 50000 voxels a request",),
        (ONES[:, :0], ONES[:, :0], "fixed must not be empty"),
        (ONES[:0], ONES[:0], "fixed must not be empty"),
    ],
)
def test_bad_volumes_are_refused_in_the_graph(exported, fixed, moving, text):
    *_, signatures = exported["both"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=text):
        answer(signatures["serving_default"], fixed=fixed, moving=moving)


@pytest.mark.parametrize(
    ("volume", "range_got"),
    [
        (2895 * RAMP - 1024, "from -1024 to 1871"),  # Hounsfield units
        (255 * RAMP, "from 0 to 255"),
        (2 * RAMP - 1, "from -1 to 1"),
        (RAMP + 0.01, "from 0.01 to 1.01"),
        (0 * RAMP, "only from 0 to 0"),
        (ONES, "only from 1 to 1"),
        (RAMP / 256, "only from 0 to 0.003906"),
    ],
)
@pytest.mark.parametrize("name", ["fixed", "moving"])
def test_intensities_that_the_model_was_not_trained_on_are_refused_with_both_ranges(exported, name, volume, range_got):
    *_, signatures = exported["both"]
    both = {"fixed": RAMP, "moving": RAMP} | {name: volume}
    text = re.escape(f"{name} holds intensities {range_got}" + CURE.format(1))
    with pytest.raises(tf.errors.InvalidArgumentError, match=text):
        answer(signatures["serving_default"], **both)
    # In a batch a good volume does not hide it.
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name} holds intensities"):
        answer(signatures["serving_default"], **{side: np.concatenate([RAMP, both[side]]) for side in both})


@pytest.mark.parametrize(
    ("volume", "range_got"),
    [
        (2895 * RAMP - 1024, "from -1024 to 1871"),
        (4095 * RAMP, "only from 0 to 4095"),  # what a scanner counts
        (255 * RAMP, "only from 0 to 255"),
        (RAMP, "only from 0 to 1"),
    ],
)
def test_whole_numbers_of_another_scale_are_refused(exported, volume, range_got):
    *_, signatures = exported["both"]
    good = np.rint(32767 * RAMP).astype(np.int16)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=re.escape(f"moving holds intensities {range_got}" + CURE.format(32767))
    ):
        answer(signatures["int16"], fixed=good, moving=np.rint(volume).astype(np.int16))


def test_rounding_beyond_the_range_is_taken(exported):
    *_, signatures = exported["both"]
    found = answer(signatures["serving_default"], fixed=RAMP * np.float32(1.00001) - np.float32(5e-6), moving=RAMP)
    assert np.isfinite(found["warped"]).all()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"linear": np.diag([-1.0, 1, 1, 0]).astype(np.float32)[None, :3]}, "linear mirrors or collapses space"),
        ({"linear": np.zeros((1, 3, 4), np.float32)}, "linear mirrors or collapses space"),
        (
            {"linear": np.eye(3, 4, dtype=np.float32)[None].repeat(2, 0)},
            "linear must be of as many volumes as the image",
        ),
        ({"logits": np.zeros((2, 2, 2, 2, 3), np.float32)}, "logits must be of as many volumes as the image"),
    ],
)
def test_answers_that_are_not_the_images_are_refused(exported, changed, text):
    *_, signatures = exported["both"]
    earlier = {"linear": np.eye(3, 4, dtype=np.float32)[None], "logits": np.zeros((1, 2, 2, 2, 3), np.float32)}
    raw = 2895 * RAMP - 1024  # `warp` takes images as they are
    found = answer(signatures["warp"], image=raw, labels=ONES.astype(np.int32), **earlier)
    np.testing.assert_allclose(found["image"], raw, atol=1e-3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=text):
        answer(signatures["warp"], image=raw, labels=ONES.astype(np.int32), **(earlier | changed))


@pytest.mark.parametrize(("name", "array", "channels"), [("both", "logits", 3), ("displacement", "control", 4)])
def test_control_points_of_another_size_are_refused(exported, name, array, channels):
    *_, signatures = exported[name]
    text = f"{array} must have the sizes of the image divided by 2, rounded up"
    with pytest.raises(tf.errors.InvalidArgumentError, match=text):
        answer(
            signatures["warp"],
            image=ONES,
            labels=ONES.astype(np.int32),
            linear=np.eye(3, 4, dtype=np.float32)[None],
            **{array: np.zeros((1, 4, 2, 2, channels), np.float32)},
        )
