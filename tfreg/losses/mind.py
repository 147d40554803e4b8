"""Self-similarity around every voxel, which images of different modalities share."""

from typing import Any

import keras
from keras import ops

from tfreg.losses.local_ncc import box_mean
from tfreg.losses.similarity import Similarity, weighted_mean
from tfreg.ops.tensor import Tensor

VARIANCE_FLOOR = 1e-8  # intensities are in [0, 1]: structure weaker than 0.0001 counts as flat
# Six of the twelve pairs of neighbours; the others are these pairs mirrored.
PAIRS = [
    ((1, 0, 0), (0, 1, 0)),
    ((1, 0, 0), (0, -1, 0)),
    ((1, 0, 0), (0, 0, 1)),
    ((1, 0, 0), (0, 0, -1)),
    ((0, 1, 0), (0, 0, 1)),
    ((0, 1, 0), (0, 0, -1)),
]


def replicate_border(volume: Tensor, width: int) -> Tensor:
    """Continues `(batch, i, j, k, channels)` by `width` voxels on every side with the nearest voxel."""
    for axis in (1, 2, 3):
        low, high = [slice(None)] * 5, [slice(None)] * 5
        low[axis], high[axis] = slice(0, 1), slice(-1, None)
        volume = ops.concatenate([volume[tuple(low)]] * width + [volume] + [volume[tuple(high)]] * width, axis=axis)
    return volume


def _from_to(volume, starts, sizes):
    """The part of `(batch, i, j, k, 1)` that begins at three indices and has three sizes."""
    i, j, k = (slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
    return volume[:, i, j, k]


def patch_distances(image: Tensor, radius: int, dilation: int, stride: int = 1) -> Tensor:
    """Mean squared differences of the patches about neighbours that share an edge.

    The six neighbours of a voxel x are x ± dilation along an axis; the twelve pairs of them are those that
    do not face each other. Outside the volume, the nearest voxel is read.

    Args:
        image: `(batch, i, j, k, 1)`.
        radius: Positive integer; a patch's side is 2 radius + 1.
        dilation: Positive integer, from a voxel to its neighbours, in voxels.
        stride: Positive integer that divides the dilation: the voxels x are those of indices 0, stride, 2 stride, ...

    Returns:
        `(12, batch, i', j', k', 1)`, with i' = i / stride, rounded up.
    """
    margin = dilation + radius
    sizes = ops.shape(image)[1:4]
    padded = replicate_border(image, margin + dilation)
    neighbours = {
        step: _from_to(padded, [dilation + dilation * n for n in step], [size + 2 * margin for size in sizes])
        for step in dict.fromkeys(step for pair in PAIRS for step in pair)
    }
    differences = [ops.square(neighbours[a] - neighbours[b]) for a, b in PAIRS]
    # From dilation voxels before the image to as many behind it.
    voxels = slice(radius, -radius, stride)
    means = ops.split(box_mean(ops.concatenate(differences, axis=0), 2 * radius + 1, voxels), len(PAIRS), axis=0)
    ahead, sizes = dilation // stride, [-(-size // stride) for size in sizes]
    here = [_from_to(mean, [ahead] * 3, sizes) for mean in means]
    # The pair (-b, -a) is as far apart as (a, b): its distance is that of (a, b) at x - a - b.
    there = [
        _from_to(mean, [ahead * (1 - n - m) for n, m in zip(a, b, strict=True)], sizes)
        for mean, (a, b) in zip(means, PAIRS, strict=True)
    ]
    return ops.stack(here + there)


def descriptors(
    image: Tensor, radius: int = 1, dilation: int = 2, stride: int = 1, mask: Tensor | None = None
) -> Tensor:
    """Twelve numbers a voxel that say how the patches around it resemble each other (MIND-SSC).

    They are exp(-D/V), with D the patch distances and V their mean, kept between 0.001 and 1000 times its own mean
    over the volume.

    Args:
        image: `(batch, i, j, k, 1)`.
        radius, dilation, stride: As `patch_distances` takes them.
        mask: `(batch, i', j', k', 1)`, how much each voxel counts in V's mean, or None.

    Returns:
        `(12, batch, i', j', k', 1)` in [0, 1].
    """
    distances = patch_distances(image, radius, dilation, stride)
    variance = ops.mean(distances, axis=0)  # (batch, i, j, k, 1)
    typical = ops.reshape(weighted_mean(variance, mask), (-1, 1, 1, 1, 1))
    variance = ops.minimum(ops.maximum(variance, 0.001 * typical), 1000.0 * typical)
    return ops.exp(-distances / ops.maximum(variance, VARIANCE_FLOOR))


@keras.saving.register_keras_serializable(package="tfreg")
class MIND(Similarity):
    """Mean squared difference of the self-similarity context (MIND-SSC).

    Its `descriptors` say how parts of a voxel's surroundings resemble each other, not how bright they are: brightness,
    contrast and inversion do not change them. 0 for equal images, some hundredths otherwise: it pulls about a tenth as
    hard as `LocalNCC` and wants a tenth of its smoothness. A mask weighs voxels, in the descriptors' mean too; a
    voxel's patches reach past the mask.

    Args:
        radius: Positive integer; a patch's side is 2 radius + 1 voxels.
        dilation: Positive integer, distance of the six neighbours in voxels.
        stride: Positive integer that divides the dilation: descriptors are compared at every so many voxels along an
            axis. Patches overlap, so that 2 loses little and is several times faster.

    Raises:
        ValueError: If radius, dilation or stride is not a positive integer, or the stride does not divide the dilation.

    Reference:
        Heinrich et al., MICCAI 2013, section 2.

    Example:
        >>> fixed = np.random.default_rng(0).random((1, 12, 12, 12, 1), np.float32)
        >>> loss = tfreg.losses.MIND(radius=1, dilation=2, stride=2)
        >>> round(float(loss(fixed, 1 - fixed)), 4)
        0.0
        >>> float(loss(fixed, np.flip(fixed, axis=1))) > 0.01
        True
    """

    def __init__(self, radius: int = 1, dilation: int = 2, stride: int = 1, name: str = "mind", **kwargs: Any) -> None:
        for argument, value in (("radius", radius), ("dilation", dilation), ("stride", stride)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{argument}` must be a positive integer. Received: {argument}={value!r}")
        if dilation % stride:
            raise ValueError(f"`stride` must divide `dilation`. Received: stride={stride!r}, dilation={dilation!r}")
        super().__init__(name=name, **kwargs)
        self.radius = radius
        self.dilation = dilation
        self.stride = stride

    def compare(self, fixed: Tensor, warped: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            mask = mask[:, :: self.stride, :: self.stride, :: self.stride]
        patches = self.radius, self.dilation, self.stride, mask
        difference = descriptors(fixed, *patches) - descriptors(warped, *patches)
        return weighted_mean(ops.mean(ops.square(difference), axis=0), mask)

    def on_every_second_voxel(self) -> "MIND | None":
        """With neighbours as far away, and patches of as many voxels; it pulls about half as hard."""
        if self.dilation % 2:
            return None
        return MIND(self.radius, self.dilation // 2, max(1, self.stride // 2))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "radius": self.radius, "dilation": self.dilation, "stride": self.stride}
