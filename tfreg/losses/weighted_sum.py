"""Several similarities at once."""

from collections.abc import Sequence
from typing import Any

import keras

from tfreg.losses.similarity import Similarity
from tfreg.ops.tensor import Tensor


@keras.saving.register_keras_serializable(package="tfreg")
class WeightedSum(Similarity):
    """The weighted sum of several similarity losses.

    Args:
        similarities: `Similarity` losses, at least one.
        weights: As many positive numbers.

    Raises:
        ValueError: If there are not as many weights as similarities, or a weight is not positive.

    Example:
        >>> fixed = np.random.default_rng(0).random((1, 12, 12, 12, 1), np.float32)
        >>> terms = [tfreg.losses.MeanSquaredError(), tfreg.losses.CrossCorrelation()]
        >>> loss = tfreg.losses.WeightedSum(terms, weights=(1.0, 0.5))
        >>> round(float(loss(fixed, fixed)), 3)
        0.0
    """

    def __init__(
        self, similarities: Sequence[Similarity], weights: Sequence[float], name: str = "weighted_sum", **kwargs: Any
    ) -> None:
        if not similarities or len(similarities) != len(weights) or min(weights) <= 0:
            raise ValueError(
                "`weights` must be positive, and as many as `similarities`. "
                f"Received: weights={list(weights)}, len(similarities)={len(similarities)}"
            )
        super().__init__(name=name, **kwargs)
        self.similarities = list(similarities)
        self.weights = [float(weight) for weight in weights]

    def compare(self, fixed: Tensor, warped: Tensor, mask: Tensor | None = None) -> Tensor:
        terms = zip(self.weights, self.similarities, strict=True)
        return sum(weight * similarity.compare(fixed, warped, mask) for weight, similarity in terms)

    def on_every_second_voxel(self) -> "WeightedSum | None":
        """The sum of what its terms have."""
        terms = [similarity.on_every_second_voxel() for similarity in self.similarities]
        kept = [term for term in terms if term is not None]
        return WeightedSum(kept, self.weights) if len(kept) == len(terms) else None

    def get_config(self) -> dict[str, Any]:
        similarities = [keras.saving.serialize_keras_object(similarity) for similarity in self.similarities]
        return {**super().get_config(), "similarities": similarities, "weights": self.weights}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WeightedSum":
        similarities = [keras.saving.deserialize_keras_object(entry) for entry in config["similarities"]]
        return cls(**{**config, "similarities": similarities})
