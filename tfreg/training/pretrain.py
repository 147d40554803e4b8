"""Training on random pairs of which the true displacement is known."""

import time
from collections.abc import Callable
from pathlib import Path

from tfreg.config import Config
from tfreg.io.network_weights import assign_weights, read_weights, write_weights
from tfreg.io.tables.training_people import TrainingPeople
from tfreg.io.training_report import TrainingReport
from tfreg.runtime.keras_settings import own_keras_settings
from tfreg.runtime.progress import Progress
from tfreg.training.build_model import create_state, reads_once
from tfreg.training.run_folder import START_WEIGHTS, check_inputs, start_run
from tfreg.training.run_report import MODEL, WEIGHTS, measured_report, read_rows
from tfreg.training.start import Start


def pretrain(
    config: Config, run: Path, check: Callable[[], None], start: Start | None, progress: Progress
) -> TrainingReport:
    """Trains on simulated pairs, in a folder that is locked; goes on where a call before ended.

    The network that is kept has the average of the weights, in model.keras and, by the variables' paths, in
    weights.npz. Nothing is chosen by a validation: the pairs of every step are new.

    Args:
        config: With pairs `simulated`.
        run: Folder of the run.
        check: Called before files are written; raises where this process must not write any more.
        start: What the weights begin with, or None.
        progress: Is told how many batches are done, and after each epoch its losses.

    Returns:
        The report, `finished` or of the epochs so far. `best` is the last epoch, and as `val_...` what the averaged
        network makes of pairs that no step has seen, the same number of batches of every side.

    Raises:
        UserError: If start and run do not fit the config.
        WorkError: If the training diverges.
    """
    from tfreg.training.callbacks import supervised_callbacks
    from tfreg.training.fit import fit
    from tfreg.training.simulated_pairs import HELD_OUT, SimulatedDataset
    from tfreg.training.supervised_network import build_supervised

    inputs = check_inputs(run, (), (), start)
    network, model = build_supervised(config)
    if start is not None:
        assign_weights(network, start.weights, start.name)
    start_run(run, config, inputs, start)
    TrainingPeople.of_pairs((), ()).save(run)
    settings, options, began = config.training, config.simulated, time.perf_counter()
    with own_keras_settings():
        training_set = SimulatedDataset(options, settings.steps_per_epoch, config.seed)
        callbacks, state = supervised_callbacks(run, training_set, check)
        finished_epochs = state.restore(model)
        if not finished_epochs and (run / START_WEIGHTS).is_file():
            assign_weights(network, read_weights(run / START_WEIGHTS), run / START_WEIGHTS)
        over = False
        if finished_epochs < settings.epochs:
            if reads_once(None):  # elsewhere Keras does it itself
                create_state(model)
            over = fit(run, config, model, (training_set, None), callbacks, finished_epochs, progress)
        model.optimizer.finalize_variable_values(model.trainable_variables)
        rows, seconds = read_rows(run), time.perf_counter() - began
        counts = (_pairs(config, len(rows) * settings.steps_per_epoch), sum(options.batch_sizes))
        measured = dict(rows[-1])
        if not over:
            check()
            network.save(run / MODEL)
            write_weights(run / WEIGHTS, network)
            held_out = SimulatedDataset(options, len(options.sides), config.seed, HELD_OUT)
            values = model.evaluate(held_out, return_dict=True, verbose=0)
            measured |= {f"val_{name}": float(value) for name, value in values.items()}
    return measured_report(run, config, network, counts, measured, seconds, finished_epochs or None, not over)


def _pairs(config, steps):
    """How many pairs some steps have seen."""
    sizes = config.simulated.batch_sizes
    return sum(size * len(range(number, steps, len(sizes))) for number, size in enumerate(sizes))
