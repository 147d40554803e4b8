"""What a command sets before it computes."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["sklearn", "matplotlib"])
def test_keras_comes_without_what_takes_long_to_load_and_can_still_be_had(package):
    program = (
        "import importlib, sys\n"
        "from tfreg.workflows.runtime import set_up\n"
        "set_up(seed=3)\n"
        f"print('keras' in sys.modules, '{package}' in sys.modules)\n"
        f"print(importlib.import_module('{package}').__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == f"True False\n{package}\n"
