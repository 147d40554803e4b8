"""`tfreg register`: one pair, from two volumes to a folder of results."""

import time
from dataclasses import asdict
from pathlib import Path
from warnings import warn

import numpy as np

from tfreg.config import Preprocessing, RegistrationOptions, checked
from tfreg.errors import InputWarning, UserError, WorkError
from tfreg.io.header_checks import shear_note
from tfreg.io.input_files import itk_name
from tfreg.io.result_folder import claimed_result
from tfreg.metrics.volume_change import log_jacobian_summary
from tfreg.preprocessing.aligned_pair import align_pair, on_network_grid
from tfreg.preprocessing.initial_alignment import KINDS
from tfreg.preprocessing.network_grid import network_grid
from tfreg.preprocessing.pyramid import cube_lattice, onto_level
from tfreg.refinement.refine import refine_pair, steps_of
from tfreg.registration.agreement import agreement
from tfreg.registration.image_pair import (
    Case,
    check_case,
    check_landmark_order,
    landmark_doubts,
    notes_beside,
    read_input,
)
from tfreg.registration.initial_matrix import checked_matrix, matrix_from_file
from tfreg.registration.result import REGISTRATION, Registration, write_result
from tfreg.registration.trained_run import find_run, load_run
from tfreg.registration.verdict import trust_figures, verdict
from tfreg.runtime.progress import progress_bar
from tfreg.runtime.resources import set_up, versions
from tfreg.transforms.certificate import certify
from tfreg.transforms.jacobian import log_jacobian
from tfreg.transforms.transform import Transform
from tfreg.volumes.padding import holds_background, left_out_note, outside_value

# Cubes in which it is looked whether the moving image reaches the fixed one.
REACH_VOXELS = 50_000

NO_MODEL = "No model and no refinement: only the initial alignment was applied."


def register(
    fixed,
    moving,
    *,
    run=None,
    refine=None,
    preset="quality",
    similarity=None,
    smoothness=None,
    check=False,
    init=None,
    init_matrix=None,
    transform="both",
    interpolation="linear",
    background=None,
    fixed_labels=None,
    moving_labels=None,
    fixed_points=None,
    moving_points=None,
    fixed_mask=None,
    moving_mask=None,
    names=None,
    progress=False,
):
    """Registers a moving volume with a fixed one.

    Args:
        fixed, moving: Image `Volume`s.
        run: A `TrainedRun` from `load_run`, or None to begin from the initial alignment alone.
        refine: Optimises the transform for this pair; None does so where there is no run.
        preset: "fast" or "quality", how much time the refinement may take.
        similarity: What the refinement goes by: "lncc", "mse", "ncc", "mi", "dwm" or "mind", or a weighted sum such
            as "lncc+0.5*mi"; None takes the preset's.
        smoothness: How stiff the refined deformation is; None takes the preset's.
        check: Registers moving <- fixed too, and reports how far the two are from each other's inverse.
        init: "header", "centre" or "moments"; None takes the run's own.
        init_matrix: `(4, 4)`, fixed world to moving world, RAS+ mm, instead of `init`.
        transform: "linear", "deformable" or "both": which parts are used.
        interpolation: "linear" or "cubic", for the warped image.
        background: Value of the warped image where the transform leaves the moving volume; None takes
            the moving image's padding, or else its smallest value.
        fixed_labels, moving_labels, fixed_points, moving_points, fixed_mask, moving_mask: See `Case`.
        names: Dictionary of input to what error messages call it, such as its file.
        progress: Shows a progress bar.

    Returns:
        A `Registration`.

    Raises:
        UserError: If an option is not valid, the volumes do not overlap, or labels, points or masks do not fit their
            images.
        WorkError: If the transform that is found is not finite.
    """
    options = checked(
        RegistrationOptions,
        refine=run is None if refine is None else refine,
        preset=preset,
        similarity=similarity,
        smoothness=smoothness,
        check=check,
        init=init,
        transform=transform,
        interpolation=interpolation,
        background=background,
    )
    refine, background = options.refine, options.background
    _check_run(run, options)
    init_matrix = checked_matrix(init_matrix, options.init)
    case = Case(fixed, moving, fixed_labels, moving_labels, fixed_points, moving_points, fixed_mask, moving_mask)
    names = {name: name.replace("_", " ") for name in vars(case)} | (names or {})
    check_case(case, names)
    seconds, warnings = {}, []
    preprocessing = run.config.preprocessing if run is not None else Preprocessing()
    if options.init is not None:
        preprocessing = preprocessing.model_copy(update={"init": options.init})
    if not holds_background(background):
        raise UserError(f"--background {background:g}: is beyond float32; give a smaller number")
    settings = options.settings()
    with progress_bar(progress) as bar:
        with _timed(seconds, "prepare"):
            pair = _align(case, preprocessing, init_matrix, names)
        warnings.extend((*pair.notes, *notes_beside(case), *landmark_doubts(case)))
        ways = (run, preprocessing, settings if refine else None, transform)
        found, refinement = _found(pair, *ways, seconds, bar, "refining")
        if run is None and not refine:
            warnings.append(NO_MODEL)
        backward = None
        if options.check:
            with _timed(seconds, "check"):
                backward, _ = _found(pair.reversed(), *ways, {}, bar, "checking")
        task = bar.add_task("mapping", total=int(np.prod(fixed.shape)), status="")
        with _timed(seconds, "map"):
            found, displacement_mm, certificate = certify(
                found, fixed.lattice, lambda voxels: bar.advance(task, voxels), smooth=refine
            )
        if not np.isfinite(displacement_mm).all():
            raise WorkError(f"{names['moving']}: the transform found is not finite; register with other options")
        warnings.extend(_certificate_notes(certificate))
        with _timed(seconds, "warp"):
            background = outside_value(moving.array) if background is None else background
            warnings.extend(f"moving: {note}" for note in left_out_note(moving.array, background))
            seen = agreement(case, pair.init, found, displacement_mm, interpolation, background)
    figures = trust_figures(pair, found, backward)
    # Mutual information and MIND are chosen for images of different kinds, which need not resemble each other.
    ignored = ("local_correlation",) if refine and "mi" in settings.similarity else ()
    judgement, reasons = verdict(figures, certificate.certified, ignored)
    logarithm = log_jacobian(displacement_mm, fixed.affine)
    report = {
        "versions": versions(),
        "model": None if run is None else run.provenance,
        "config": None if run is None else run.config.model_dump(mode="json"),
        "preprocessing": preprocessing.model_dump(mode="json"),
        "transform": transform,
        "interpolation": interpolation,
        "background": background,
        "network_grid": {"shape": list(found.lattice.shape), "affine": found.lattice.affine.tolist()},
        "init": pair.init.tolist(),
        "linear": found.linear_world.tolist(),
        "refinement": refinement,
        "metrics": seen.metrics,
        "certificate": asdict(certificate),
        "verdict": judgement,
        "reasons": reasons,
        "trust": figures,
        "log_jacobian": log_jacobian_summary(logarithm, fixed.affine, fixed_labels),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "warnings": warnings,
    }
    return Registration(found, displacement_mm, seen.warped, logarithm, report, seen)


