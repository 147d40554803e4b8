"""`register_pair`: the registration of one pair."""

import time
from dataclasses import replace

import numpy as np

from tfreg.config import BEST, Preprocessing, RegistrationOptions
from tfreg.errors import UserError, WorkError
from tfreg.metrics.volume_change import log_jacobian_summary
from tfreg.preprocessing.aligned_pair import align_pair
from tfreg.preprocessing.network_grid import cube_lattice, network_grid
from tfreg.preprocessing.pyramid import onto_level
from tfreg.refinement.refine import refine_pair, steps_of
from tfreg.registration.agreement import agreement
from tfreg.registration.best_alignment import best_alignment
from tfreg.registration.contrast import negative_side
from tfreg.registration.expected_error import expected_error_of
from tfreg.registration.image_pair import ImagePair, landmark_doubts, notes_beside
from tfreg.registration.passes import predict_in_passes, schedule_of, separates_linear
from tfreg.registration.predictor import Predictor
from tfreg.registration.registration_report import RegistrationReport
from tfreg.registration.result import Registration
from tfreg.registration.verdict import quality_indicators, verdict
from tfreg.runtime.progress import NO_PROGRESS, Progress
from tfreg.runtime.resources import versions
from tfreg.transforms.certificate import certify
from tfreg.transforms.jacobian import log_jacobian
from tfreg.transforms.transform import Transform
from tfreg.volumes.padding import holds_background, left_out_note, outside_value

# Cubes in which it is looked whether the images overlap.
OVERLAP_VOXELS = 50_000

NO_MODEL = "No model and no refinement: only the initial alignment was applied."


def register_pair(
    pair: ImagePair,
    options: RegistrationOptions | None = None,
    predictor: Predictor | None = None,
    progress: Progress = NO_PROGRESS,
) -> Registration:
    """Registers a pair.

    Args:
        pair: An `ImagePair`.
        options: A `tfreg.config.RegistrationOptions`, or None for the defaults.
        predictor: What predicts a transform, such as a `TrainedRun`; None begins from the initial alignment alone.
        progress: Whom it tells how far it is.

    Returns:
        A `Registration`.

    Raises:
        UserError: If an option is not valid, or the volumes do not overlap.
        WorkError: If the transform is not finite.
    """
    options = (options or RegistrationOptions()).resolved(predictor is not None)
    _check_predictor(predictor, options)
    if pair.initial_transform is not None and options.init is not None:
        raise UserError(f"init {options.init!r} and initial_transform: give one of the two")
    if not holds_background(options.background):
        raise UserError(f"--background {options.background:g}: is beyond float32; give a smaller number")
    fixed, moving, names = pair.fixed, pair.moving, pair.names
    seconds: dict[str, float] = {}
    warnings: list[str] = []
    preprocessing = predictor.config.preprocessing if predictor is not None else Preprocessing()
    if options.init is not None:
        preprocessing = preprocessing.model_copy(update={"init": options.init})
    settings = options.settings() if options.refine else None
    with _timed(seconds, "prepare"):
        aligned, preprocessing, likeness = _aligned(pair, preprocessing)
    warnings.extend((*aligned.notes, *notes_beside(pair), *landmark_doubts(pair)))
    search = _Search(predictor, preprocessing, settings, options, progress)
    transform, passes, refinement = search.transform_of(aligned, seconds, "refining")
    warnings.extend(_grid_notes(predictor, transform))
    if predictor is None and not options.refine:
        warnings.append(NO_MODEL)
    backward = None
    if options.check:
        with _timed(seconds, "check"):
            backward, *_ = search.transform_of(aligned.reversed(), {}, "checking")
    with _timed(seconds, "map"), progress.stage("mapping", int(np.prod(fixed.shape))) as advance:
        transform, displacement_mm, certificate = certify(
            transform, fixed.lattice, advance, smooth=bool(options.refine)
        )
    if not np.isfinite(displacement_mm).all():
        raise WorkError(f"{names['moving']}: the transform found is not finite; register with other options")
    warnings.extend(_certificate_notes(certificate))
    with _timed(seconds, "warp"):
        background = outside_value(moving.array) if options.background is None else options.background
        warnings.extend(f"moving: {note}" for note in left_out_note(moving.array, background))
        stages = agreement(pair, aligned.init, transform, displacement_mm, options.interpolation, background)
    expected_error = None
    if predictor is not None and refinement is None and options.parts == "both":
        expected_error = expected_error_of(transform, predictor.config.prediction.expected_error, len(passes))
    indicators = quality_indicators(aligned, transform, backward, refinement, expected_error)
    # Mutual information and MIND are chosen for images of different kinds, which need not resemble each other.
    ignored = ("local_correlation",) if settings is not None and "mi" in settings.similarity else ()
    judgement, reasons = verdict(indicators, certificate.certified, ignored)
    logarithm = log_jacobian(displacement_mm, fixed.affine)
    report = RegistrationReport(
        versions=versions(),
        model=None if predictor is None else predictor.provenance,
        config=None if predictor is None else predictor.config.model_dump(mode="json"),
        preprocessing=preprocessing.model_dump(mode="json"),
        parts=options.parts,
        interpolation=options.interpolation,
        background=background,
        network_grid={"shape": transform.lattice.shape, "affine": transform.lattice.affine.tolist()},
        init=aligned.init.tolist(),
        init_likeness=likeness,
        contrast_inverted=aligned.inverted,
        linear=transform.linear_world.tolist(),
        passes=passes,
        refinement=refinement,
        metrics=stages.metrics,
        certificate=certificate,
        verdict=judgement,
        reasons=reasons,
        quality_indicators=indicators,
        log_jacobian=log_jacobian_summary(logarithm, fixed.affine, pair.fixed_labels),
        seconds={name: round(value, 3) for name, value in seconds.items()},
        warnings=warnings,
    )
    return Registration(pair, transform, displacement_mm, logarithm, stages, report, expected_error)


