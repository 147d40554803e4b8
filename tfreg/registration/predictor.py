"""`Predictor`: what predicts a transform, a trained run, a server's model, or anything else with three attributes."""

from typing import Any, Protocol, runtime_checkable

from tfreg.config import Config
from tfreg.preprocessing.aligned_pair import NetworkInput
from tfreg.transforms.transform import Transform


@runtime_checkable
class Predictor(Protocol):
    """What predicts a pair's transform in one forward pass.

    Attributes:
        config: How it wants the pair to be prepared, and what it predicts.
        provenance: What a report says of it: `name`, `sha256`, and of a server `version`, `server`, `encoding`.
    """

    @property
    def config(self) -> Config:
        """How it wants the pair to be prepared, and what it predicts."""

    @property
    def provenance(self) -> dict[str, Any]:
        """What a report says of it."""

    def predict(self, pair: NetworkInput) -> Transform:
        """Predicts a transform.

        Args:
            pair: The pair on the network grid.

        Returns:
            The `Transform`, fixed world to moving world.
        """
