"""What a process of `tfreg evaluate` does: registers pairs and measures the results."""

import functools
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfreg.config import RegistrationOptions
from tfreg.errors import UserError
from tfreg.evaluation.baselines import BASELINES
from tfreg.evaluation.methods import Method
from tfreg.io.folders.input_digests import digest_of
from tfreg.io.formats import read_points, read_volume
from tfreg.io.tables.manifest import PairFiles
from tfreg.metrics.landmarks import summary_of_errors
from tfreg.metrics.quality import displacement_quality
from tfreg.preprocessing.initial_alignment import initial_alignment
from tfreg.registration.image_pair import ImagePair, check_landmark_order, landmark_doubts
from tfreg.registration.trained_run import run_once
from tfreg.report.drawing import optional_picture
from tfreg.runtime.native_output import STDERR, STDOUT, silenced
from tfreg.runtime.processes import error_text, set_up_once
from tfreg.transforms.transform import Transform
from tfreg.volumes.padding import filled

# Volumes that a process keeps, because the next method or pair needs them again.
KEPT_VOLUMES = 6
_read_volume = functools.lru_cache(maxsize=KEPT_VOLUMES)(read_volume)


@dataclass(frozen=True)
class Task:
    """One pair to be registered by one method.

    Args:
        experiment: Which table it belongs to.
        pair: A `PairFiles`.
        method: A `Method`.
        digest: Of the pair's files as they were when the task was made.
        init: "header", "centre" or "moments".
        size: Of the fixed image, by its header.
        picture: The PNG file to draw, or None.
    """

    experiment: str
    pair: PairFiles
    method: Method
    digest: str
    init: str
    size: tuple = ()
    picture: Path | None = None

    @property
    def key(self):
        """What tells its result from all others."""
        return self.experiment, self.pair.id, self.method.name


def measure(task, resources):
    """Registers and measures; whatever goes wrong is in the result.

    Args:
        task: A `Task`.
        resources: A `tfreg.runtime.resources.Resources`.

    Returns:
        A dictionary that JSON holds: the task's names, and either `error` or `seconds`, `peak_mb` (of the process so
        far), `quality` (see `displacement_quality`), `warnings` (sentences) and, of tfreg's own results, `certified`,
        `damping`, `verdict` and `reasons`.
    """
    row = blank_row(task)
    try:
        with silenced(STDOUT, STDERR):  # the tools print what they like
            found = _measured(task, resources)
            if digest_of(task.pair) != task.digest:
                raise UserError("the pair's files changed while they were measured; give the same command again")
            return row | found
    # One pair that fails, whatever the reason, must not cost the others.
    except Exception as error:
        return row | {"error": error_text(error, task.pair)}


def blank_row(task):
    """A result's names."""
    people = {"fixed_subject": task.pair.fixed_subject, "moving_subject": task.pair.moving_subject}
    experiment, pair, method = task.key
    return {"experiment": experiment, "pair": pair, "method": method, "digest": task.digest, **people}


def _measured(task, resources):
    pair, method = task.pair, task.method
    if method.kind == "readers":
        first, second = (read_points(path) for path in (pair.moving_points, pair.moving_points_second))
        if len(first) != len(second):
            raise UserError(f"{pair.moving_points_second}: list the same landmarks as {pair.moving_points}")
        check_landmark_order(pair.moving_points, pair.moving_points_second)
        return {"quality": {"landmarks": summary_of_errors(second - first)}}
    pair = ImagePair.read(pair, _read_volume)
    if method.kind == "tfreg":
        displacement_mm, result = _by_tfreg(pair, task, resources)
    elif method.kind == "baseline":
        # Other tools would take padding for dark tissue, and stumble over values that are not finite.
        images = (image.with_array(filled(image.array)[0]) for image in (pair.fixed, pair.moving))
        displacement_mm, seconds = BASELINES[method.name].register(*images, task.init, resources.threads)
        result = {"seconds": seconds}
    else:
        init = initial_alignment(task.init, pair.fixed, pair.moving)
        displacement_mm, result = Transform.identity(pair.fixed.lattice, init).displacement_mm(pair.fixed.lattice), {}
    if not np.isfinite(displacement_mm).all():
        raise FloatingPointError("the displacement is not finite")
    quality, warped_labels = displacement_quality(pair, displacement_mm)
    if task.picture is not None:
        with optional_picture(task.picture, lambda text: result.update(warning=text)):
            from tfreg.report.pair_picture import write_pair_picture

            write_pair_picture(task.picture, pair.fixed, pair.moving, displacement_mm, pair.fixed_labels, warped_labels)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return result | {"peak_mb": round(peak_mb), "quality": quality, "warnings": landmark_doubts(pair)}


def _by_tfreg(pair, task, resources):
    """The displacement that tfreg finds, and what its report says."""
    from tfreg.registration.register import register_pair

    method, run = task.method, None
    set_up_once(resources)
    if method.model is not None:
        run = run_once(method.model)
        if run.sha256 != method.model_sha256:
            raise UserError(f"{method.model}: was replaced while the evaluation ran; give the same command again")
    options = RegistrationOptions(
        refine=method.refine,
        preset=method.preset or "quality",
        similarity=method.similarity,
        smoothness=method.smoothness,
        init=task.init,
        transform=method.transform,
    )
    started = time.perf_counter()
    result = register_pair(pair, options, run)
    seconds = time.perf_counter() - started
    report = result.report
    told = {"seconds": seconds, "verdict": report["verdict"], "reasons": report["reasons"]}
    return result.displacement_mm, told | {key: report["certificate"][key] for key in ("certified", "damping")}