def register_files(
    fixed,
    moving,
    out,
    *,
    model=None,
    open_run=None,
    refine=None,
    preset="quality",
    similarity=None,
    smoothness=None,
    check=False,
    init=None,
    transform="both",
    interpolation="linear",
    background=None,
    fixed_labels=None,
    moving_labels=None,
    fixed_points=None,
    moving_points=None,
    fixed_mask=None,
    moving_mask=None,
    seed=0,
    threads=None,
    device=None,
    record_paths=False,
    force=False,
    progress=True,
):
    """Registers two files and writes the folder of results.

    Args:
        fixed, moving: Image files.
        out: The folder to write: warped.nii.gz, displacement.nii.gz, inverse_displacement.nii.gz,
            linear.tfm, transform.h5, transform.npz, jacobian.nii.gz, report.json and report.png. It
            appears whole or not at all.
        model: A run folder or .keras file, or None.
        open_run: Instead of `model` a function without arguments that gives what predicts, such as a server's model:
            an object with `config`, `predict` and `provenance` as in `TrainedRun`.
        refine, preset, similarity, smoothness, check: See `register`.
        init: "header", "centre", "moments", or an ITK transform file; None takes the run's own.
        transform, interpolation, background: See `register`.
        fixed_labels, moving_labels, fixed_points, moving_points, fixed_mask, moving_mask: Files, or None.
        seed, threads, device: See `tfreg.runtime.resources.set_up`.
        record_paths: Writes the inputs' paths to report.json.
        force: Replaces `out` if it holds a result.
        progress: Shows a progress bar.

    Returns:
        The `Registration`.

    Raises:
        UserError: If an option or an input is bad, or `out` cannot be written.
        WorkError: See `register`.
    """
    itk_name(out)
    started = time.perf_counter()
    init_file = init_matrix = None
    if init is not None and init not in KINDS:
        init, init_file, init_matrix = None, init, matrix_from_file(init)
    checked(
        RegistrationOptions,
        refine=model is None and open_run is None if refine is None else refine,
        preset=preset,
        similarity=similarity,
        smoothness=smoothness,
        check=check,
        init=init,
        transform=transform,
        interpolation=interpolation,
        background=background,
    )
    paths = {
        "fixed": fixed,
        "moving": moving,
        "fixed_labels": fixed_labels,
        "moving_labels": moving_labels,
        "fixed_points": fixed_points,
        "moving_points": moving_points,
        "fixed_mask": fixed_mask,
        "moving_mask": moving_mask,
    }
    with claimed_result(out, REGISTRATION, force, [*paths.values(), init_file, model]) as written:
        inputs = {name: read_input(name, path) for name, path in paths.items() if path is not None}
        read_seconds = time.perf_counter() - started
        # Whatever can be wrong is found before the seconds that Keras takes to load.
        check_case(Case(**inputs), paths)
        check_landmark_order(fixed_points, moving_points)
        for side in ("fixed", "moving"):
            if inputs[side].lattice.is_sheared:
                warn(f"{paths[side]}: {shear_note(inputs[side].lattice)}", InputWarning, stacklevel=2)
        if open_run is None:
            if model is not None:
                find_run(model)
            set_up(seed, threads, device)
            run = None if model is None else load_run(model)
        else:
            run = open_run()
        load_seconds = time.perf_counter() - started - read_seconds
        result = register(
            **inputs,
            run=run,
            refine=refine,
            preset=preset,
            similarity=similarity,
            smoothness=smoothness,
            check=check,
            init=init,
            init_matrix=init_matrix,
            transform=transform,
            interpolation=interpolation,
            background=background,
            names=paths,
            progress=progress,
        )
        result.report["seed"] = seed
        if record_paths:
            result.report["paths"] = {
                name: str(Path(path).absolute()) for name, path in paths.items() if path is not None
            }
        result.report["seconds"] |= {"read": round(read_seconds, 3), "load_model": round(load_seconds, 3)}
        with written() as folder:
            write_result(folder, result, inputs["fixed"], inputs["moving"], started, inputs.get("fixed_labels"))
    return result


