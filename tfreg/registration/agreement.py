"""Agreement of a pair before registration, after the initial alignment, and after registration."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfreg.metrics.intensity_correlation import correlation
from tfreg.metrics.landmarks import landmark_errors_mm, summary_of_errors
from tfreg.metrics.overlap import dice_by_label, labels_in, lost_labels
from tfreg.registration.image_pair import ImagePair
from tfreg.registration.registration_report import StageMetrics, StagesReport
from tfreg.transforms.transform import Transform, moving_positions
from tfreg.volumes.padding import measured_voxels
from tfreg.volumes.resampling import is_inside, sample
from tfreg.volumes.volume import Volume


class Stage:
    """A pair as one transform brings it together, on the fixed lattice; displaced and sampled once.

    Args:
        pair: An `ImagePair`.
        transform: A `Transform`.
        measured: `(i, j, k)` bool, where the fixed and where the moving image hold a measurement.
        displacement_mm: `(i, j, k, 3)`, the transform's displacement on the fixed lattice, if it is there already.

    Attributes:
        positions: `(i, j, k, 3)`, where the moving image is read, in its voxels.
        inside: `(i, j, k)` bool, where it reaches.
        seen: The moving image on the fixed lattice, read linearly, a `Volume`; NaN where it does not reach, or measured
            nothing.
    """

    def __init__(
        self,
        pair: ImagePair,
        transform: Transform,
        measured: tuple[np.ndarray, np.ndarray],
        displacement_mm: np.ndarray | None = None,
    ) -> None:
        self.pair, self.transform = pair, transform
        self.fixed_measured, self.moving_measured = measured
        lattice = pair.fixed.lattice
        if displacement_mm is None:
            displacement_mm = transform.displacement_mm(lattice)
        self.positions = moving_positions(pair.moving.lattice, lattice, displacement_mm)
        self.inside = is_inside(self.positions, pair.moving.shape)
        self.seen = self._read("linear", np.nan)

    def warped(self, interpolation: str, background: float) -> Volume:
        """The moving image on the fixed lattice.

        Args:
            interpolation: "linear" or "cubic".
            background: Value where the moving image does not reach, or measured nothing.

        Returns:
            A `Volume`.
        """
        if interpolation != "linear":
            return self._read(interpolation, background)
        return self.seen.with_array(np.where(np.isnan(self.seen.array), np.float32(background), self.seen.array))

    def _read(self, interpolation, background):
        array = sample(self.pair.moving.array, self.positions, interpolation, background, self.moving_measured)
        return Volume(array, self.pair.fixed.affine, frame=self.pair.moving.frame)

    def metrics(self, warped: Volume | None = None) -> StageMetrics:
        """How well the pair agrees.

        Args:
            warped: The moving image on the fixed lattice as it is written, a `Volume`; None is `seen`.

        Returns:
            The `StageMetrics`.
        """
        pair = self.pair
        # What was not measured in either image is not compared.
        considered = self.fixed_measured & ~np.isnan(self.seen.array)
        if pair.fixed_mask is not None:
            considered &= pair.fixed_mask.array != 0
        result: dict[str, Any] = {
            "correlation": correlation(pair.fixed.array, (self.seen if warped is None else warped).array, considered),
            "outside_fraction": float(1 - self.inside.mean()),
        }
        if pair.fixed_labels is not None and pair.moving_labels is not None:
            both = pair.fixed_labels.array, sample(pair.moving_labels.array, self.positions, "nearest", 0)
            labels = labels_in(pair.fixed_labels.array, pair.moving_labels.array)
            dice = dice_by_label(*both, labels)
            result["dice"] = {str(label): value for label, value in dice.items()}
            result["mean_dice"] = float(np.mean(list(dice.values()))) if dice else None
            result["lost_labels"] = [str(label) for label in lost_labels(*both, labels)]
        if pair.fixed_points is not None and pair.moving_points is not None:
            differences = landmark_errors_mm(self.transform, pair.fixed_points, pair.moving_points)
            result["landmarks"] = summary_of_errors(differences)
        return StageMetrics(**result)


@dataclass(frozen=True, eq=False)
class Agreement:
    """What the three stages of a registration show.

    Args:
        metrics: The `StagesReport`.
        warped: The moving image on the fixed lattice after registration, a `Volume`.
        seen_before: The moving image on the fixed lattice after the initial alignment, as `Stage.seen`.
        seen_after: The same after registration.
    """

    metrics: StagesReport
    warped: Volume
    seen_before: Volume
    seen_after: Volume


def agreement(
    pair: ImagePair,
    init: np.ndarray,
    transform: Transform,
    displacement_mm: np.ndarray,
    interpolation: str = "linear",
    background: float = 0.0,
) -> Agreement:
    """Brings a pair together by the headers alone, by the initial alignment, and by the transform found.

    Args:
        pair: An `ImagePair`.
        init: `(4, 4)`, the initial alignment, fixed world to moving world.
        transform: The `Transform` found.
        displacement_mm: `(i, j, k, 3)`, its displacement on the fixed lattice.
        interpolation, background: See `Stage.warped`.

    Returns:
        An `Agreement`.
    """
    measured = measured_voxels(pair.fixed.array)[0], measured_voxels(pair.moving.array)[0]

    def unregistered(world_map):
        """Metrics and image of the stage that a matrix makes; its positions, which are many, are gone by the next."""
        stage = Stage(pair, Transform.identity(pair.fixed.lattice, world_map), measured)
        return stage.metrics(), stage.seen

    before, seen_before = unregistered(np.eye(4))
    after_init = before
    if not np.array_equal(init, np.eye(4)):
        after_init, seen_before = unregistered(init)
    stage = Stage(pair, transform, measured, displacement_mm)
    warped = stage.warped(interpolation, background)
    metrics = StagesReport(before=before, after_init=after_init, after=stage.metrics(warped))
    return Agreement(metrics, warped, seen_before, stage.seen)
