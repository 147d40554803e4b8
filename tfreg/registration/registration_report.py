"""`RegistrationReport`: what report.json says of a registration."""

from typing import Any, ClassVar, Literal

from tfreg.io.json_files import Block, Measured, Record
from tfreg.metrics.landmarks import LandmarkErrors
from tfreg.metrics.volume_change import VolumeChange
from tfreg.preprocessing.aligned_pair import Side
from tfreg.transforms.certificate import Certificate

Matrix = tuple[tuple[float, ...], ...]


class StageMetrics(Block):
    """How well a pair agrees at one stage; what cannot be measured without labels or landmarks is None."""

    correlation: Measured
    outside_fraction: Measured
    dice: dict[str, Measured] | None = None
    mean_dice: Measured = None
    lost_labels: tuple[str, ...] | None = None  # missing on one side, which counts with Dice 0
    landmarks: LandmarkErrors | None = None


class StagesReport(Block):
    """The three stages: by the headers alone, after the initial alignment, after registration."""

    before: StageMetrics
    after_init: StageMetrics
    after: StageMetrics


class Distances(Block):
    """A distribution of distances, mm."""

    mean: Measured
    median: Measured
    p95: Measured


class QualityIndicators(Block):
    """What needs no labels; see `tfreg.registration.verdict.quality_indicators`."""

    local_correlation_before: Measured
    local_correlation: Measured
    outside_fraction: Measured
    implausible_volume_fraction: Measured
    linear_volume_ratio: Measured
    rival: Measured = None
    directions_apart: Measured = None
    inverse_consistency_mm: Distances | None = None
    inverse_consistency: Measured = None
    expected_error_mm: Distances | None = None
    expected_error: Measured = None


class RefinementLevel(Block):
    """One run of the optimiser: a level of the pyramid, in one direction."""

    direction: Literal["forward", "backward"]
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    steps: int
    similarity: str
    loss_first: Measured
    loss_last: Measured


class RefinementStart(Block):
    """Where the finest level could begin: what it is worth by its likeness and roughness, and the seconds it took."""

    name: str
    likeness: Measured
    roughness: float | None = None
    worth: Measured | None = None
    seconds: float


class RefinementReport(Block):
    """How the transform was optimised."""

    settings: dict[str, Any]
    seconds: dict[str, float]
    levels: tuple[RefinementLevel, ...] = ()
    starts: tuple[RefinementStart, ...] = ()
    rival: Measured = None
    directions_apart: Measured = None


class ModelProvenance(Block):
    """Which network predicted; of a server's model also where it was asked."""

    name: str
    sha256: str
    version: int | None = None
    server: str | None = None
    encoding: str | None = None


class PassReport(Block):
    """One pass of a network: voxels of the network grid to one of its grid, that grid, and the seconds it took.

    Of passes that a server made together there are no seconds.
    """

    factor: int
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    seconds: float | None


class GridReport(Block):
    """A lattice: its shape, and its affine, voxel to world RAS+ mm."""

    shape: tuple[int, int, int]
    affine: Matrix


class Residual(Block):
    """What an inverse by iteration misses, voxels."""

    mean: Measured
    max: Measured


class RegistrationReport(Record):
    """What report.json says of a registration.

    Args:
        versions: Of the packages that the result depends on.
        model: The network, or None.
        config: The network's whole config, or None.
        preprocessing: See `tfreg.config.Preprocessing`.
        parts, interpolation, background: See `tfreg.config.RegistrationOptions`.
        network_grid: The transform's own lattice.
        init: `(4, 4)`, the initial alignment, fixed world to moving world, RAS+ mm.
        init_likeness: How alike each kind of initial alignment makes the images, where the best was taken, or None.
        contrast_inverted: The image that was inverted because its contrast is opposite to the other's, or None.
        linear: `(4, 4)`, the whole linear transform, likewise.
        passes: How the network was run, in the order of the passes.
        refinement: How the transform was optimised, or None.
        metrics: How well the pair agrees before and after.
        certificate: Whether the written field folds.
        verdict: "pass" or "review".
        reasons: Why it should be reviewed, sentences.
        quality_indicators: What the verdict is drawn from.
        log_jacobian: Region ("all", "labels", each label) to its change of volume.
        seconds: What each step took.
        warnings: Sentences.
        seed: Of everything random, where a command gave it.
        paths: The inputs' files, where it was asked that they be recorded.
        inverse_residual_voxels: Of an inverse that is not exact, or None.
    """

    FORMAT: ClassVar[int] = 1
    KIND: ClassVar[str] = "a registration"
    CURE: ClassVar[str] = "name a folder that `tfreg register` wrote"
    AGAIN: ClassVar[str] = "register again"

    versions: dict[str, str]
    model: ModelProvenance | None
    config: dict[str, Any] | None
    preprocessing: dict[str, Any]
    parts: str
    interpolation: str
    background: float
    network_grid: GridReport
    init: Matrix
    linear: Matrix
    refinement: RefinementReport | None
    metrics: StagesReport
    certificate: Certificate
    verdict: Literal["pass", "review"]
    reasons: tuple[str, ...]
    quality_indicators: QualityIndicators
    log_jacobian: dict[str, VolumeChange]
    seconds: dict[str, float]
    passes: tuple[PassReport, ...] = ()
    init_likeness: dict[str, Measured] | None = None
    contrast_inverted: Side | None = None
    warnings: tuple[str, ...] = ()
    seed: int | None = None
    paths: dict[str, str] | None = None
    inverse_residual_voxels: Residual | None = None

    @classmethod
    def upgraded(cls, content: dict) -> dict:
        """Files without a format number called two fields otherwise, and the refinement's directions."""
        content["parts"] = content.pop("transform")
        content["quality_indicators"] = content.pop("trust")
        refinement = content["refinement"]
        if refinement is not None:
            directions = {"fixed to moving": "forward", "moving to fixed": "backward"}
            levels = [
                {"direction": directions[level.pop("way", "fixed to moving")], **level}
                for level in map(dict, refinement["levels"])
            ]
            content["refinement"] = refinement | {"levels": levels}
        return content
