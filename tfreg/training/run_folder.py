"""The folder of a training: whether it may be begun or gone on with there."""

import json
import warnings

from tfreg.config import dump_config
from tfreg.errors import InputWarning, UserError
from tfreg.io.folders.folder_lock import LOCK
from tfreg.io.folders.input_digests import digest_of_pairs
from tfreg.io.folders.whole_file import whole_file

CONFIG, REPORT, INPUTS = "config.yaml", "report.json", "inputs.json"


def check_run(run, config):
    """Refuses a folder that holds something else than this run, interrupted.

    Args:
        run: Its `Path`; it need not be there.
        config: A `tfreg.config.Config`.

    Raises:
        UserError: If the folder is a file, or holds something else, another run, or a finished one.
    """
    if not run.exists():
        return
    if not run.is_dir():
        raise UserError(f"{run}: is a file; name a folder for the run")
    if not any(path.name != LOCK for path in run.iterdir()):
        return
    if not (run / CONFIG).exists():
        raise UserError(f"{run}: holds something else than a run; name another folder")
    known = (run / CONFIG).read_text(encoding="utf-8", errors="replace")
    if not known.strip("\0 \n"):
        raise UserError(f"{run / CONFIG}: is empty, as after a power loss; name another folder, or delete this one")
    if known != dump_config(config):
        raise UserError(f"{run}: is a run with another config; name another folder, or delete this one")
    if (run / REPORT).exists():
        if not _is_whole(run / REPORT):
            raise UserError(f"{run / REPORT}: is damaged; delete it, and the end of the training is done again")
        raise UserError(f"{run}: is a finished run; name another folder, or delete this one")


def check_inputs(run, training, validation):
    """Refuses to go on with other data than the run was begun with.

    Args:
        run: The run's `Path`.
        training, validation: Lists of `tfreg.io.tables.manifest.PairFiles`.

    Returns:
        The pairs' digests, a dictionary, to be given to `start_run`.

    Raises:
        UserError: If the pairs or the content of their files are others.
    """
    digests = {
        name: {"pairs": len(pairs), "digest": digest_of_pairs(pairs)}
        for name, pairs in (("training", training), ("validation", validation))
    }
    if not (run / CONFIG).exists():
        return digests
    if not (run / INPUTS).exists():
        text = f"{run}: says nothing of the data that it was begun with; whether the table is the same is not known"
        warnings.warn(text, InputWarning, stacklevel=2)
        return digests
    try:
        known = json.loads((run / INPUTS).read_text(encoding="utf-8"))
        differing = [name for name, digest in digests.items() if known[name] != digest]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{run / INPUTS}: is damaged; name another folder, or delete this run") from error
    if differing:
        raise UserError(
            f"{run}: was begun with other {' and '.join(differing)} pairs, or their files have changed since; give the "
            "data that it was begun with, or name another folder"
        )
    return digests


def start_run(run, config, digests):
    """Writes down what the run is begun with.

    Args:
        run: The run's `Path`, a folder that is there.
        config: A `tfreg.config.Config`.
        digests: From `check_inputs`.

    Raises:
        UserError: If the folder cannot be written.
    """
    try:
        # The config tells a run, so it comes last.
        for name, text in ((INPUTS, json.dumps(digests, indent=2) + "\n"), (CONFIG, dump_config(config))):
            if not (run / name).exists():
                with whole_file(run / name, durable=True) as partial:
                    partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{run}: cannot be written ({error.strerror}); choose another place") from error


def _is_whole(file):
    """Whether a file holds JSON."""
    try:
        json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True
