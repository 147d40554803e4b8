"""The optimiser for displacement fields."""

import keras
import numpy as np
from keras import ops
from scipy import ndimage

from tfreg.refinement.field_adam import FieldAdam, gaussian_smoothed


def moved(rule, variable, gradients, rate):
    """Where the steps along some gradients lead."""
    mean, square = np.zeros_like(variable), np.zeros_like(variable[..., :1])
    for number, gradient in enumerate(gradients, start=1):
        tensors = map(ops.convert_to_tensor, (gradient, variable, mean, square))
        variable, mean, square = rule(*tensors, rate, np.float32(number))
    return ops.convert_to_numpy(variable)


def test_takes_steps_of_one_length(rng):
    """Without smoothing and evenness the first step has the learning rate's length at every vector."""
    gradient = rng.normal(size=(1, 3, 4, 5, 3)).astype("float32")
    step = moved(FieldAdam(smoothing=0, evenness=0), np.zeros_like(gradient), [gradient], 0.25)
    np.testing.assert_allclose(np.linalg.norm(step, axis=-1), 0.25, rtol=1e-4)
    np.testing.assert_allclose(step, -0.25 * gradient / np.linalg.norm(gradient, axis=-1, keepdims=True), rtol=1e-4)


def test_is_adam_on_single_numbers(rng):
    gradients = rng.normal(size=(5, 7, 1)).astype("float32")
    variable, optimizer = keras.Variable(np.zeros((7, 1), "float32")), keras.optimizers.Adam(0.1, beta_2=0.99)
    for gradient in gradients:
        optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
    ours = moved(FieldAdam(smoothing=0, evenness=0), np.zeros((7, 1), "float32"), gradients, 0.1)
    np.testing.assert_allclose(ours, variable, rtol=1e-3, atol=1e-5)


def test_smoothing_is_scipys(rng):
    field = rng.normal(size=(2, 9, 8, 7, 3)).astype("float32")
    expected = ndimage.gaussian_filter(field, (0, 1.2, 1.2, 1.2, 0), mode="constant", radius=(0, 3, 3, 3, 0))
    np.testing.assert_allclose(gaussian_smoothed(field, 1.2), expected, atol=1e-5)
