"""Trilinear up-sampling by a whole factor."""

from keras import ops


def upsample_trilinear(volume, factor):
    """Trilinear up-sampling with half-pixel centres: fine voxel f lies at (f + 1/2) / factor - 1/2.

    Beyond the outermost coarse centres the border's value continues. Written as sums of shifted copies,
    whose gradient is as cheap as the sum itself.

    Args:
        volume: `(batch, i, j, k, channels)`.
        factor: Positive integer.

    Returns:
        `(batch, factor*i, factor*j, factor*k, channels)`.
    """
    if factor == 1:
        return volume
    for axis in (1, 2, 3):
        volume = _upsample_axis(volume, factor, axis)
    return volume


def _upsample_axis(volume, factor, axis):
    def part(start, stop):
        index = [slice(None)] * 5
        index[axis] = slice(start, stop)
        return volume[tuple(index)]

    before = ops.concatenate([part(0, 1), part(0, -1)], axis=axis)
    after = ops.concatenate([part(1, None), part(-1, None)], axis=axis)
    phases = []
    for phase in range(factor):
        shift = (phase + 0.5) / factor - 0.5
        neighbour = before if shift < 0 else after
        phases.append(volume + abs(shift) * (neighbour - volume))
    shape = list(ops.shape(volume))
    shape[axis] = shape[axis] * factor
    return ops.reshape(ops.stack(phases, axis=axis + 1), shape)
