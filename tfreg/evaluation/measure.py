"""What a process of `tfreg evaluate` does: registers pairs and measures the results."""

import contextlib
import functools
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfreg.config import BEST, Preprocessing
from tfreg.errors import UserError
from tfreg.evaluation.baselines.registry import BASELINES
from tfreg.evaluation.commands import COMMANDS
from tfreg.evaluation.methods import Method
from tfreg.evaluation.round_trip import round_trip
from tfreg.evaluation.row import Row
from tfreg.io.digests import pair_digest, pairs_digest
from tfreg.io.formats import read_points, read_volume
from tfreg.io.tables.manifest import PairFiles
from tfreg.metrics.landmarks import summary_of_errors
from tfreg.metrics.quality import Quality, displacement_quality
from tfreg.preprocessing.aligned_pair import align_pair
from tfreg.preprocessing.initial_alignment import initial_alignment
from tfreg.registration.best_alignment import best_alignment
from tfreg.registration.image_pair import ImagePair, check_landmark_order, landmark_doubts
from tfreg.registration.trained_run import run_once
from tfreg.report.drawing import optional_picture
from tfreg.runtime.memory import forget_peak, peak_mb
from tfreg.runtime.native_output import STDERR, STDOUT, silenced
from tfreg.runtime.processes import error_text, set_up_once
from tfreg.runtime.resources import Resources
from tfreg.transforms.transform import Transform
from tfreg.volumes.padding import filled

# Volumes that a process keeps, because the next method or pair needs them again.
CACHED_VOLUMES = 6
# Methods that have been called in this process.
_called = set()
_read_volume = functools.lru_cache(maxsize=CACHED_VOLUMES)(read_volume)


@dataclass(frozen=True)
class Task:
    """One pair to be registered by one method.

    Args:
        experiment: Which table it belongs to.
        pair: A `PairFiles`.
        method: A `Method`.
        digest: Of the pair's files as they were when the task was made.
        size: Of the fixed image, by its header.
        picture: The PNG file to draw, or None.
        segmentations: Dictionary of another column to the same pair with its segmentations.
        run: When the command began.
        isolated: Whether its process serves its method alone.
    """

    experiment: str
    pair: PairFiles
    method: Method
    digest: str
    size: tuple = ()
    picture: Path | None = None
    segmentations: dict[str, PairFiles] = field(default_factory=dict)
    run: str | None = None
    isolated: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells its result from all others."""
        return self.experiment, self.pair.id, self.method.name

    def row(self, **values: Any) -> Row:
        """Its result.

        Args:
            values: What was measured; see `Row`.
        """
        experiment, pair, method = self.key
        people = {"fixed_subject": self.pair.fixed_subject, "moving_subject": self.pair.moving_subject}
        return Row(
            experiment=experiment, pair=pair, method=method, digest=self.digest, run=self.run, **people, **values
        )


def measure(task: Task, resources: Resources) -> Row:
    """Registers and measures; whatever goes wrong is in the result.

    Args:
        task: A `Task`.
        resources: What a process may use.

    Returns:
        A `Row`.
    """
    try:
        with silenced(STDOUT, STDERR):  # the tools print what they like
            values = _measured(task, resources)
            if digest_of_all(task.pair, task.segmentations) != task.digest:
                raise UserError("the pair's files changed while they were measured; give the same command again")
            return task.row(**values)
    # One pair that fails, whatever the reason, must not cost the others.
    except Exception as error:
        return task.row(error=error_text(error, task.pair))


def digest_of_all(pair: PairFiles, segmentations: dict[str, PairFiles]) -> str:
    """A text that changes when the content of one of a pair's files does, those of other columns among them."""
    return pairs_digest([pair, *segmentations.values()]) if segmentations else pair_digest(pair)


