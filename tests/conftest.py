"""What every test may use."""

import contextlib
import functools
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from data_sets import data_folder
from scipy import ndimage
from scipy.spatial.transform import Rotation

pytest_plugins = ["durations", "side_by_side"]

OBLIQUE = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()

AFFINES = {
    "RAS": np.diag([1.5, 1.0, 2.5]),
    "LAS": np.diag([-1.5, 1.0, 2.5]),
    "LPS": np.diag([-1.5, -1.0, 2.5]),
    "SLA": np.array([[0, -1.0, 0], [0, 0, 1.5], [2.5, 0, 0]]),
    "oblique": OBLIQUE @ np.diag([0.8, 1.3, 3.1]),
    "oblique and flipped": OBLIQUE @ np.diag([0.8, -1.3, 3.1]),
}


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real volumes; tests that ask for it are skipped where it is absent."""
    folder = data_folder()
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
    from tfreg.ops.acceleration import portable

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


@pytest.fixture(params=AFFINES.values(), ids=AFFINES.keys())
def affine(request):
    """`(4, 4)`, voxel to world RAS+ mm, with an origin far from zero."""
    matrix = np.eye(4)
    matrix[:3, :3] = request.param
    matrix[:3, 3] = [-31.25, 17.5, 120.75]
    return matrix


@pytest.fixture
def volume(affine):
    """A ramp of unequal sizes and slopes, `(4, 5, 6)` float32."""
    from tfreg.volumes.volume import Volume

    i, j, k = np.indices((4, 5, 6))
    return Volume((100 * i + 10 * j + k - 7.5).astype(np.float32), affine)


@pytest.fixture
def smooth_deformation(rng):
    """`smooth_deformation(shape, ...)`: a `Deformation` of smooth random logits."""

    from tfreg.transforms.deformation import Deformation

    def smooth_deformation(shape, stride=1, scale=1.0, sigma=2.0, **options):
        coarse = (*(-(-n // stride) for n in shape), 3)
        noise = ndimage.gaussian_filter(rng.standard_normal(coarse), (sigma, sigma, sigma, 0))
        return Deformation((scale * noise / noise.std()).astype(np.float32), shape, stride, **options)

    return smooth_deformation


@pytest.fixture(scope="session")
def tools():
    """`placed`, `textured`, `ChosenRun` and the headers' names."""
    import pairs

    return SimpleNamespace(
        placed=pairs.placed, textured=pairs.textured, ChosenRun=pairs.ChosenRun, headers=tuple(pairs.HEADERS)
    )


@pytest.fixture
def pair(tools):
    """A small fixed and moving volume of unequal sizes, spacings and orientations, in one frame."""
    rng = np.random.default_rng(11)
    fixed = tools.textured(rng, (18, 22, 14), tools.placed("oblique", (18, 22, 14), [-30.0, 20, 100]))
    moving = tools.textured(rng, (20, 19, 16), tools.placed("LAS", (20, 19, 16), [-28.0, 21, 101]))
    return fixed, moving


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A manifest of six breathing people, three of them for validation."""
    from tfreg.config import SimulationOptions
    from tfreg.simulation.data_set import simulate

    options = SimulationOptions(subjects=6, shape=(24, 20, 22), spacing=(15, 16, 17), splits=(0.5, 0.5, 0), seed=1)
    return simulate(tmp_path_factory.mktemp("data") / "chests", options)


BROWSER_OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1400,1000 --force-device-scale-factor=1"
)


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    """A headless browser with an empty profile; tests that ask for it are skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    browser, program = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and program):
        pytest.skip("no chromium, or no chromedriver, is on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for option in BROWSER_OPTIONS.split():
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(program))
    yield driver
    driver.quit()
