"""`Predictor`: what predicts a transform, a trained run, a server's model, or anything else with three attributes."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from tfreg.config import Config, Prediction
from tfreg.preprocessing.aligned_pair import NetworkInput
from tfreg.preprocessing.whole_pair import WholePair
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice


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


@runtime_checkable
class PassesPredictor(Predictor, Protocol):
    """A predictor that makes all passes of a pair at once, where they are those of its schedule.

    Attributes:
        schedule: The `tfreg.config.Prediction` that it makes at once; None where it makes one pass alone.
        max_voxels: Of larger pairs it makes one pass alone, see `WholePair.voxels`.
    """

    @property
    def schedule(self) -> Prediction | None:
        """What it makes at once."""

    @property
    def max_voxels(self) -> int:
        """How large a pair may be."""

    def predict_passes(self, pair: WholePair, lattices: Sequence[Lattice]) -> list[Transform]:
        """Predicts the transforms of all passes, each on the moving image as warped by those before.

        Args:
            pair: The pair as it lies.
            lattices: That of every pass, in the order of the passes.

        Returns:
            A `Transform` a pass: the first leads to the moving image's world, those after it stay in the fixed one's.
        """
