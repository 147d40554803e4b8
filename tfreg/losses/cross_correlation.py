"""Signed square of the correlation of intensities over the whole volume."""

from typing import Any

import keras
from keras import ops

from tfreg.losses.similarity import Similarity, weighted_mean
from tfreg.ops.tensor import Tensor

VARIANCE_FLOOR = 1e-8  # intensities are in [0, 1]: structure weaker than 0.0001 counts as flat


def _without_mean(image, mask):
    return image - ops.reshape(weighted_mean(image, mask), (-1, 1, 1, 1, 1))


@keras.saving.register_keras_serializable(package="tfreg")
class CrossCorrelation(Similarity):
    """One minus the signed square of the two volumes' normalised cross-correlation.

    cov(fixed, warped) |cov(fixed, warped)| / (var(fixed) var(warped)), with one mean for the whole volume:
    blind to brightness and to the strength of contrast, not to its inversion. 0 for images that are
    rising linear functions of each other, 2 for falling ones; 1 for unrelated ones, a flat image and an
    empty mask. A mask weighs voxels in the means, variances and covariance.

    Reference:
        Lewis, Fast normalized cross-correlation, Vision Interface 1995; its square, with the sign kept.

    Example:
        >>> fixed = np.random.default_rng(0).random((1, 12, 12, 12, 1), np.float32)
        >>> loss = tfreg.losses.CrossCorrelation()
        >>> round(float(loss(fixed, 0.5 * fixed + 0.2)), 3), round(float(loss(fixed, 1 - fixed)), 3)
        (0.0, 2.0)
    """

    def __init__(self, name: str = "ncc", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def compare(self, fixed: Tensor, warped: Tensor, mask: Tensor | None = None) -> Tensor:
        fixed, warped = _without_mean(fixed, mask), _without_mean(warped, mask)
        fixed_variance = weighted_mean(ops.square(fixed), mask) + VARIANCE_FLOOR
        warped_variance = weighted_mean(ops.square(warped), mask) + VARIANCE_FLOOR
        covariance = weighted_mean(fixed * warped, mask)
        return 1.0 - covariance * ops.abs(covariance) / (fixed_variance * warped_variance)
