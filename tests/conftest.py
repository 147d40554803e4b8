"""What every test may use."""

import contextlib
import functools
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real volumes; tests that ask for it are skipped where it is absent."""
    folder = Path(os.environ.get("TFREG_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is absent, and TFREG_DATA names no other folder")
    return folder


@pytest.fixture
def rng():
    """Random numbers that are the same in every run."""
    return np.random.default_rng(2018)


@pytest.fixture(params=["accelerated", "portable"])
def path(request):
    """A context in which layers take TensorFlow's fast ways, and one in which they do without."""
    from tfreg.layers.acceleration import portable

    return portable if request.param == "portable" else contextlib.nullcontext


@pytest.fixture(scope="session")
def gradient():
    """`gradient(function, *arrays)`: NumPy gradients of a scalar function with respect to every array."""
    import keras

    @functools.lru_cache
    def differentiated(function, count):
        import jax

        return jax.jit(jax.grad(function, argnums=tuple(range(count))))

    def gradient(function, *arrays):
        arrays = [keras.ops.convert_to_tensor(np.asarray(array, "float32")) for array in arrays]
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                tape.watch(arrays)
                value = function(*arrays)
            results = tape.gradient(value, arrays, unconnected_gradients="zero")
        else:
            results = differentiated(function, len(arrays))(*arrays)
        return [keras.ops.convert_to_numpy(result) for result in results]

    return gradient


@pytest.fixture(scope="session")
def finite_differences():
    """`finite_differences(function, array)`: central differences of a scalar NumPy function, in float64."""

    def finite_differences(function, array, step=1e-5):
        array = np.array(array, "float64")
        result = np.empty_like(array)
        for index in np.ndindex(array.shape):
            centre = array[index]
            array[index] = centre + step
            above = function(array)
            array[index] = centre - step
            result[index] = (above - function(array)) / (2 * step)
            array[index] = centre
        return result

    return finite_differences


@pytest.fixture(scope="session")
def perturb():
    """`perturb(layer, rng)`: adds noise to every weight, so that nothing starts at zero."""

    def perturb(layer, rng, scale=0.05):
        for weight in layer.trainable_variables:
            weight.assign(weight + scale * rng.standard_normal(weight.shape))
        return layer

    return perturb


@pytest.fixture(scope="session")
def integration_reference():
    """`integration_reference(gradients, points, integration, anchor)`: both maps in float64, of one volume.

    Gradients are `(i, j, k, 3)` and points `(..., 3)`; returns the map's values at the points.
    """

    def displacement(gradients, d, anchor):
        size = gradients.shape[d]
        index = np.arange(size).reshape([-1 if axis == d else 1 for axis in range(3)])
        grid = np.cumsum(gradients[..., d], axis=d) - 1
        if anchor == "centre":
            middle = (np.take(grid, [(size - 1) // 2], axis=d) + np.take(grid, [size // 2], axis=d)) / 2
            grid = grid - middle + (size - 1) / 2
        return grid - index

    def sampled(volume, points):
        return ndimage.map_coordinates(volume, np.moveaxis(points, -1, 0), order=1, mode="nearest")

    def integration_reference(gradients, points, integration, anchor):
        fields = [displacement(np.asarray(gradients, "float64"), d, anchor) for d in range(3)]
        points = np.array(points, "float64")
        if integration == "axiswise":
            return points + np.stack([sampled(field, points) for field in fields], axis=-1)
        for d in range(3):
            points[..., d] += sampled(fields[d], points)
        return points

    return integration_reference
