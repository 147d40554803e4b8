"""`tfreg register`: one pair, from its files to a folder of results."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from warnings import warn

from tfreg.config import RegistrationOptions, find_model
from tfreg.errors import InputWarning
from tfreg.io.folders.result_folder import claimed_result
from tfreg.io.header_checks import shear_note
from tfreg.io.input_files import itk_name
from tfreg.io.tables.manifest import PairFiles
from tfreg.registration.image_pair import INPUTS, ImagePair
from tfreg.registration.predictor import Predictor
from tfreg.registration.register import register_pair
from tfreg.registration.result import REGISTRATION, Registration
from tfreg.registration.trained_run import find_run, load_run
from tfreg.runtime.progress import NO_PROGRESS, Progress
from tfreg.runtime.resources import Resources


@dataclass(frozen=True)
class Output:
    """How a result is written.

    Args:
        record_paths: Writes the inputs' paths to report.json.
        force: Replaces the folder if it holds a result.
        progress: Whom it tells how far it is.
    """

    record_paths: bool = False
    force: bool = False
    progress: Progress = NO_PROGRESS


def register_files(
    files: PairFiles,
    out: str | Path,
    options: RegistrationOptions | None = None,
    source: str | Path | Callable[[], Predictor] | None = None,
    resources: Resources | None = None,
    output: Output | None = None,
) -> Registration:
    """Registers a pair's files and writes the folder of results.

    Args:
        files: A `tfreg.io.tables.manifest.PairFiles`.
        out: The folder to write: warped.nii.gz, displacement.nii.gz, inverse_displacement.nii.gz,
            linear.tfm, transform.h5, transform.npz, jacobian.nii.gz, report.json and report.png; of a network that
            says how far it may be off also expected_error.nii.gz. It appears whole or not at all.
        options: A `tfreg.config.RegistrationOptions`, or None for the defaults.
        source: Where the prediction comes from: what `find_run` takes; a function without arguments that gives
            what predicts, such as a server's model (see `register_pair`); or None.
        resources: A `Resources`, or None for the defaults.
        output: An `Output`, or None for the defaults.

    Returns:
        The `Registration`.

    Raises:
        UserError: If an option or an input is bad, or `out` cannot be written.
        WorkError: See `register_pair`.
    """
    resources, output = resources or Resources(), output or Output()
    itk_name(out)
    started = time.perf_counter()
    options = (options or RegistrationOptions()).resolved(source is not None)
    paths = {name: getattr(files, name) for name in INPUTS if getattr(files, name) is not None}
    model = None if callable(source) or source is None else find_model(source)
    inputs = [*paths.values(), files.init, model]
    with resources.limited(), claimed_result(out, REGISTRATION, output.force, inputs) as written:
        # Whatever can be wrong is found before the seconds that Keras takes to load.
        pair = ImagePair.read(files)
        read_seconds = time.perf_counter() - started
        for side in ("fixed", "moving"):
            lattice = getattr(pair, side).lattice
            if lattice.is_sheared:
                warn(f"{paths[side]}: {shear_note(lattice)}", InputWarning, stacklevel=2)
        if model is not None:
            find_run(model)
        if options.refine or not callable(source):
            resources.set_up()
        predictor = source() if callable(source) else None if source is None else load_run(source)
        load_seconds = time.perf_counter() - started - read_seconds
        result = register_pair(pair, options, predictor, output.progress)
        absolute = {name: str(Path(path).absolute()) for name, path in paths.items()}
        steps = {"read": round(read_seconds, 3), "load_model": round(load_seconds, 3)}
        result.report = result.report.changed(
            seed=resources.seed,
            paths=absolute if output.record_paths else None,
            seconds=result.report.seconds | steps,
        )
        with written() as folder:
            result.save(folder, started)
    return result
