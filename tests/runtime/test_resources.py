"""What a command sets before it computes."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["jax", "sklearn", "matplotlib"])
def test_keras_comes_without_what_takes_long_to_load_and_can_still_be_had(package):
    program = (
        "import importlib, sys\n"
        "from tfreg.runtime.resources import Resources\n"
        "Resources(3).set_up()\n"
        f"print('keras' in sys.modules, '{package}' in sys.modules)\n"
        f"print(importlib.import_module('{package}').__name__)\n"
    )
    assert answer(program, KERAS_BACKEND="tensorflow") == f"True False\n{package}\n"


def test_keras_finds_jax_where_it_is_asked_for():
    pytest.importorskip("jax")
    program = (
        "from tfreg.runtime.resources import Resources\n"
        "Resources().set_up()\n"
        "import keras\n"
        "print(keras.backend.backend())\n"
    )
    assert answer(program, KERAS_BACKEND="jax") == "jax\n"


@pytest.mark.parametrize(
    ("environment", "device", "expected"),
    [({}, "gpu", "--device gpu: JAX sees no GPU here"), ({"JAX_PLATFORMS": "nothing"}, "", "JAX does not start here")],
)
def test_jax_without_what_is_asked_for_is_one_line(environment, device, expected):
    pytest.importorskip("jax")
    program = (
        "from tfreg.errors import UserError\n"
        "from tfreg.runtime.resources import Resources\n"
        "try:\n"
        f"    Resources(device={device!r} or None).set_up()\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    text = answer(
        program, **({"KERAS_BACKEND": "jax", "CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": ""} | environment)
    )
    assert text.startswith(expected)
    assert text.count("\n") == 1


def test_what_is_loaded_at_the_start_is_not_searched_for_garbage_and_what_comes_later_is():
    program = (
        "import gc, weakref\n"
        "from tfreg.runtime.resources import Resources\n"
        "Resources().set_up()\n"
        "class Node: pass\n"
        "node = Node()\n"
        "node.itself, seen = node, weakref.ref(node)\n"
        "del node\n"
        "gc.collect()\n"
        "print(gc.get_freeze_count() > 100_000, gc.isenabled(), seen())\n"
    )
    assert answer(program) == "True True None\n"


def answer(program, **environment):
    """What a program prints in an interpreter of its own; an empty variable is taken away."""
    environment = {name: value for name, value in (os.environ | environment).items() if value}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True, env=environment
    )
    return done.stdout
