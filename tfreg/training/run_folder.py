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
from tfreg.io.tables.manifest import PairFiles
from tfreg.io.training_report import REPORT, TrainingReport

CONFIG, INPUTS = "config.yaml", "inputs.json"
# The config tells a run, so it is written last.
RUN = Kind("a run", CONFIG, ())


@dataclass(frozen=True)
class PairsDigest:
    """How many pairs, and the digest of their files."""

    pairs: int
    digest: str


class TrainingInputs(Record):
    """What inputs.json says: the data that a run was begun with.

    Args:
        training, validation: Pairs to learn from, and to be measured on.
    """

    CURE: ClassVar[str] = "name another folder, or delete this run"

    training: PairsDigest
    validation: PairsDigest


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
        return dump_config(load_written_config(file)) == dump_config(config)
    except UserError:
        return False


def check_inputs(run: Path, training: Sequence[PairFiles], validation: Sequence[PairFiles]) -> TrainingInputs:
    """Refuses to go on with other data than the run was begun with.

    Args:
        run: Folder of the run.
        training, validation: Pairs to learn from, and to be measured on.

    Returns:
        What the run is begun with, to be given to `start_run`.

    Raises:
        UserError: If the pairs or the content of their files are others.
    """
    inputs = TrainingInputs(
        **{
            name: PairsDigest(len(pairs), pairs_digest(pairs))
            for name, pairs in (("training", training), ("validation", validation))
        }
    )
    if not (run / CONFIG).exists():
        return inputs
    if not (run / INPUTS).exists():
        text = f"{run}: says nothing of the data that it was begun with; whether the table is the same is not known"
        warnings.warn(text, InputWarning, stacklevel=2)
        return inputs
    others = differing(TrainingInputs.read(run / INPUTS), inputs)
    if others:
        raise UserError(
            f"{run}: was begun with other {' and '.join(others)} pairs, or their files have changed since; give the "
            "data that it was begun with, or name another folder"
        )
    return inputs


def start_run(run: Path, config: Config, inputs: TrainingInputs) -> None:
    """Writes down what the run is begun with.

    Args:
        run: Folder of the run, which is there.
        config: Of the run.
        inputs: From `check_inputs`.

    Raises:
        UserError: If the folder cannot be written.
    """
    workspace = Workspace(run, RUN)
    with workspace.writing():
        for name, text in ((INPUTS, inputs.text()), (CONFIG, dump_config(config))):
            if not (run / name).exists():
                workspace.write(name, text)
