"""What an exported model answers to: its signatures, with the checks inside the graph."""

import math
from collections.abc import Callable

import keras
import tensorflow as tf

from tfreg.config import Model, Prediction
from tfreg.layers.composed_displacement import ComposedDisplacement
from tfreg.layers.displacement import Displacement
from tfreg.layers.gradient_head import GradientHead
from tfreg.layers.linear_grid import LinearGrid
from tfreg.layers.trilinear_sampler import TrilinearSampler
from tfreg.models.registration_network import INTEGRATIONS
from tfreg.serving.protocol.encoding import INT16_SCALE
from tfreg.serving.protocol.signature_names import ALL_PASSES, ONE_PASS
from tfreg.serving.saved_model.passes import Passes

VOLUME = (None, None, None, None, 1)
ROUNDING = 1e-4  # of the range, by which interpolation may leave it
# What a volume must span at least of the range that the network was trained on. The 12 bits in which scanners count
# span less of int16.
MIN_SPAN = 1 / 8
MAX_KEYS = 256  # of one `config` request, since few bytes can ask for many copies of the answer


class Signatures(tf.Module):
    """The functions of an export, by signature.

    `serving_default` takes `fixed` and `moving`, `(batch, i, j, k, 1)` float32 in [0, 1] on the network grid, of which
    each volume spans an eighth at least. It returns `warped` (the same shape), `displacement` `(batch, i, j, k, 3)` in
    voxels, `linear` `(batch, 3, 4)` and `logits` `(batch, ceil(i / stride), ..., 3)`: matrix and logits make the exact
    transform. A model with the displacement head has `control` `(batch, ceil(i / stride), ..., 4)` in their place,
    here and in `warp`: displacements in voxels, and the logarithm of the expected error.
    `int16` takes the same as whole numbers from 0 to 32767, in half the bytes.
    `warp` takes `image` `(batch, i, j, k, 1)` float32, `labels` (the same shape) int32, and `linear` and `logits` of an
    earlier answer; it returns `image`, interpolated linearly, and `labels`, by nearest neighbour.
    `config` takes `key`, `(batch,)` strings that are ignored, 256 at most, and returns `config`, `(batch,)`: what a
    client must know, as JSON.

    Of a network that is run several times for a pair there are two more. `passes` takes `fixed` and `moving`,
    `(batch, i, j, k, 1)` float32 in [0, 1] as they lie, each on a lattice of its own; `fixed_map` and `moving_map`,
    `(3, 4)` float64, from voxel coordinates of the network grid to theirs, the initial alignment included; and `grid`,
    three int32, the sizes of the network grid. It makes all passes of the schedule and returns what each of them
    predicts, `linear_1`, `control_1` (or `logits_1`), `linear_2` ..., those that the model has: they make the exact
    transform; and `warped` and `displacement` of all passes together, on the network grid. `passes_int16` takes the
    volumes as `int16` does.

    Args:
        network: The registration network.
        model: Its options.
        config: The JSON text.
        max_voxels: Larger volumes are refused.
        schedule: The passes that are made for one request, or None for those of one pass alone.
    """

    def __init__(
        self, network: keras.Model, model: Model, config: str, max_voxels: int, schedule: Prediction | None = None
    ) -> None:
        super().__init__()
        outputs = {
            name: network.output[name] for name in ("warped", "displacement", "linear") if name in network.output
        }
        self.array = model.deformation_array
        if model.transform != "linear":
            outputs[self.array] = network.get_layer(self.array).output
        self.head = keras.Model(network.input, outputs)
        self.stride, self.config, self.max_voxels = model.stride, config, max_voxels
        self.linear_grid = None if model.transform == "deformable" else LinearGrid()
        self.channels, deformed = _deformable_part(model)
        self.deformed = None if model.transform == "linear" else deformed
        self.displacement = Displacement()
        self.sampler = TrilinearSampler(model.border)
        self.all_passes = None
        if schedule is not None:
            predicted = {name: outputs[name] for name in model.predicted_arrays}
            self.all_passes = Passes(keras.Model(network.input, predicted), self.array, deformed, schedule)

    def endpoints(self) -> dict[str, tuple[Callable[..., dict[str, tf.Tensor]], list[tf.TensorSpec]]]:
        """Name to function and list of `tf.TensorSpec`."""
        volume, labels = tf.TensorSpec(VOLUME, tf.float32), tf.TensorSpec(VOLUME, tf.int32)
        array = tf.TensorSpec((*VOLUME[:-1], self.channels), tf.float32, self.array)
        warp = {"logits": self.warp_by_logits, "control": self.warp_by_control}[self.array]
        endpoints = {
            ONE_PASS["float32"]: (self.register, [named(volume, "fixed"), named(volume, "moving")]),
            ONE_PASS["int16"]: (
                self.register_int16,
                [tf.TensorSpec(VOLUME, tf.int16, "fixed"), tf.TensorSpec(VOLUME, tf.int16, "moving")],
            ),
            "warp": (
                warp,
                [
                    named(volume, "image"),
                    named(labels, "labels"),
                    tf.TensorSpec((None, 3, 4), tf.float32, "linear"),
                    array,
                ],
            ),
            "config": (self.describe, [tf.TensorSpec((None,), tf.string, "key")]),
        }
        if self.all_passes is not None:
            for name, function, dtype in (
                (ALL_PASSES["float32"], self.passes, tf.float32),
                (ALL_PASSES["int16"], self.passes_int16, tf.int16),
            ):
                pair = [tf.TensorSpec(VOLUME, dtype, side) for side in ("fixed", "moving")]
                maps = [tf.TensorSpec((3, 4), tf.float64, side) for side in ("fixed_map", "moving_map")]
                endpoints[name] = (function, [*pair, *maps, tf.TensorSpec((3,), tf.int32, "grid")])
        return endpoints

    def register(self, fixed, moving):
        """`serving_default`."""
        return self._registered(fixed, moving, 1.0)

    def register_int16(self, fixed, moving):
        """`int16`."""
        return self._registered(tf.cast(fixed, tf.float32), tf.cast(moving, tf.float32), INT16_SCALE)

    def _registered(self, fixed, moving, ceiling):
        """What the network answers to volumes in [0, ceiling]."""
        with tf.control_dependencies(self._size_checks(fixed, moving, ("fixed", "moving"))):
            checks = _intensity_checks(fixed, moving, ceiling)
        with tf.control_dependencies(checks):
            answer = dict(self.head({"fixed": fixed / ceiling, "moving": moving / ceiling}))
        shape = tf.shape(fixed)
        trunk = -(-shape[1:4] // self.stride)
        answer.setdefault("linear", tf.tile(tf.eye(3, 4)[None], [shape[0], 1, 1]))
        answer.setdefault(self.array, tf.zeros(tf.concat([shape[:1], trunk, [self.channels]], 0)))
        return answer

    def passes(self, fixed, moving, fixed_map, moving_map, grid):
        """`passes`."""
        return self._passed(fixed, moving, (fixed_map, moving_map, grid), 1.0)

    def passes_int16(self, fixed, moving, fixed_map, moving_map, grid):
        """`passes_int16`."""
        fixed, moving = tf.cast(fixed, tf.float32), tf.cast(moving, tf.float32)
        return self._passed(fixed, moving, (fixed_map, moving_map, grid), INT16_SCALE)

    def _passed(self, fixed, moving, places, ceiling):
        """What all passes make of volumes in [0, ceiling]; `places` are the two maps and the grid's sizes."""
        fixed_map, moving_map, grid = places
        batch = tf.shape(fixed)[:1]
        few = [
            tf.debugging.assert_equal(tf.shape(moving)[:1], batch, "fixed and moving must be as many volumes"),
            *self._limits(tf.shape(fixed), "fixed"),
            *self._limits(tf.shape(moving), "moving"),
            *self._limits(tf.concat([batch, grid], 0), "grid"),
        ]
        with tf.control_dependencies(few):
            checks = [finite(fixed_map, "fixed_map"), finite(moving_map, "moving_map")]
        with tf.control_dependencies(checks):
            checks = _intensity_checks(fixed, moving, ceiling)
        with tf.control_dependencies(checks):
            return self.all_passes(fixed / ceiling, moving / ceiling, *map(tf.identity, places))

    def warp_by_logits(self, image, labels, linear, logits):
        """`warp` of a model that predicts gradients."""
        return self._warped(image, labels, linear, logits)

    def warp_by_control(self, image, labels, linear, control):
        """`warp` of a model that predicts displacements."""
        return self._warped(image, labels, linear, control)

    def _warped(self, image, labels, linear, array):
        """The image and the labels, read where an earlier answer leads."""
        shape = tf.shape(image)
        fitting = [
            tf.debugging.assert_equal(
                tf.shape(array)[1:4],
                -(-shape[1:4] // self.stride),
                f"{self.array} must have the sizes of the image divided by {self.stride}, rounded up",
            ),
            *(
                tf.debugging.assert_equal(
                    tf.shape(tensor)[0], shape[0], f"{name} must be of as many volumes as the image"
                )
                for tensor, name in ((linear, "linear"), (array, self.array))
            ),
        ]
        with tf.control_dependencies([*fitting, *self._size_checks(image, labels, ("image", "labels"))]):
            checks = [finite(image, "image"), finite(linear, "linear"), finite(array, self.array)]
        with tf.control_dependencies(checks):
            checks = [
                tf.debugging.Assert(
                    tf.reduce_all(tf.linalg.det(linear[..., :3]) > 0), ["linear mirrors or collapses space"]
                )
            ]
        with tf.control_dependencies(checks):
            image = tf.identity(image)
        grid = None if self.linear_grid is None else self.linear_grid(linear, image)
        if self.deformed is not None:
            grid = self.deformed(array, image, grid)
        places = tf.cast(tf.round(grid), tf.int32)
        last = tf.shape(labels)[1:4] - 1
        inside = tf.reduce_all((places >= 0) & (places <= last), axis=-1, keepdims=True)
        nearest = tf.gather_nd(labels[..., 0], tf.clip_by_value(places, 0, last), batch_dims=1)[..., None]
        return {"image": self.sampler(image, grid), "labels": tf.where(inside, nearest, 0)}

    def describe(self, key):
        """`config`."""
        few = tf.debugging.assert_less_equal(tf.size(key), MAX_KEYS, f"at most {MAX_KEYS} keys a request")
        with tf.control_dependencies([few]):
            return {"config": tf.fill(tf.identity(tf.shape(key)), self.config)}

    def _size_checks(self, first, second, names):
        """Operations that fail; what must not be computed before them has to depend on them."""
        same = tf.debugging.assert_equal(
            tf.shape(first), tf.shape(second), f"{names[0]} and {names[1]} must have the same shape"
        )
        return [same, *self._voxel_limits(tf.shape(first), names[0])]

    def _voxel_limits(self, shape, name):
        """Operations that fail unless there are voxels, and not too many."""
        sizes = tf.cast(shape, tf.int64)
        return [
            tf.debugging.assert_positive(sizes, f"{name} must not be empty"),
            tf.debugging.assert_less_equal(
                tf.reduce_prod(sizes),
                tf.constant(self.max_voxels, tf.int64),
                f"at most {self.max_voxels} voxels a request",
            ),
        ]

    def _limits(self, shape, name):
        """`_voxel_limits`, and operations that fail where an axis is too long to be smoothed."""
        longest = tf.cast(tf.reduce_max(shape), tf.int64)
        return [
            *self._voxel_limits(shape, name),
            tf.debugging.assert_less_equal(
                longest, tf.constant(math.isqrt(self.max_voxels), tf.int64), f"{name} has an axis that is too long"
            ),
        ]


def _deformable_part(model):
    """How many channels the array of a deformation has, and the function of it, a volume and points that maps these."""
    if model.head == "displacement":
        displacement = ComposedDisplacement(model.stride)
        return 4, lambda control, volume, points: displacement(control, volume, points)["grid"]
    gradients, integration = GradientHead(model.stride), INTEGRATIONS[model.integration](model.anchor)
    return 3, lambda logits, volume, points: integration(gradients(logits, volume), points)


def _intensity_checks(fixed, moving, ceiling):
    """Operations that fail unless both volumes hold such intensities as a network was trained on."""
    checks = [finite(fixed, "fixed"), finite(moving, "moving")]
    with tf.control_dependencies(checks):
        return [*in_range(fixed, "fixed", ceiling), *in_range(moving, "moving", ceiling)]


def finite(tensor: tf.Tensor, name: str) -> tf.Operation | None:
    """An operation that fails, naming the tensor, where it holds NaN or infinite values."""
    return tf.debugging.Assert(tf.reduce_all(tf.math.is_finite(tensor)), [f"{name} holds values that are not finite"])


def in_range(volume: tf.Tensor, name: str, ceiling: float) -> list[tf.Operation | None]:
    """Operations that fail, naming the ranges got and wanted, unless a network was trained on such intensities.

    Args:
        volume: `(batch, i, j, k, 1)`, finite.
        name: What the message calls it.
        ceiling: What stands for the intensity 1; 0 stands for 0.
    """
    axes = [1, 2, 3, 4]
    lowest, highest = tf.reduce_min(volume, axes), tf.reduce_max(volume, axes)  # (batch,)
    low, high = tf.reduce_min(lowest), tf.reduce_max(highest)
    flattest = tf.argmin(highest - lowest)
    flat_low, flat_high = tf.gather(lowest, flattest), tf.gather(highest, flattest)
    cure = (
        f"; the model was trained on intensities from 0 to {ceiling:g}, to which `intensity` in the answer of `config` "
        "brings an image"
    )
    slack = ROUNDING * ceiling
    return [
        tf.debugging.Assert(
            (low >= -slack) & (high <= ceiling + slack), [_with_numbers(f"{name} holds intensities", low, high, cure)]
        ),
        tf.debugging.Assert(
            tf.reduce_all(highest - lowest >= MIN_SPAN * ceiling),
            [_with_numbers(f"{name} holds intensities only", flat_low, flat_high, cure)],
        ),
    ]


def _with_numbers(what, low, high, cure):
    """A text with two numbers in it."""
    low, high = (tf.strings.as_string(value, precision=4, shortest=True) for value in (low, high))
    return tf.strings.join([f"{what} from ", low, " to ", high, cure])


def named(spec: tf.TensorSpec, name: str) -> tf.TensorSpec:
    """The same `tf.TensorSpec` with a name."""
    return tf.TensorSpec(spec.shape, spec.dtype, name)
