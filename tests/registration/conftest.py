"""A run that registers."""

import numpy as np
import pytest
from pairs import SMALL_NETWORK

from tfreg.config import dump_config, parse_config
from tfreg.training.build_model import build_model


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, perturb):
    """A run whose small network moves everything by some voxels."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    folder.mkdir()
    config = parse_config(
        {"preprocessing": {"network_grid": {"orientation": "LPS", "spacing": 6}}, "model": SMALL_NETWORK}
    )
    model = build_model(config)
    perturb(model, np.random.default_rng(4), 0.05)
    model.save(folder / "model.keras")
    (folder / "config.yaml").write_text(dump_config(config))
    return folder
