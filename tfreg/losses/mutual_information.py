"""Mutual information of intensities, from a smooth joint histogram."""

from typing import Any

import keras
from keras import ops

from tfreg.losses.similarity import Similarity
from tfreg.ops.tensor import Tensor

SMALLEST = 1e-10  # probability below which log p stops falling


def cubic_windows(fraction: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The cubic B-spline at the four bins around a position.

    Args:
        fraction: Any shape, in [0, 1]: how far the position lies past the second of the four bins.

    Returns:
        Four tensors of the same shape; they sum to 1.
    """
    rest = 1.0 - fraction
    first, last = rest**3 / 6.0, fraction**3 / 6.0
    second = 2.0 / 3.0 - fraction * fraction + 0.5 * fraction**3
    return first, second, 1.0 - first - second - last, last


def joint_histogram(fixed: Tensor, warped: Tensor, bins: int, mask: Tensor | None = None) -> Tensor:
    """Counts pairs of intensities through Parzen windows.

    The fixed image's window is a box: bin floor(bins x). The warped image's is a cubic B-spline about
    bin 1 + (bins - 3) x, so that its four bins always exist. Intensities are clipped to [0, 1]. Only those
    four weights of a voxel are held, never a row of all bins.

    Args:
        fixed: `(batch, i, j, k, 1)`, in [0, 1]. Gets no gradient.
        warped: `(batch, i, j, k, 1)`, in [0, 1].
        bins: Integer of at least 4.
        mask: `(batch, i, j, k, 1)`, weights of at least 0, or None for all voxels alike.

    Returns:
        `(batch, bins, bins)` float32, fixed bins first. Sums to the mask's sum; twice differentiable in
        the warped intensities.
    """
    fixed, warped = ops.cast(fixed, "float32"), ops.cast(warped, "float32")
    row = ops.clip(ops.cast(ops.floor(fixed * bins), "int32"), 0, bins - 1)
    position = 1.0 + ops.clip(warped, 0.0, 1.0) * (bins - 3)
    below = ops.clip(ops.cast(ops.floor(position), "int32"), 1, bins - 3)
    weights = list(cubic_windows(position - ops.cast(below, "float32")))
    if mask is not None:
        weights = [weight * ops.cast(mask, "float32") for weight in weights]
    # A histogram for every slab: float32 stops counting where a flat background fills one bin.
    batch, slabs = ops.shape(fixed)[0], ops.shape(fixed)[1]
    slab = ops.reshape(ops.arange(batch * slabs, dtype="int32"), (batch, slabs, 1, 1, 1))
    first = ops.reshape((slab * bins + row) * bins + below - 1, (-1,))
    counts = 0.0
    for n, weight in enumerate(weights):
        counts += ops.segment_sum(ops.reshape(weight, (-1,)), first + n, batch * slabs * bins * bins)
    return ops.sum(ops.reshape(counts, (batch, slabs, bins, bins)), axis=1)


def entropy(probabilities: Tensor, axis: int | tuple[int, ...]) -> Tensor:
    """-Σ p log p in nats, 0 log 0 being 0; its gradient is finite."""
    return -ops.sum(probabilities * ops.log(ops.maximum(probabilities, SMALLEST)), axis=axis)


@keras.saving.register_keras_serializable(package="tfreg")
class MutualInformation(Similarity):
    """One minus the mutual information as a share of the two images' mean entropy.

    1 - 2 I / (H(fixed) + H(warped)), between 0 (each image determines the other) and 1 (unrelated, a flat
    image, an empty mask). It equals 2/Y - 1, where Y = (H(fixed) + H(warped)) / H(fixed, warped) is
    Studholme's normalised mutual information, so it has the same optimum; this form pulls about as hard as
    `LocalNCC` and wants the same smoothness. The smooth window keeps it above 0 for equal images, near
    0.3. A one-to-one change of intensities, inversion included, matters only as far as it moves them
    between bins.

    Args:
        bins: Integer of at least 4, bins per image.

    Raises:
        ValueError: If there are too few bins.

    Reference:
        Mattes et al., IEEE TMI 2003 (box and cubic B-spline windows); Viola and Wells, IJCV 1997;
        Studholme et al., Pattern Recognition 1999 (normalisation); Maes et al., IEEE TMI 1997 (this one).

    Example:
        >>> fixed = np.random.default_rng(0).random((1, 12, 12, 12, 1), np.float32)
        >>> loss = tfreg.losses.MutualInformation(bins=16)
        >>> float(loss(fixed, np.sqrt(fixed))) < float(loss(fixed, np.flip(fixed, axis=1)))
        True
    """

    def __init__(self, bins: int = 32, name: str = "mi", **kwargs: Any) -> None:
        if not isinstance(bins, int) or bins < 4:
            raise ValueError(f"`bins` must be an integer of at least 4. Received: bins={bins!r}")
        super().__init__(name=name, **kwargs)
        self.bins = bins

    def compare(self, fixed: Tensor, warped: Tensor, mask: Tensor | None = None) -> Tensor:
        counts = joint_histogram(fixed, warped, self.bins, mask)
        joint = counts / ops.maximum(ops.sum(counts, axis=(1, 2), keepdims=True), 1e-6)
        single = entropy(ops.sum(joint, axis=2), axis=1) + entropy(ops.sum(joint, axis=1), axis=1)
        information = single - entropy(joint, axis=(1, 2))
        return 1.0 - 2.0 * information / ops.maximum(single, 1e-6)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bins": self.bins}