def _measured(task, resources):
    """What a row says of the result."""
    method = task.method
    if task.isolated:
        forget_peak()
    if method.kind == "observers":
        return {"quality": Quality(landmarks=_between_observers(task.pair))}
    pair = ImagePair.read(task.pair, _read_volume)
    if method.options.init == BEST:
        aligned = align_pair(pair.fixed, pair.moving, Preprocessing())
        method = replace(method, options=method.options.model_copy(update={"init": best_alignment(aligned)[0]}))
    if method.kind == "tfreg":
        displacement_mm, values = _by_tfreg(pair, replace(task, method=method), resources)
    elif method.kind == "baseline":
        # Other tools would take padding for dark tissue, and stumble over values that are not finite.
        images = (image.with_array(filled(image.array)[0]) for image in (pair.fixed, pair.moving))
        displacement_mm, seconds = BASELINES[method.name].register(*images, method.options.init, resources.threads)
        values = {"seconds": seconds}
    elif method.kind == "command":
        with tempfile.TemporaryDirectory() as folder:
            displacement_mm, seconds, command_peak_mb = COMMANDS[method.name].run(
                task.pair, Path(folder), method.options.init, resources.threads
            )
        values = {"seconds": seconds, "own_peak_mb": round(command_peak_mb)}
    elif method.kind == "headers":
        displacement_mm, values = np.zeros((*pair.fixed.shape, 3), np.float32), {}
    else:
        init = initial_alignment(method.options.init, pair.fixed, pair.moving)
        displacement_mm, values = Transform.identity(pair.fixed.lattice, init).displacement_mm(pair.fixed.lattice), {}
    if not np.isfinite(displacement_mm).all():
        raise FloatingPointError("the displacement is not finite")
    if task.isolated and "own_peak_mb" not in values:
        values["own_peak_mb"] = round(peak_mb())
    quality, warped_labels = displacement_quality(pair, displacement_mm)
    segmentations = {}
    for column, files in task.segmentations.items():
        other = ImagePair.read(replace(files, fixed_points=None, moving_points=None), _read_volume)
        if other.fixed_labels is not None:
            segmentations[column] = displacement_quality(other, displacement_mm)[0]
    warnings = landmark_doubts(pair)
    if task.picture is not None:
        with optional_picture(task.picture, warnings.append):
            from tfreg.report.pair_picture import write_pair_picture

            write_pair_picture(task.picture, pair.fixed, pair.moving, displacement_mm, pair.fixed_labels, warped_labels)
    values |= {"peak_mb": round(peak_mb()), "quality": quality, "segmentations": segmentations}
    return values | {"warnings": tuple(warnings)}


def _between_observers(pair):
    """The `LandmarkErrors` between two people's landmarks of the moving image."""
    first, second = (read_points(path) for path in (pair.moving_points, pair.moving_points_second))
    if len(first) != len(second):
        raise UserError(f"{pair.moving_points_second}: list the same landmarks as {pair.moving_points}")
    check_landmark_order(pair.moving_points, pair.moving_points_second)
    return summary_of_errors(second - first)


def _by_tfreg(pair, task, resources):
    """The displacement of tfreg's registration, and what its report says."""
    from tfreg.registration.register import register_pair

    method, run, values = task.method, None, {}
    set_up_once(resources)
    if method.model is not None:
        run = run_once(method.model)
        if run.sha256 != method.model_sha256:
            raise UserError(f"{method.model}: was replaced while the evaluation ran; give the same command again")
    if task.isolated and method.name not in _called:
        _called.add(method.name)
        started = time.perf_counter()
        with contextlib.suppress(Exception):  # the call that counts reports it
            register_pair(pair, method.options, run)
            values["first_seconds"] = time.perf_counter() - started
        forget_peak()
    started = time.perf_counter()
    result = register_pair(pair, method.options, run)
    values["seconds"] = time.perf_counter() - started
    if task.isolated:
        values["own_peak_mb"] = round(peak_mb())
    report = result.report
    values |= {"verdict": report.verdict, "reasons": report.reasons}
    values |= {key: getattr(report.certificate, key) for key in ("certified", "damping")}
    if values["certified"]:
        values |= round_trip(result.transform, pair.fixed.lattice, pair.moving.lattice)
    return result.displacement_mm, values
