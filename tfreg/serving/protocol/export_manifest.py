"""What an export says of itself: to clients, and to whoever serves it."""

from dataclasses import dataclass
from typing import Any, ClassVar

from tfreg.io.json_files import Measured, Record

MANIFEST = "assets.extra/tfreg.json"  # in a version folder


@dataclass(frozen=True)
class ExportedModel:
    """A trained model.

    Args:
        name: The name of its run.
        sha256: Of the run's model file.
        version: The number of the export.
    """

    name: str
    sha256: str
    version: int


class ModelManifest(Record):
    """What the signature `config` answers: what a client must know.

    Args:
        model: Which model it is.
        config: Of its run, nested dictionaries for `tfreg.config.parse_config`.
        versions: Of tfreg and the packages that it was exported with.
        signatures: Names of the signatures.
        max_voxels: Larger volumes are refused.
        portable: Whether it runs without oneDNN.
        warm_up_shapes: Sizes of the volumes that a server answers to itself first.
        metrics: The best epoch's columns of history.csv, or None where the run has no report.
    """

    CURE: ClassVar[str] = "export the model again"

    model: ExportedModel
    config: dict[str, Any]
    versions: dict[str, str]
    signatures: tuple[str, ...]
    max_voxels: int
    portable: bool
    warm_up_shapes: tuple[tuple[int, int, int], ...]
    metrics: dict[str, Measured] | None


class ExportManifest(ModelManifest):
    """What lies beside the SavedModel: what clients are told, and what was proved.

    Args:
        largest_difference: By output, how far the answers were from the run's, in a process without tfreg.
        files: SHA-256 of every other file, by its path in the version folder.
    """

    largest_difference: dict[str, float]
    files: dict[str, str]
