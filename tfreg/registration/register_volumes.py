"""`tfreg.register`: `register_pair` with arrays, files and plain options."""

from pathlib import Path
from typing import Any

from tfreg.config import DEFAULT_MODEL, RegistrationOptions, checked, model_or_none
from tfreg.errors import UserError
from tfreg.registration.image_pair import INPUTS, ImagePair, read_input
from tfreg.registration.initial_matrix import matrix_from_file, rule_or_file
from tfreg.registration.predictor import Predictor
from tfreg.registration.register import register_pair
from tfreg.registration.result import Registration
from tfreg.registration.trained_run import load_run
from tfreg.runtime.progress import NO_PROGRESS, ProgressBar
from tfreg.runtime.resources import Resources
from tfreg.volumes.volume import Volume


def register(
    fixed: Volume | str | Path,
    moving: Volume | str | Path,
    *,
    model: Predictor | str | Path | None = DEFAULT_MODEL,
    progress: bool = False,
    seed: int | None = None,
    threads: int | None = None,
    device: str | None = None,
    **options: Any,
) -> Registration:
    """Registers a moving volume with a fixed one.

    Args:
        fixed, moving: Image `Volume`s, or files.
        model: A run folder or .keras file, "weights" for those that ship, what `tfreg.load_run` or `tfreg.load_weights`
            returned, or None or "none" to begin from the initial alignment alone; "default" is "weights" with
            `refine=False`, else "none".
        progress: Shows a progress bar on a terminal.
        seed, threads, device: See `tfreg.runtime.resources.Resources`; None leaves the process as it is.
        options: What else is known of the pair, as volumes, arrays or files: `fixed_labels`, `moving_labels`,
            `fixed_points`, `moving_points`, `fixed_mask`, `moving_mask`, `initial_transform` (see `ImagePair`). And how
            it is registered:

            refine: Optimises the transform for this pair; None does so where there is no model.
            preset: "fast" or "quality", how much time the refinement may take.
            similarity: What the refinement goes by: "lncc", "mse", "ncc", "mi", "dwm" or "mind", or a weighted sum
                such as "lncc+0.5*mi"; None takes the preset's.
            smoothness: How stiff the refined deformation is; None takes the preset's.
            search: "none", "normal" or "wide": how far from `init` it is searched for where to begin.
            linear: "rigid", "similarity" or "affine": what the refinement's linear part may change beyond `init`.
            check: Registers moving <- fixed too, and reports how far the two are from each other's inverse.
            init: "header", "centre" or "moments", or an ITK transform file; None takes the model's own.
            parts: "linear", "deformable" or "both": which parts are used.
            interpolation: "linear" or "cubic", for the warped image.
            background: Value of the warped image where the transform leaves the moving volume; None takes the moving
                image's padding, or else its smallest value.

    Returns:
        A `Registration`.

    Raises:
        UserError: If an option is not valid, the volumes do not overlap, or labels, points or masks do not fit their
            images.
        WorkError: If the transform that is found is not finite.

    Example:
        >>> registration = tfreg.register(
        ...     "exhale.nii.gz",
        ...     "inhale.nii.gz",
        ...     model="run",
        ...     fixed_points="chests/points/s003_exhale.csv",
        ...     moving_points="chests/points/s003_inhale.csv",
        ... )
        >>> registration.warped.shape
        (17, 16, 18)
        >>> registration.report.certificate.certified
        True
        >>> metrics = registration.report.metrics
        >>> metrics.after.landmarks.mean_mm < metrics.before.landmarks.mean_mm
        True
    """
    inputs = {"fixed": fixed, "moving": moving} | {name: options.pop(name, None) for name in INPUTS[2:]}
    matrix = options.pop("initial_transform", None)
    if isinstance(options.get("init"), str | Path):
        options["init"], file = rule_or_file(options["init"])
        if file is not None and matrix is not None:
            raise UserError(f"init {file} and initial_transform: give one of the two")
        matrix = matrix if file is None else matrix_from_file(file)
    asked = checked(RegistrationOptions, **options)
    model = model_or_none(model, asked.refine)
    asked = asked.resolved(model is not None)
    resources = Resources(seed, threads, device)
    with resources.limited():
        pair = _pair(inputs, matrix)
        if (seed, threads, device) != (None, None, None):
            resources.set_up()
        predictor = load_run(model) if isinstance(model, str | Path) else model
        return register_pair(pair, asked, predictor, ProgressBar() if progress else NO_PROGRESS)


def _pair(inputs, matrix):
    """The `ImagePair` of volumes, arrays and files."""
    files = {name: value for name, value in inputs.items() if isinstance(value, str | Path)}
    inputs |= {name: read_input(name, path) for name, path in files.items()}
    return ImagePair(**inputs, initial_transform=matrix, names=files)
