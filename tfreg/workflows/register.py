"""`tfreg register`: one pair, from two volumes to a folder of results."""

import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tfreg.config import Preprocessing
from tfreg.errors import UserError
from tfreg.transforms.certificate import certify
from tfreg.transforms.itk_files import read_linear
from tfreg.transforms.jacobian import log_jacobian
from tfreg.transforms.transform import Transform
from tfreg.volumes.formats import read_points, read_volume
from tfreg.volumes.initial_alignment import KINDS
from tfreg.volumes.intensity import filled
from tfreg.volumes.preprocessing import prepare_pair
from tfreg.workflows.case import Case, check_case
from tfreg.workflows.metrics import correlation, dice_by_label, landmark_errors_mm, summary_of_errors
from tfreg.workflows.progress import progress_bar
from tfreg.workflows.result import REPORT, Registration, write_result
from tfreg.workflows.result_folder import check_free
from tfreg.workflows.runtime import set_up, versions
from tfreg.workflows.trained_run import find_run, load_run

NO_MODEL = "No model and no refinement: only the initial alignment was applied."


def register(
    fixed,
    moving,
    *,
    run=None,
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
        run: A `TrainedRun` from `load_run`, or None to apply the initial alignment alone.
        init: "header", "centre" or "moments"; None takes the run's own.
        init_matrix: `(4, 4)`, fixed world to moving world, RAS+ mm, instead of `init`.
        transform: "linear", "deformable" or "both": which predicted parts are used.
        interpolation: "linear" or "cubic", for the warped image.
        background: Value of the warped image where the transform leaves the moving volume; None takes
            the moving image's smallest.
        fixed_labels, moving_labels, fixed_points, moving_points, fixed_mask, moving_mask: See `Case`.
        names: Dictionary of input to what error messages call it, such as its file.
        progress: Shows a progress bar.

    Returns:
        A `Registration`.

    Raises:
        UserError: If the volumes do not overlap, or labels, points or masks do not fit their images.
    """
    case = Case(fixed, moving, fixed_labels, moving_labels, fixed_points, moving_points, fixed_mask, moving_mask)
    names = {name: name.replace("_", " ") for name in vars(case)} | (names or {})
    check_case(case, names)
    seconds, warnings = {}, []
    preprocessing = run.config.preprocessing if run is not None else Preprocessing()
    if init is not None:
        preprocessing = preprocessing.model_copy(update={"init": init})
    with progress_bar(progress) as bar:
        task = bar.add_task("registering", total=int(np.prod(fixed.shape)) * 2, status="")
        with _timed(seconds, "prepare"):
            pair = _prepare(case, preprocessing, init_matrix, names)
        warnings.extend(pair.notes)
        with _timed(seconds, "predict"):
            if run is None:
                warnings.append(NO_MODEL)
                found = Transform.identity(pair.lattice, pair.init)
            else:
                found = _only(transform, run.predict(pair))
        bar.update(task, completed=int(np.prod(fixed.shape)))
        with _timed(seconds, "map"):
            found, displacement_mm, certificate = certify(
                found, fixed.lattice, lambda voxels: bar.advance(task, voxels)
            )
        warnings.extend(_certificate_notes(certificate))
        with _timed(seconds, "warp"):
            array, replaced = filled(moving.array)
            if replaced:
                warnings.append(f"moving: {replaced} voxels that are not finite were warped as the smallest value.")
            background = float(array.min()) if background is None else background
            warped = found.warp(moving.with_array(array), fixed.lattice, interpolation, background, displacement_mm)
    logarithm = log_jacobian(displacement_mm, fixed.affine)
    report = {
        "versions": versions(),
        "model": None if run is None else {"name": run.name, "sha256": run.sha256},
        "config": None if run is None else run.config.model_dump(mode="json"),
        "preprocessing": preprocessing.model_dump(mode="json"),
        "transform": transform,
        "interpolation": interpolation,
        "background": background,
        "network_grid": {"shape": list(pair.lattice.shape), "affine": pair.lattice.affine.tolist()},
        "init": pair.init.tolist(),
        "linear": found.linear_world.tolist(),
        "metrics": _metrics(case, found, displacement_mm, warped),
        "certificate": asdict(certificate),
        "log_jacobian": _log_jacobian_summary(logarithm, fixed_labels),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "warnings": warnings,
    }
    return Registration(found, displacement_mm, warped, logarithm, report)


def register_files(
    fixed,
    moving,
    out,
    *,
    model=None,
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
        init: "header", "centre", "moments", or an ITK transform file; None takes the run's own.
        transform, interpolation, background: See `register`.
        fixed_labels, moving_labels, fixed_points, moving_points, fixed_mask, moving_mask: Files, or None.
        seed, threads, device: See `tfreg.workflows.runtime.set_up`.
        record_paths: Writes the inputs' paths to report.json.
        force: Replaces `out` if it holds a result.
        progress: Shows a progress bar.

    Returns:
        The `Registration`.

    Raises:
        UserError: If an input is bad, or `out` cannot be written.
    """
    out = Path(out)
    check_free(out, force, REPORT)
    started = time.perf_counter()
    init_matrix = None
    if init is not None and init not in KINDS:
        init, init_matrix = None, _init_from_file(init)
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
    inputs = {name: _read(name, path) for name, path in paths.items() if path is not None}
    read_seconds = time.perf_counter() - started
    # Whatever can be wrong is found before the seconds that Keras takes to load.
    check_case(Case(**inputs), paths)
    if model is not None:
        find_run(model)
    set_up(seed, threads, device)
    run = None if model is None else load_run(model)
    load_seconds = time.perf_counter() - started - read_seconds
    result = register(
        **inputs,
        run=run,
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
        result.report["paths"] = {name: str(Path(path).absolute()) for name, path in paths.items() if path is not None}
    result.report["seconds"] |= {"read": round(read_seconds, 3), "load_model": round(load_seconds, 3)}
    write_result(out, result, inputs["fixed"], inputs["moving"], started)
    return result


class _timed:
    """Adds the seconds that a block takes to a dictionary."""

    def __init__(self, seconds, name):
        self.seconds, self.name = seconds, name

    def __enter__(self):
        self.started = time.perf_counter()

    def __exit__(self, *error):
        self.seconds[self.name] = time.perf_counter() - self.started


def _read(name, path):
    if name.endswith("_points"):
        return read_points(path)
    return read_volume(path, labels=name.endswith(("_labels", "_mask")))


def _init_from_file(name):
    if not Path(name).is_file():
        raise UserError(f"--init {name}: choose {', '.join(KINDS)}, or give an ITK transform file")
    return read_linear(name)


def _prepare(case, preprocessing, init_matrix, names):
    """The prepared pair, refused where nothing of the moving image is seen."""
    # A header's rounding apart, masks lie on their images' lattices.
    masks = [
        None if mask is None else image.with_array(mask.array)
        for image, mask in ((case.fixed, case.fixed_mask), (case.moving, case.moving_mask))
    ]
    try:
        pair = prepare_pair(case.fixed, case.moving, preprocessing, init_matrix, *masks)
    except ValueError as error:
        reason = str(error).rstrip(".")
        raise UserError(f"{names['fixed']} and {names['moving']}: {reason}; use another --init or mask") from error
    if not pair.moving.any():
        raise UserError(
            f"{names['moving']}: does not reach the field of view of {names['fixed']}; "
            "the scanner coordinates differ, try --init centre"
        )
    return pair


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


def _log_jacobian_summary(logarithm, labels):
    """Mean, spread and range over the fixed field of view, and inside each label."""
    regions = {"all": np.ones(logarithm.shape, bool)}
    if labels is not None:
        regions |= {str(label): labels.array == label for label in np.unique(labels.array[labels.array != 0])}
    return {
        name: {
            "mean": float(logarithm[region].mean()),
            "sd": float(logarithm[region].std()),
            "min": float(logarithm[region].min()),
            "max": float(logarithm[region].max()),
        }
        for name, region in regions.items()
    }


def _metrics(case, transform, displacement_mm, warped):
    """Agreement by the headers alone, after the initial alignment, and after registration."""
    lattice = case.fixed.lattice
    array = filled(case.moving.array)[0]
    background = float(array.min())
    result = {}
    for name, candidate, field_mm, image in (
        ("before", Transform.identity(lattice), None, None),
        ("after_init", Transform.identity(lattice, transform.init), None, None),
        ("after", transform, displacement_mm, warped),
    ):
        if image is None:
            field_mm = candidate.displacement_mm(lattice)
            image = candidate.warp(case.moving.with_array(array), lattice, "linear", background, field_mm)
        points = case.moving.lattice.to_voxel(lattice.points() + field_mm)
        inside = np.all((points >= -0.5) & (points <= np.array(case.moving.shape) - 0.5), axis=-1)
        considered = inside & np.isfinite(case.fixed.array)
        if case.fixed_mask is not None:
            considered &= case.fixed_mask.array != 0
        entry = {
            "correlation": correlation(case.fixed.array, image.array, considered),
            "outside_fraction": float(1 - inside.mean()),
        }
        if case.fixed_labels is not None and case.moving_labels is not None:
            labels = candidate.warp(case.moving_labels, lattice, "nearest", 0, field_mm)
            overlap = dice_by_label(case.fixed_labels.array, labels.array)
            entry["dice"] = {str(label): value for label, value in overlap.items()}
            entry["mean_dice"] = float(np.mean(list(overlap.values())))
        if case.fixed_points is not None:
            differences = landmark_errors_mm(candidate, case.fixed_points, case.moving_points)
            entry["landmarks"] = summary_of_errors(differences)
        result[name] = entry
    return result
