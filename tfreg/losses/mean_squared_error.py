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
    """

    def compare(self, fixed: Tensor, warped: Tensor, mask: Tensor | None = None) -> Tensor:
        return weighted_mean(ops.square(fixed - warped), mask)
