"""Batches depend on seed, epoch and index alone; images and labels stay together, and are what `register` sees."""

import threading

import keras
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tfreg.config import Augmentation, Preprocessing
from tfreg.io.tables.manifest import PairFiles
from tfreg.preprocessing.aligned_pair import labels_onto_network_grid, normalised, prepare_pair
from tfreg.training import pair_dataset
from tfreg.training.epoch_callbacks import EpochOfData
from tfreg.training.pair_dataset import PairDataset, PairSource, augment
from tfreg.volumes.volume import Volume

OUTPUTS = ("warped", "displacement", "linear", "gradients")
GRID = {"orientation": "RAS", "spacing": 2.0, "shape": (9, 12, 10)}
RANDOM = Augmentation(flip_axes=(0, 2), rotation_degrees=8, scale=0.1, moving_rotation_degrees=5, moving_translation=1)


def volumes(count=4, seed=0):
    """Volumes without symmetry by name, as read, under headers of all kinds; and labels on the same voxels."""
    rng = np.random.default_rng(seed)
    images, labels = {}, {}
    for number in range(count):
        shape = tuple(rng.integers(11, 17, 3))
        affine = np.eye(4)
        turn = Rotation.from_euler("xyz", rng.uniform(-40, 40, 3), degrees=True).as_matrix()
        affine[:3, :3] = turn @ np.diag(rng.choice([-1, 1], 3) * rng.uniform(1.2, 2.3, 3))
        affine[:3, 3] = rng.uniform(-5, 5, 3) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
        noise = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5)
        array = (1000 * (noise - noise.min()) / np.ptp(noise)).astype(np.float32)
        images[f"volume {number}"] = Volume(array, affine)
        labels[f"volume {number}"] = Volume(np.digitize(array, [400, 600]).astype(np.uint8), affine)
    return images, labels


def source_of(images, labels, preprocessing=None, **options):
    preprocessing = preprocessing or Preprocessing(network_grid=GRID, intensity={"window": (0, 900)})
    images = {name: normalised(volume, preprocessing.intensity) for name, volume in images.items()}
    return PairSource(images, labels, preprocessing, **options)


def all_pairs(images):
    return [PairFiles(f"{m} to {f}", f, m) for f in images for m in images if f != m]


@pytest.fixture(scope="module")
def source():
    return source_of(*volumes())


@pytest.fixture
def dataset(source):
    """A function that makes a data set of random pairs."""

    def dataset(**options):
        options = {"augmentation": RANDOM, "seed": 3, **options}
        return PairDataset(source, all_pairs(source.images), 2, 5, OUTPUTS, **options)

    return dataset


def equal(batch, other):
    return all(
        np.array_equal(part[name], other_part[name]) and part[name].dtype == other_part[name].dtype
        for part, other_part in zip(batch, other, strict=True)
        for name in part
    )