class _timed:
    """Adds the seconds that a block takes to a dictionary."""

    def __init__(self, seconds, name):
        self.seconds, self.name = seconds, name

    def __enter__(self):
        self.started = time.perf_counter()

    def __exit__(self, *error):
        self.seconds[self.name] = time.perf_counter() - self.started


def _check_run(run, options):
    """Refuses what does not predict, and a network that lacks the part that is asked for."""
    if run is None:
        return
    if not all(hasattr(run, name) for name in ("config", "predict", "provenance")):
        raise UserError(f"run {run!r}: give what `tfreg.load_run` returns")
    parts = run.config.model.transform
    if not options.refine and options.transform != "both" and parts not in ("both", options.transform):
        raise UserError(
            f"--transform {options.transform}: the model predicts the {parts} part alone; leave the option out, or add "
            "--refine"
        )


def _align(case, preprocessing, init_matrix, names):
    """The aligned pair, refused where nothing of the moving image is seen."""
    try:
        pair = align_pair(case.fixed, case.moving, preprocessing, init_matrix, case.fixed_mask, case.moving_mask)
    except ValueError as error:
        reason = str(error).rstrip(".")
        raise UserError(f"{names['fixed']} and {names['moving']}: {reason}; use another --init or mask") from error
    values, inside = onto_level(pair.moving, cube_lattice(case.fixed.lattice, REACH_VOXELS), pair.init)
    if not (values * inside).any():
        raise UserError(
            f"{names['moving']}: does not reach the field of view of {names['fixed']}; "
            "the scanner coordinates differ, try --init centre"
        )
    return pair


def _found(pair, run, preprocessing, settings, transform, seconds, bar, task):
    """The transform of an aligned pair, predicted, refined or both, and what the refinement reports."""
    found = refinement = None
    if run is not None:
        with _timed(seconds, "predict"):
            found = _only(transform, run.predict(on_network_grid(pair, preprocessing)))
    if settings is not None:
        most = steps_of(settings, transform, found)
        steps = bar.add_task(task, total=most, status="")
        with _timed(seconds, "refine"):
            found, refinement = refine_pair(pair, settings, transform, found, lambda done: bar.advance(steps, done))
        bar.update(steps, completed=most)  # a level that converged early has taken fewer
    if found is None:
        found = Transform.identity(network_grid(pair.fixed.lattice), pair.init)
    return found, refinement


def _only(parts, transform):
    """The transform with one of its two predicted parts left out, where asked for."""
    if parts == "both":
        return transform
    linear = np.eye(3, 4) if parts == "deformable" else transform.linear
    deformation = None if parts == "linear" else transform.deformation
    return Transform(transform.lattice, linear, deformation, transform.init)


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
