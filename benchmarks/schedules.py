"""Networks on other grids and with other numbers of passes than their config says."""

import dataclasses


def rescheduled(run, voxels, passes=None):
    """A run on a grid of so many voxels at most, and in so many passes.

    Args:
        run: What `tfreg.load_run` or `tfreg.load_weights` returned.
        voxels: Of the network grid, cubes.
        passes: In all, or None for the config's.

    Returns:
        The run with a config of its own.
    """
    from tfreg.registration.passes import schedule_of

    preprocessing = run.config.preprocessing
    grid = preprocessing.network_grid.model_copy(update={"voxels": voxels})
    changed = {
        "preprocessing": preprocessing.model_copy(update={"network_grid": grid}),
        "prediction": schedule_of(run.config, passes),
    }
    return dataclasses.replace(run, config=run.config.model_copy(update=changed))
