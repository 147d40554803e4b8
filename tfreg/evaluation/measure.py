"""What a process of `tfreg evaluate` does: registers pairs and measures the results."""

import functools
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfreg.errors import UserError
from tfreg.evaluation.baselines import BASELINES
from tfreg.evaluation.methods import Method
from tfreg.evaluation.row import Row
from tfreg.io.digests import pair_digest
from tfreg.io.formats import read_points, read_volume
from tfreg.io.tables.manifest import PairFiles
from tfreg.metrics.landmarks import summary_of_errors
from tfreg.metrics.quality import Quality, displacement_quality
from tfreg.preprocessing.initial_alignment import initial_alignment
from tfreg.registration.image_pair import ImagePair, check_landmark_order, landmark_doubts
from tfreg.registration.trained_run import run_once
from tfreg.report.drawing import optional_picture
from tfreg.runtime.native_output import STDERR, STDOUT, silenced
from tfreg.runtime.processes import error_text, set_up_once
from tfreg.runtime.resources import Resources
from tfreg.transforms.transform import Transform
from tfreg.volumes.padding import filled

# Volumes that a process keeps, because the next method or pair needs them again.
CACHED_VOLUMES = 6
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
    """

    experiment: str
    pair: PairFiles
    method: Method
    digest: str
    size: tuple = ()
    picture: Path | None = None

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
        return Row(experiment=experiment, pair=pair, method=method, digest=self.digest, **people, **values)


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
            if pair_digest(task.pair) != task.digest:
                raise UserError("the pair's files changed while they were measured; give the same command again")
            return task.row(**values)
    # One pair that fails, whatever the reason, must not cost the others.
    except Exception as error:
        return task.row(error=error_text(error, task.pair))


def _measured(task, resources):
    """What a row says of the result."""
    method = task.method
    if method.kind == "observers":
        return {"quality": Quality(landmarks=_between_observers(task.pair))}
    pair = ImagePair.read(task.pair, _read_volume)
    if method.kind == "tfreg":
        displacement_mm, values = _by_tfreg(pair, method, resources)
    elif method.kind == "baseline":
        # Other tools would take padding for dark tissue, and stumble over values that are not finite.
        images = (image.with_array(filled(image.array)[0]) for image in (pair.fixed, pair.moving))
        displacement_mm, seconds = BASELINES[method.name].register(*images, method.options.init, resources.threads)
        values = {"seconds": seconds}
    else:
        init = initial_alignment(method.options.init, pair.fixed, pair.moving)
        displacement_mm, values = Transform.identity(pair.fixed.lattice, init).displacement_mm(pair.fixed.lattice), {}
    if not np.isfinite(displacement_mm).all():
        raise FloatingPointError("the displacement is not finite")
    quality, warped_labels = displacement_quality(pair, displacement_mm)
    warnings = landmark_doubts(pair)
    if task.picture is not None:
        with optional_picture(task.picture, warnings.append):
            from tfreg.report.pair_picture import write_pair_picture

            write_pair_picture(task.picture, pair.fixed, pair.moving, displacement_mm, pair.fixed_labels, warped_labels)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return values | {"peak_mb": round(peak_mb), "quality": quality, "warnings": tuple(warnings)}


def _between_observers(pair):
    """The `LandmarkErrors` between two people's landmarks of the moving image."""
    first, second = (read_points(path) for path in (pair.moving_points, pair.moving_points_second))
    if len(first) != len(second):
        raise UserError(f"{pair.moving_points_second}: list the same landmarks as {pair.moving_points}")
    check_landmark_order(pair.moving_points, pair.moving_points_second)
    return summary_of_errors(second - first)


def _by_tfreg(pair, method, resources):
    """The displacement of tfreg's registration, and what its report says."""
    from tfreg.registration.register import register_pair

    run = None
    set_up_once(resources)
    if method.model is not None:
        run = run_once(method.model)
        if run.sha256 != method.model_sha256:
            raise UserError(f"{method.model}: was replaced while the evaluation ran; give the same command again")
    started = time.perf_counter()
    result = register_pair(pair, method.options, run)
    seconds = time.perf_counter() - started
    report = result.report
    values = {"seconds": seconds, "verdict": report.verdict, "reasons": report.reasons}
    return result.displacement_mm, values | {key: getattr(report.certificate, key) for key in ("certified", "damping")}
