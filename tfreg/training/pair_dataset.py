"""Batches of random pairs for `model.fit`."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tfreg.config import Augmentation, Preprocessing
from tfreg.io.tables.manifest import PairFiles
from tfreg.preprocessing.aligned_pair import labels_onto_network_grid, onto_network_grid, voxel_map
from tfreg.preprocessing.initial_alignment import initial_alignment
from tfreg.preprocessing.network_grid import configured_grid
from tfreg.volumes.volume import Volume

CACHE_BYTES = 2 * 2**30


class PairSource:
    """Preprocessed pairs by name, kept in memory while there is room.

    A volume on the network grid depends on the pair only through the map from grid to volume; with
    centres aligned that map is the same for every partner, and the volume is resampled once.

    Args:
        images: Dictionary of file to normalised image `Volume`.
        labels: Dictionary of the image's file to label `Volume`; images without labels are left out.
        preprocessing: `tfreg.config.Preprocessing`.
        cache_bytes: Memory for resampled volumes; beyond it, those unused for longest are dropped.
    """

    def __init__(
        self,
        images: Mapping[Path, Volume],
        labels: Mapping[Path, Volume],
        preprocessing: Preprocessing,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.images = images
        self.labels = labels
        self.preprocessing = preprocessing
        self.cache_bytes = cache_bytes
        self._inits = {}
        self._cache = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def pair(self, fixed: Path, moving: Path) -> tuple[np.ndarray, np.ndarray]:
        """Returns images `(i, j, k, 2)` float32 and labels `(i, j, k, 2)` int32, fixed first, of two files.

        Labels are 0 where one of the two has none: there is nothing to compare.
        """
        lattice = configured_grid(self.images[fixed].lattice, self.preprocessing.network_grid)
        if (fixed, moving) not in self._inits:
            self._inits[fixed, moving] = initial_alignment(
                self.preprocessing.init, self.images[fixed], self.images[moving]
            )
        init = self._inits[fixed, moving]
        sides = [self._on_grid(fixed, lattice, np.eye(4)), self._on_grid(moving, lattice, init)]
        images, labels = (np.stack(arrays, axis=-1) for arrays in zip(*sides, strict=True))
        if not {fixed, moving} <= set(self.labels):
            labels[:] = 0
        return images, labels

    def _on_grid(self, name, lattice, world_map):
        key = (name, lattice.shape, voxel_map(self.images[name], lattice, world_map).tobytes())
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        image = onto_network_grid(self.images[name], lattice, world_map, self.preprocessing.interpolation)
        if name in self.labels:
            labels = labels_onto_network_grid(self.labels[name], lattice, world_map)
        else:
            labels = np.zeros(lattice.shape, np.int32)
        with self._lock:
            if key not in self._cache:
                self._cache[key] = (image, labels)
                self._bytes += image.nbytes + labels.nbytes
            while self._bytes > self.cache_bytes and len(self._cache) > 1:
                _, old = self._cache.popitem(last=False)
                self._bytes -= sum(array.nbytes for array in old)
        return image, labels


class PairDataset(keras.utils.PyDataset):
    """Batches of pairs as the registration network and its losses take them.

    Every batch depends on the seed, the epoch and its index alone, so that workers and interruptions
    change nothing.

    Args:
        source: A `PairSource`.
        pairs: List of `tfreg.io.tables.manifest.PairFiles`, whose images the source knows.
        batch_size: Pairs a batch.
        steps: Batches an epoch, drawn at random with replacement; None goes through the list in order.
        outputs: The network's output names.
        augmentation: `tfreg.config.Augmentation`, or None.
        seed: Seed of the random pairs.
        workers: Threads that prepare batches ahead.
    """

    def __init__(
        self,
        source: PairSource,
        pairs: Sequence[PairFiles],
        batch_size: int,
        steps: int | None,
        outputs: Sequence[str],
        augmentation: Augmentation | None = None,
        seed: int = 0,
        workers: int = 1,
    ) -> None:
        super().__init__(workers=workers, use_multiprocessing=False, max_queue_size=4)
        self.source = source
        self.pairs = list(pairs)
        self.batch_size = batch_size
        self.steps = steps
        self.outputs = tuple(outputs)
        self.augmentation = augmentation
        self.seed = seed
        self.epoch = 0

    @property
    def num_batches(self):
        return self.steps or -(-len(self.pairs) // self.batch_size)

    def __getitem__(self, index):
        rng = np.random.default_rng((self.seed, self.epoch, index))
        if self.steps:
            chosen = rng.integers(len(self.pairs), size=self.batch_size)
        else:
            chosen = range(index * self.batch_size, min((index + 1) * self.batch_size, len(self.pairs)))
        samples = [self.source.pair(self.pairs[number].fixed, self.pairs[number].moving) for number in chosen]
        if self.augmentation is not None:
            samples = [augment(images, labels, self.augmentation, rng) for images, labels in samples]
        images, labels = (np.stack(arrays) for arrays in zip(*samples, strict=True))
        fixed, moving = images[..., :1], images[..., 1:]
        targets = {
            "warped": fixed,
            "displacement": labels,
            # The penalties compare with the identity and need no target; the expected error has no loss.
            **{name: np.zeros((len(samples), 1), np.float32) for name in ("linear", "gradients", "log_error")},
        }
        return {"fixed": fixed, "moving": moving}, {name: targets[name] for name in self.outputs}


def augment(
    images: np.ndarray, labels: np.ndarray, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Random flips and affine maps of a pair on its network grid.

    Args:
        images: `(i, j, k, 2)` float32, fixed first.
        labels: `(i, j, k, 2)` int32.
        augmentation: `tfreg.config.Augmentation`.
        rng: `numpy.random.Generator`.

    Returns:
        Images and labels of the same shapes. Images are interpolated linearly, labels by nearest
        neighbour, both continued beyond the border by its value.
    """
    flips = [axis for axis in augmentation.flip_axes if rng.random() < 0.5]
    images, labels = np.flip(images, flips), np.flip(labels, flips)

    angles = rng.uniform(-1, 1, 3) * augmentation.rotation_degrees
    common = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    common = common * (1 + rng.uniform(-1, 1) * augmentation.scale)
    angles = rng.uniform(-1, 1, 3) * augmentation.moving_rotation_degrees
    moving = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ common
    shift = rng.uniform(-1, 1, 3) * augmentation.moving_translation

    centre = (np.array(images.shape[:3]) - 1) / 2
    results = []
    for array, order in ((images, 1), (labels, 0)):
        sides = []
        for side, matrix, translation in ((array[..., 0], common, 0.0), (array[..., 1], moving, shift)):
            if not np.array_equal(matrix, np.eye(3)) or np.any(translation):
                side = ndimage.affine_transform(
                    side, matrix, centre - matrix @ centre + translation, order=order, mode="nearest"
                )
            sides.append(side)
        results.append(np.stack(sides, axis=-1))
    return tuple(results)
