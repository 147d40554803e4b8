"""Mean squared difference of intensities."""

import keras
from keras import ops

from tfreg.losses.similarity import Similarity, weighted_mean
from tfreg.ops.tensor import Tensor


@keras.saving.register_keras_serializable(package="tfreg")
class MeanSquaredError(Similarity):
    """The mean over voxels of (fixed - warped)², the paper's similarity.

    Reference:
        Christodoulidis et al. 2018, eq. 4; the mean rather than the sum, so that it does not grow with
        the volume.

    Example:
        >>> fixed = np.random.default_rng(0).random((1, 12, 12, 12, 1), np.float32)
        >>> loss = tfreg.losses.MeanSquaredError()
        >>> round(float(loss(fixed, fixed + 0.1)), 4)
        0.01
    """

    def compare(self, fixed: Tensor, warped: Tensor, mask: Tensor | None = None) -> Tensor:
        return weighted_mean(ops.square(fixed - warped), mask)
