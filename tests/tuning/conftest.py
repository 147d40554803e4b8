"""Configs of searches."""

import pytest
from searches import QUICK

from tfreg.config import load_config


@pytest.fixture
def config(tmp_path):
    """The config of a search of a minute."""
    (tmp_path / "quick.yaml").write_text(QUICK)
    return load_config(tmp_path / "quick.yaml")