class Recorder(keras.Model):
    """Keeps the batches that `fit` feeds it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def train_step(self, data):
        self.seen.append(keras.tree.map_structure(np.asarray, data))
        return {"loss": keras.ops.zeros(())}


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX's train_step is compiled")
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_fit_sees_the_same_batches_with_any_workers_and_after_a_resume(dataset, workers):
    def seen(initial_epoch):
        data, model = dataset(workers=workers), Recorder()
        model.compile(run_eagerly=True)
        model.fit(data, epochs=3, initial_epoch=initial_epoch, shuffle=False, verbose=0, callbacks=[EpochOfData(data)])
        return model.seen

    expected = []
    for epoch in range(3):
        data = dataset()
        data.epoch = epoch
        expected += [data[index] for index in range(5)]
    full, resumed = seen(0), seen(2)
    assert len(full) == 15
    assert all(equal(batch, other) for batch, other in zip(full, expected, strict=True))
    assert all(equal(batch, other) for batch, other in zip(resumed, expected[10:], strict=True))


def test_batches_follow_seed_epoch_and_index_alone(dataset):
    def batch(seed, epoch, index):
        data = dataset(seed=seed)
        data.epoch = epoch
        return data[index]

    first = batch(3, 0, 0)
    assert equal(first, batch(3, 0, 0))
    for other in ((4, 0, 0), (3, 1, 0), (3, 0, 1)):
        assert not equal(first, batch(*other))


def test_shapes_types_and_targets(dataset):
    inputs, targets = dataset()[0]
    shape = GRID["shape"]
    assert {name: (value.shape, value.dtype.name) for name, value in inputs.items()} == {
        "fixed": ((2, *shape, 1), "float32"),
        "moving": ((2, *shape, 1), "float32"),
    }
    assert {name: (value.shape, value.dtype.name) for name, value in targets.items()} == {
        "warped": ((2, *shape, 1), "float32"),
        "displacement": ((2, *shape, 2), "int32"),
        "linear": ((2, 1), "float32"),
        "gradients": ((2, 1), "float32"),
    }
    np.testing.assert_array_equal(targets["warped"], inputs["fixed"])
    assert dataset().num_batches == 5


def test_random_pairs_are_spread_over_the_list(source):
    pairs = all_pairs(source.images)
    data = PairDataset(source, pairs, 2, 60, ("warped",))
    moving = {pair: source.pair(*pair)[0] for pair in ((p.fixed, p.moving) for p in pairs)}
    counts = dict.fromkeys(moving, 0)
    for index in range(60):
        inputs, targets = data[index]
        assert set(targets) == {"warped"}
        for both in np.concatenate([inputs["fixed"], inputs["moving"]], axis=-1):
            counts[next(pair for pair, images in moving.items() if np.array_equal(images, both))] += 1
    assert sum(counts.values()) == 120
    assert min(counts.values()) >= 3  # 10 are expected of each of 12


def test_validation_goes_through_the_list_once_in_order(source):
    pairs = all_pairs(source.images)[:5]
    data = PairDataset(source, pairs, 2, None, OUTPUTS)
    assert data.num_batches == 3
    fixed = np.concatenate([data[index][0]["fixed"] for index in range(3)])
    for image, pair in zip(fixed, pairs, strict=True):
        np.testing.assert_array_equal(image[..., 0], source.pair(pair.fixed, pair.moving)[0][..., 0])
    data.epoch = 7
    assert equal(data[1], PairDataset(source, pairs, 2, None, OUTPUTS)[1])


@pytest.mark.parametrize("grid", [GRID, {}], ids=["given grid", "own grid"])
@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("init", ["header", "centre", "moments"])
def test_a_pair_is_what_register_shows_the_network(init, interpolation, grid):
    images, labels = volumes(3, seed=1)
    images["volume 1"].array[0, 0, 0] = np.nan
    images["volume 2"].array[:, :, 0] = -3024
    preprocessing = Preprocessing(
        network_grid=grid, intensity={"window": (100, 900)}, interpolation=interpolation, init=init
    )
    source = source_of(images, labels, preprocessing)
    for pair in all_pairs(images):
        expected = prepare_pair(images[pair.fixed], images[pair.moving], preprocessing)
        pair_images, pair_labels = source.pair(pair.fixed, pair.moving)
        np.testing.assert_array_equal(pair_images[..., 0], expected.fixed)
        np.testing.assert_array_equal(pair_images[..., 1], expected.moving)
        for number, (name, world_map) in enumerate(((pair.fixed, np.eye(4)), (pair.moving, expected.init))):
            nearest = labels_onto_network_grid(labels[name], expected.lattice, world_map)
            np.testing.assert_array_equal(pair_labels[..., number], nearest)


def test_labels_of_one_side_alone_are_left_out():
    images, labels = volumes(2)
    del labels["volume 1"]
    source = source_of(images, labels)
    assert not source.pair("volume 0", "volume 1")[1].any()
    assert not source.pair("volume 1", "volume 0")[1].any()
    assert source.pair("volume 0", "volume 0")[1].any()


def test_with_centres_aligned_each_volume_is_resampled_once(monkeypatch):
    images, labels = volumes(4)
    affine = images["volume 0"].affine
    for number, name in enumerate(images):  # one scanner, people in other places
        elsewhere = affine.copy()
        elsewhere[:3, 3] += [7.3 * number, -3.1, 0.7]
        images[name] = Volume(images[name].array, elsewhere)
        labels[name] = Volume(labels[name].array, elsewhere)
    calls = []
    original = pair_dataset.onto_network_grid
    monkeypatch.setattr(pair_dataset, "onto_network_grid", lambda *given: calls.append(1) or original(*given))
    preprocessing = Preprocessing(network_grid={"spacing": 2.0, "shape": GRID["shape"]}, init="centre")
    source = source_of(images, labels, preprocessing)
    first = {(p.fixed, p.moving): source.pair(p.fixed, p.moving) for p in all_pairs(images)}
    assert len(calls) == 4
    for pair, arrays in first.items():
        for array, again in zip(arrays, source.pair(*pair), strict=True):
            np.testing.assert_array_equal(array, again)
    assert len(calls) == 4


def test_memory_stays_within_its_bound():
    images, labels = volumes(5)
    unbounded = source_of(images, labels)
    one_volume = np.prod(GRID["shape"]) * 8
    bounded = source_of(images, labels, cache_bytes=3 * one_volume + 100)
    for pair in all_pairs(images) * 2:
        for array, expected in zip(
            bounded.pair(pair.fixed, pair.moving), unbounded.pair(pair.fixed, pair.moving), strict=True
        ):
            np.testing.assert_array_equal(array, expected)
        assert bounded._bytes == one_volume * len(bounded._cache) <= 3 * one_volume
    assert len(bounded._cache) == 3
    assert len(unbounded._cache) > 3


def test_changing_a_pair_changes_no_other():
    source = source_of(*volumes(2))
    expected = [array.copy() for array in source.pair("volume 0", "volume 1")]
    for array in source.pair("volume 0", "volume 1"):
        array[:] = 0
    for array, again in zip(expected, source.pair("volume 0", "volume 1"), strict=True):
        np.testing.assert_array_equal(array, again)


def test_threads_share_a_small_cache():
    images, labels = volumes(5)
    expected = {(p.fixed, p.moving): source_of(images, labels).pair(p.fixed, p.moving) for p in all_pairs(images)}
    one_volume = np.prod(GRID["shape"]) * 8
    source = source_of(images, labels, cache_bytes=4 * one_volume)
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for number in rng.integers(len(expected), size=60):
            pair = list(expected)[number]
            if not all(map(np.array_equal, source.pair(*pair), expected[pair])):
                wrong.append(pair)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert source._bytes == sum(a.nbytes + b.nbytes for a, b in source._cache.values()) <= 4 * one_volume


SHAPE = (19, 24, 22)
CENTRE = (np.array(SHAPE) - 1) / 2
COORDINATES = np.stack(np.indices(SHAPE), axis=-1)


def maps(augmentation, seed):
    """The matrices and shifts that augmentation applies to fixed and moving, told from ramps; and where each
    label comes from.
    """
    samples = []
    for axis in range(3):
        ramp = COORDINATES[..., axis].astype(np.float32)
        label = COORDINATES[..., axis].astype(np.int32)
        pair = np.stack([ramp, ramp], axis=-1), np.stack([label, label], axis=-1)
        samples.append(augment(*pair, augmentation, np.random.default_rng(seed)))
    images = np.stack([images for images, _ in samples], axis=-1)  # (i, j, k, 2, 3): where each voxel was read
    labels = np.stack([labels for _, labels in samples], axis=-1)
    inner = tuple(slice(n // 4, -(n // 4)) for n in SHAPE)  # away from the border, where ramps are clamped
    design = (COORDINATES - CENTRE)[inner].reshape(-1, 3)
    design = np.column_stack([design, np.ones(len(design))])
    found = []
    for side in range(2):
        places = images[inner][..., side, :].reshape(-1, 3) - CENTRE
        solution, *_ = np.linalg.lstsq(design, places, rcond=None)
        np.testing.assert_allclose(design @ solution, places, atol=1e-4)
        found.append((solution[:3].T, solution[3]))
        # Labels are read at the nearest voxel to the same place.
        nearest = np.abs(labels[inner][..., side, :] - images[inner][..., side, :])
        assert nearest.max() <= 0.5 + 1e-3
    return found


def angles(matrix):
    return np.abs(Rotation.from_matrix(matrix).as_euler("xyz", degrees=True))


@pytest.mark.parametrize("axes", [(0,), (1, 2)])
def test_flips_mirror_images_and_labels_alike(axes):
    seen = set()
    for seed in range(24):
        (fixed, fixed_shift), (moving, moving_shift) = maps(Augmentation(flip_axes=axes), seed)
        np.testing.assert_allclose(fixed, np.diag(np.diag(fixed)), atol=1e-5)
        np.testing.assert_allclose(np.abs(np.diag(fixed)), 1, atol=1e-5)
        np.testing.assert_allclose(moving, fixed, atol=1e-5)
        np.testing.assert_allclose([fixed_shift, moving_shift], 0, atol=1e-4)
        seen.add(tuple(np.flatnonzero(np.diag(fixed) < 0)))
    assert seen == ({(), (0,)} if axes == (0,) else {(), (1,), (2,), (1, 2)})


def test_rotation_and_scale_turn_both_volumes_alike():
    for seed in range(8):
        (fixed, fixed_shift), (moving, moving_shift) = maps(Augmentation(rotation_degrees=9, scale=0.15), seed)
        scale = np.cbrt(np.linalg.det(fixed))
        assert 0.85 <= scale <= 1.15
        assert abs(scale - 1) > 1e-3
        np.testing.assert_allclose(fixed.T @ fixed, scale**2 * np.eye(3), atol=1e-4)
        assert 0.1 < angles(fixed / scale).max() <= 9.01
        np.testing.assert_allclose(moving, fixed, atol=1e-5)
        np.testing.assert_allclose([fixed_shift, moving_shift], 0, atol=1e-4)  # about the centre


def test_moving_alone_leaves_the_fixed_volume_as_it_is(rng):
    augmentation = Augmentation(moving_rotation_degrees=7, moving_translation=2.5)
    for seed in range(8):
        (fixed, fixed_shift), (moving, moving_shift) = maps(augmentation, seed)
        np.testing.assert_allclose(fixed, np.eye(3), atol=1e-6)
        np.testing.assert_allclose(fixed_shift, 0, atol=1e-5)
        np.testing.assert_allclose(moving.T @ moving, np.eye(3), atol=1e-4)
        assert 0.1 < angles(moving).max() <= 7.01
        assert 0.1 < np.abs(moving_shift).max() <= 2.5 + 1e-4
    images = rng.random((9, 8, 10, 2)).astype(np.float32)
    labels = rng.integers(0, 5, (9, 8, 10, 2)).astype(np.int32)
    changed = augment(images, labels, augmentation, np.random.default_rng(0))
    for before, after in zip((images, labels), changed, strict=True):
        assert (after.dtype, after.shape) == (before.dtype, before.shape)
        np.testing.assert_array_equal(after[..., 0], before[..., 0])
        assert (after[..., 1] != before[..., 1]).mean() > 0.3


def test_by_default_nothing_is_changed(rng):
    images = rng.random((9, 8, 10, 2)).astype(np.float32)
    labels = rng.integers(0, 5, (9, 8, 10, 2)).astype(np.int32)
    for before, after in zip((images, labels), augment(images, labels, Augmentation(), rng), strict=True):
        np.testing.assert_array_equal(after, before)


def test_beyond_the_border_its_value_goes_on(rng):
    images = np.full((9, 8, 10, 2), 0.7, np.float32)
    labels = np.full((9, 8, 10, 2), 3, np.int32)
    changed = augment(images, labels, Augmentation(moving_translation=4, rotation_degrees=20), rng)
    np.testing.assert_allclose(changed[0], 0.7, atol=1e-6)
    np.testing.assert_array_equal(changed[1], 3)
