"""A dilated convolution as ordinary ones, on every d-th voxel along each axis."""

from keras import ops

from tfreg.ops.tensor import Tensor


def convolve_by_batches(features: Tensor, kernel: Tensor, dilation: int) -> Tensor:
    """A dilated 3D convolution that keeps the size, computed by ordinary convolutions of interleaved parts.

    Every d-th voxel along each axis makes a small volume, d³ of them in all, in which the kernel's taps are
    neighbours. XLA turns the weight gradient of a dilated convolution into a convolution with a kernel as large as the
    image; that of an ordinary one is fast.

    Args:
        features: `(batch, i, j, k, channels)`, any sizes; zeros continue them outside.
        kernel: `(a, b, c, channels, filters)`, of odd sizes.
        dilation: Voxels d between the kernel's taps, a positive integer.

    Returns:
        `(batch, i, j, k, filters)`, equal to the dilated convolution but for rounding.
    """
    if dilation == 1:
        return ops.conv(features, kernel, padding="same", data_format="channels_last")
    batch, *sizes, channels = ops.shape(features)
    parts = [-(-size // dilation) for size in sizes]
    after = [part * dilation - size for part, size in zip(parts, sizes, strict=True)]
    features = ops.pad(features, [(0, 0), *((0, count) for count in after), (0, 0)])
    # (batch, i/d, d, j/d, d, k/d, d, channels): the three offsets go to the batch.
    split = [count for part in parts for count in (part, dilation)]
    features = ops.transpose(ops.reshape(features, (batch, *split, channels)), (0, 2, 4, 6, 1, 3, 5, 7))
    features = ops.reshape(features, (batch * dilation**3, *parts, channels))
    result = ops.conv(features, kernel, padding="same", data_format="channels_last")
    result = ops.reshape(result, (batch, *[dilation] * 3, *parts, kernel.shape[-1]))
    result = ops.transpose(result, (0, 4, 1, 5, 2, 6, 3, 7))
    result = ops.reshape(result, (batch, *[part * dilation for part in parts], kernel.shape[-1]))
    return result[:, : sizes[0], : sizes[1], : sizes[2]]
