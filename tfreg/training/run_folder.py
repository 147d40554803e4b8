"""The folder of a training: whether it may be begun or gone on with there."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tfreg.config import Config, dump_config, load_written_config
from tfreg.errors import InputWarning, UserError
from tfreg.io.digests import pairs_digest
from tfreg.io.folders.result_folder import Kind, claim_folder
from tfreg.io.folders.workspace import Workspace, differing
from tfreg.io.json_files import Record
from tfreg.io.npz import write_arrays
from tfreg.io.tables.manifest import PairFiles
from tfreg.io.training_report import REPORT, TrainingReport
from tfreg.training.start import Start

CONFIG, INPUTS = "config.yaml", "inputs.json"
# The weights that an unfinished run begins with.
START_WEIGHTS = "start.npz"
# The config tells a run, so it is written last.
RUN = Kind("a run", CONFIG, ())


@dataclass(frozen=True)
class PairsDigest:
    """How many pairs, and the digest of their files."""

    pairs: int
    digest: str


@dataclass(frozen=True)
class StartDigest:
    """The name of the run or file whose weights a training begins with, and the digest of its file."""

    name: str
    sha256: str


class TrainingInputs(Record):
    """What inputs.json says: the data and the weights that a run was begun with.

    Args:
        training, validation: Pairs to learn from, and to be measured on.
        start: Where the first weights are from; None where they are random.
    """

    CURE: ClassVar[str] = "name another folder, or delete this run"

    training: PairsDigest
    validation: PairsDigest
    start: StartDigest | None = None


def check_run(run: Path, config: Config) -> None:
    """Refuses a folder that holds something else than this run, interrupted.

    Args:
        run: Its path; it need not be there.
        config: Of the run.

    Raises:
        UserError: If the folder is a file, or holds something else, another run, or a finished one.
    """
    if not claim_folder(run, RUN, force=False):
        return
    earlier = (run / CONFIG).read_text(encoding="utf-8", errors="replace")
    if not earlier.strip("\0 \n"):
        raise UserError(f"{run / CONFIG}: is empty, as after a power loss; name another folder, or delete this one")
    if not _is_of(run / CONFIG, config):
        raise UserError(f"{run}: is a run with another config; name another folder, or delete this one")
    if (run / REPORT).exists():
        TrainingReport.read(run / REPORT)
        raise UserError(f"{run}: is a finished run; name another folder, or delete this one")


def _is_of(file, config):
    """Whether a file holds a config; an option that the version that wrote it did not know has its default."""
    try:
        return dump_config(_any_time(load_written_config(file))) == dump_config(_any_time(config))
    except UserError:
        return False


def _any_time(config):
    """A config without the time that a call may take, which changes nothing of the result."""
    return config.model_copy(update={"training": config.training.model_copy(update={"seconds": None})})


def check_inputs(
    run: Path, training: Sequence[PairFiles], validation: Sequence[PairFiles], start: Start | None = None
) -> TrainingInputs:
    """Refuses to go on with other data or another start than the run was begun with.

    Args:
        run: Folder of the run.
        training, validation: Pairs to learn from, and to be measured on.
        start: The weights that are asked for; a run that goes on needs none.

    Returns:
        What the run is begun with, to be given to `start_run`.

    Raises:
        UserError: If the pairs, the content of their files, or the weights are others.
    """
    inputs = TrainingInputs(
        **{
            name: PairsDigest(len(pairs), pairs_digest(pairs))
            for name, pairs in (("training", training), ("validation", validation))
        },
        start=None if start is None else StartDigest(start.name, start.sha256),
    )
    if not (run / CONFIG).exists():
        return inputs
    if not (run / INPUTS).exists():
        text = f"{run}: says nothing of the data that it was begun with; whether the table is the same is not known"
        warnings.warn(text, InputWarning, stacklevel=2)
        return inputs
    earlier = TrainingInputs.read(run / INPUTS)
    if start is not None and (earlier.start is None or earlier.start.sha256 != start.sha256):
        begun = "random weights" if earlier.start is None else f"those of {earlier.start.name}"
        raise UserError(
            f"{start.name}: is not what {run} was begun with, which is {begun}; leave --start out, or name another "
            "folder"
        )
    inputs = inputs.changed(start=earlier.start)
    others = differing(earlier, inputs)
    if others:
        raise UserError(
            f"{run}: was begun with other {' and '.join(others)} pairs, or their files have changed since; give the "
            "data that it was begun with, or name another folder"
        )
    return inputs


def start_run(run: Path, config: Config, inputs: TrainingInputs, start: Start | None = None) -> None:
    """Writes down what the run is begun with.

    Args:
        run: Folder of the run, which is there.
        config: Of the run.
        inputs: From `check_inputs`.
        start: The weights that a new run begins with, kept until it is finished; or None.

    Raises:
        UserError: If the folder cannot be written.
    """
    workspace = Workspace(run, RUN)
    with workspace.writing():
        if start is not None and not (run / CONFIG).exists():
            with workspace.written(START_WEIGHTS, durable=True) as partial:
                write_arrays(partial, start.weights)
        for name, text in ((INPUTS, inputs.text()), (CONFIG, dump_config(config))):
            if not (run / name).exists():
                workspace.write(name, text)
