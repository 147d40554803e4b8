"""The core's tests pass on a second backend."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CORE = [
    "tests/ops",
    "tests/layers",
    "tests/losses",
    "tests/refinement/test_descent.py",
    "tests/refinement/test_field_adam.py",
    "tests/models/test_displacement_head.py",
    "tests/models/test_registration_network.py",
    "tests/models/test_shared_weights.py",
    "tests/refinement/test_refine.py::test_deformation_is_recovered_and_certified",
]


@pytest.mark.skipif(os.environ.get("KERAS_BACKEND") == "jax", reason="the whole run is on JAX already")
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_core_passes_on_jax():
    # XLA compiles three times faster without optimisations, and twice as fast again without fusion emitters.
    environment = os.environ | {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
    }
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *CORE],
        cwd=Path(__file__).parents[1],
        env=environment,
        capture_output=True,
        text=True,
    )
    tail = result.stdout[-4000:] + result.stderr[-1000:]
    assert result.returncode == 0, tail
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed is not None, tail
    assert int(passed[1]) > 100, tail