class _timed:
    """Adds the seconds that a block takes to a dictionary."""

    def __init__(self, seconds, name):
        self.seconds, self.name = seconds, name

    def __enter__(self):
        self.started = time.perf_counter()

    def __exit__(self, *error):
        self.seconds[self.name] = time.perf_counter() - self.started


def _check_predictor(predictor, options):
    """Refuses what does not predict, and a network that lacks the part that is asked for."""
    if predictor is None:
        return
    if not isinstance(predictor, Predictor):
        raise UserError(f"model {predictor!r}: give what `tfreg.load_run` returns")
    parts = predictor.config.model.transform
    if separates_linear(predictor.config, schedule_of(predictor.config, options.passes)):
        return
    if not options.refine and options.parts != "both" and parts not in ("both", options.parts):
        raise UserError(
            f"--parts {options.parts}: the model predicts the {parts} part alone; leave the option out, or add --refine"
        )


def _aligned(pair, preprocessing):
    """The `AlignedPair`, refused where nothing of the moving image is seen; with which preprocessing, and why that."""
    aligned, chosen, likeness = _initially_aligned(pair, preprocessing)
    if preprocessing.intensity.match_contrast and (negative := negative_side(aligned)) is not None:
        aligned, chosen, likeness = _initially_aligned(pair, preprocessing, negative)
    values, inside = onto_level(aligned.moving, cube_lattice(pair.fixed.lattice, OVERLAP_VOXELS), aligned.init)
    if not (values * inside).any():
        raise UserError(
            f"{pair.names['moving']}: does not reach the field of view of {pair.names['fixed']}; "
            "the scanner coordinates differ, try --init centre"
        )
    return aligned, chosen, likeness


def _initially_aligned(pair, preprocessing, inverted=None):
    """The `AlignedPair` with one image inverted or none, the preprocessing that names its alignment, and why that."""
    names, likeness = pair.names, None
    chosen = preprocessing.init == BEST
    if chosen:
        preprocessing = preprocessing.model_copy(update={"init": "header"})
    try:
        aligned = align_pair(
            pair.fixed, pair.moving, preprocessing, pair.initial_transform, pair.fixed_mask, pair.moving_mask, inverted
        )
        if chosen and pair.initial_transform is None:
            kind, matrix, likeness = best_alignment(aligned)
            aligned = replace(aligned, init=matrix)
            preprocessing = preprocessing.model_copy(update={"init": kind})
    except ValueError as error:
        reason = str(error).rstrip(".")
        raise UserError(f"{names['fixed']} and {names['moving']}: {reason}; use another --init or mask") from error
    return aligned, preprocessing, likeness


class _Search:
    """How a transform is found, predicted, refined or both.

    Args:
        predictor: See `register_pair`.
        preprocessing: `tfreg.config.Preprocessing`.
        settings: The refinement's, or None without one.
        options: The `RegistrationOptions`.
        progress: Whom it tells how far it is.
    """

    def __init__(self, predictor, preprocessing, settings, options, progress):
        self.predictor, self.preprocessing = predictor, preprocessing
        self.settings, self.options, self.progress = settings, options, progress

    def transform_of(self, aligned, seconds, stage):
        """The transform of an `AlignedPair`, and what passes and refinement report; `seconds` is added to."""
        transform = refinement = None
        passes, parts = (), self.options.parts
        if self.predictor is not None:
            with _timed(seconds, "predict"):
                schedule = schedule_of(self.predictor.config, self.options.passes)
                prediction, passes = predict_in_passes(self.predictor, aligned, self.preprocessing, schedule)
                transform = _only(parts, prediction)
        if self.settings is not None:
            max_steps = steps_of(self.settings, parts, transform)
            with _timed(seconds, "refine"), self.progress.stage(stage, max_steps) as advance:
                transform, refinement = refine_pair(aligned, self.settings, parts, transform, advance)
        if transform is None:
            transform = Transform.identity(network_grid(aligned.fixed.lattice), aligned.init)
        return transform, passes, refinement


def _only(parts, transform):
    """The transform with one of its two predicted parts left out, where asked for."""
    if parts == "both":
        return transform
    linear = np.eye(3, 4) if parts == "deformable" else transform.linear
    deformation = None if parts == "linear" else transform.deformation
    return Transform(transform.lattice, linear, deformation, transform.init)


def _grid_notes(predictor, transform):
    """Says that a network chosen for volumes of any size saw a small one, where it did."""
    if predictor is None or predictor.config.preprocessing.network_grid.voxels is None:
        return
    smallest, least = min(transform.lattice.shape), predictor.config.prediction.least_size
    if smallest < least:
        yield f"The network saw {smallest} voxels along an axis, but learned from {least} and more: look at it."


def _certificate_notes(certificate):
    """What a person should know of the certificate."""
    if not certificate.certified:
        yield (
            f"The written field folds at {certificate.folding_fraction:.2%} of its voxels, "
            "and damping the deformation does not heal it."
        )
    elif certificate.folding_fraction > 0:
        yield (
            f"The deformation was damped to {certificate.damping:.3f}, because the written field would have "
            f"folded at {certificate.folding_fraction:.2%} of its voxels."
        )
