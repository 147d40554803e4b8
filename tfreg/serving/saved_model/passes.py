"""All passes of a network as one graph: coarse to fine, each on the moving image as warped so far."""

from collections.abc import Callable

import keras
import tensorflow as tf

from tfreg.config import Prediction
from tfreg.ops.gaussian_smoothing import smoothed
from tfreg.ops.grids import identity_grid, linear_displacement, spatial_shape
from tfreg.ops.trilinear_sampling import sample_trilinear
from tfreg.serving.protocol.signature_names import output_of_pass


class Passes(tf.Module):
    """What `tfreg.registration.passes` does with a network, in tensors.

    Both images are read where they lie, at the maps' own values: nothing is interpolated twice. Coordinates are those
    of the network grid's voxels.

    Args:
        network: The registration network up to `linear`, and `logits` or `control`, those of them that it predicts.
        array: The name of the deformation's array, one of the latter two.
        deformed: What maps points by such an array, on a volume's lattice: a function of all three.
        schedule: A `tfreg.config.Prediction`.
    """

    def __init__(
        self, network: keras.Model, array: str, deformed: Callable[..., tf.Tensor], schedule: Prediction
    ) -> None:
        super().__init__()
        self.array, self.schedule = array, schedule
        volume, points = (tf.TensorSpec((None, None, None, None, channels), tf.float32) for channels in (1, 3))
        matrix, sizes = tf.TensorSpec((3, 4), tf.float64), tf.TensorSpec((3,), tf.int32)
        channels = network.output[array].shape[-1] if array in network.output else None
        values = tf.TensorSpec((None, None, None, None, channels), tf.float32)
        self.network = _function(lambda fixed, moving: network({"fixed": fixed, "moving": moving}), volume, volume)
        self.deformed = _function(deformed, values, volume, points)
        self.read = _function(_read, volume, matrix, tf.TensorSpec((), tf.int32), points)
        self.whole = _function(self._whole, volume, volume, matrix, matrix, sizes)

    def __call__(
        self, fixed: tf.Tensor, moving: tf.Tensor, fixed_map: tf.Tensor, moving_map: tf.Tensor, grid: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The prediction of every pass, and what all of them make together.

        Args:
            fixed, moving: `(batch, i, j, k, 1)` float32 in [0, 1], each on a lattice of its own.
            fixed_map, moving_map: `(3, 4)` float64, from the network grid's voxel coordinates to the volume's.
            grid: `(3,)` int32, the sizes of the network grid.

        Returns:
            Dictionary: of every pass what the network predicts, see `output_of_pass`; `warped` `(batch, i, j, k, 1)`,
            the moving image on the network grid; `displacement` `(batch, i, j, k, 3)`, the composed map less the
            identity, in voxels of the network grid.
        """
        return self.whole(fixed, moving, fixed_map, moving_map, grid)

    def _whole(self, fixed, moving, fixed_map, moving_map, grid):
        """What calling it returns."""
        answer, maps = {}, []

        def mapped(points):
            for part in reversed(maps):
                points = part(points)
            return points

        for number, factor in enumerate(tf.unstack(pass_factors(self.schedule, grid)), 1):
            points = _to_grid(_voxels(-(-grid // factor)), factor)
            pair = (self.read(fixed, fixed_map, factor, points), self.read(moving, moving_map, factor, mapped(points)))
            predicted = self.network(*pair)
            answer |= {output_of_pass(name, number): value for name, value in predicted.items()}
            maps.append(self._map(predicted, pair[0], factor))
        points = _voxels(grid)
        whole = mapped(points)
        return answer | {"displacement": whole - points, "warped": self.read(moving, moving_map, 1, whole)}

    def _map(self, predicted, volume, factor):
        """The function of points of the network grid that one pass predicts on its own, which the volume lies on."""

        def mapped(points):
            points = _from_grid(points, factor)
            if "linear" in predicted:
                points = points + linear_displacement(predicted["linear"], points, spatial_shape(volume))
            if self.array in predicted:
                points = self.deformed(predicted[self.array], volume, points)
            return _to_grid(points, factor)

        return mapped


def pass_factors(schedule: Prediction, grid: tf.Tensor) -> tf.Tensor:
    """How many voxels of the network grid make one along each axis in every pass.

    Args:
        schedule: A `tfreg.config.Prediction`.
        grid: `(3,)` int32, the sizes of the network grid.

    Returns:
        `(passes,)` int32, as `tfreg.registration.passes.levels_of` chooses them.
    """
    coarser, passes = tf.constant(schedule.coarser, tf.int32), schedule.passes
    enough = tf.math.count_nonzero(tf.reduce_min(grid) // coarser >= schedule.least_size, dtype=tf.int32)
    start = len(schedule.coarser) - tf.minimum(enough, passes - 1)
    factors = tf.concat([coarser, tf.ones(passes, tf.int32)], 0)
    return tf.ensure_shape(factors[start : start + passes], (passes,))


def _function(function, *specs):
    """One function of the graph, of tensors as specified, however often it is called.

    Each call of one that is inlined would be optimised for itself, when the first request comes, and would hold on to
    what it computed.
    """
    return tf.function(function, specs, autograph=False, experimental_attributes={"_noinline": True})


def _voxels(shape):
    """`(1, i, j, k, 3)`, the voxels of a lattice of three sizes."""
    return identity_grid(tf.unstack(shape, 3))


def _to_grid(points, factor):
    """From voxels that are blocks of the network grid's, from the same corner on, to the network grid's."""
    factor = tf.cast(factor, tf.float32)
    return points * factor + (factor - 1.0) / 2.0


def _from_grid(points, factor):
    """The inverse of `_to_grid`."""
    factor = tf.cast(factor, tf.float32)
    return (points - (factor - 1.0) / 2.0) / factor


def _read(volume, matrix, factor, points):
    """A volume's values at points of the network grid, zero outside it, as `tfreg.preprocessing` reads them.

    It is smoothed for a step of `factor` voxels of the network grid. What lies outside is decided in float64: of
    lattices with equal voxels whole faces lie on the border.
    """
    step = tf.norm(matrix[:, :3], axis=1) * tf.cast(factor, tf.float64)
    sigmas = tf.cast(tf.sqrt(tf.maximum(step**2 - 1.0, 0.0)) / 2.0, tf.float32)
    i, j, k = (tf.cast(points[..., d], tf.float64) for d in range(3))
    places = tf.stack([row[0] * i + row[1] * j + row[2] * k + row[3] for row in tf.unstack(matrix)], -1)
    last = tf.cast(tf.shape(volume)[1:4], tf.float64) - 0.5
    inside = tf.reduce_all((places >= -0.5) & (places < last), -1, keepdims=True)
    values = sample_trilinear(smoothed(volume, tf.unstack(sigmas)), tf.cast(places, tf.float32))
    return tf.clip_by_value(tf.where(inside, values, 0.0), 0.0, 1.0)
