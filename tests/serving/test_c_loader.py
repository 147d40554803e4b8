"""The export in TensorFlow's own C library, without Python."""

import os
import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("exports run on TensorFlow", allow_module_level=True)

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

SOURCE = Path(__file__).with_name("run_saved_model.c")
SHAPE = (13, 10, 17)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The C program, compiled against the wheel's headers and libraries."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler is on the PATH")
    package = Path(tf.__file__).parent
    libraries = [package / f"libtensorflow_{name}.so.2" for name in ("cc", "framework")]
    if not all(library.is_file() for library in libraries):
        pytest.skip("this TensorFlow is not built of libtensorflow_cc.so.2 and libtensorflow_framework.so.2")
    out = tmp_path_factory.mktemp("program") / "run_saved_model"
    command = [compiler, "-O1", "-Wall", "-Werror", "-I", str(package / "include"), str(SOURCE), "-o", str(out)]
    subprocess.run([*command, *map(str, libraries), f"-Wl,-rpath,{package}"], check=True)
    return out


@pytest.mark.parametrize("onednn", ["1", "0"])
def test_the_c_library_answers_as_the_model_does(program, exported, tmp_path, onednn):
    run, folder, *_ = exported["both"]
    content = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signature = content.meta_graphs[0].signature_def["serving_default"]
    names = [signature.inputs[name].name.removesuffix(":0") for name in ("fixed", "moving")]
    names.append(signature.outputs["displacement"].name)
    inputs = {name: np.random.default_rng(i).random((1, *SHAPE, 1), np.float32) for i, name in enumerate("fm")}
    for name, volume in inputs.items():
        volume.tofile(tmp_path / f"{name}.raw")
    files = [str(tmp_path / f"{name}.raw") for name in ("f", "m", "out")]
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": onednn, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [str(program), str(folder), *names, *map(str, SHAPE), *files]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"TensorFlow {tf.__version__}")
    found = np.fromfile(files[2], np.float32).reshape(1, *SHAPE, 3)
    expected = run.network.predict_on_batch({"fixed": inputs["f"], "moving": inputs["m"]})
    assert np.abs(expected["displacement"]).max() > 0.1
    np.testing.assert_allclose(found, expected["displacement"], atol=2e-5)
