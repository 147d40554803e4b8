"""Batches of random pairs with the true displacement, for `model.fit`."""

import keras
from keras import ops

from tfreg.config import SimulatedPairs
from tfreg.simulation.random_pairs.pairs import pairs_of

# The epoch whose pairs no training sees.
HELD_OUT = 2**31


class SimulatedDataset(keras.utils.PyDataset):
    """Random batches, of one side after the other; each depends on the seed, the epoch and its index alone.

    Args:
        options: What is drawn.
        steps: Batches an epoch.
        seed: Of the training.
        epoch: Which the batches are of; a callback sets it.
    """

    def __init__(self, options: SimulatedPairs, steps: int, seed: int, epoch: int = 0) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=2)
        self.options = options
        self.steps = steps
        self.seed = seed
        self.epoch = epoch

    @property
    def num_batches(self):
        return self.steps

    def __getitem__(self, index):
        # Counted over epochs, so that no side is favoured where epochs do not end with the last one.
        number = (self.epoch * self.steps + index) % len(self.options.sides)
        pairs = pairs_of(self.options, self.options.sides[number], self.options.batch_sizes[number])
        batch = pairs((self.seed, self.epoch, index))
        target = ops.concatenate([batch["displacement"], batch["weight"]], axis=-1)
        images = {name: batch[name] for name in ("fixed", "moving")}
        if keras.backend.backend() != "jax":  # where arrays on the accelerator go on as they are
            images, target = {name: ops.convert_to_numpy(x) for name, x in images.items()}, ops.convert_to_numpy(target)
        return images, target
