"""Every public name: an example that runs, types of all that it takes and gives, and stubs that agree with modules."""

import ast
import doctest
import functools
import importlib
import inspect
import io
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import pytest

import tfreg

ROOT = Path(tfreg.__file__).parent
GOLDENS = Path(__file__).parent / "goldens"
PACKAGES = ("tfreg", "tfreg.layers", "tfreg.losses", "tfreg.metrics", "tfreg.models", "tfreg.transforms")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
NEEDS_TENSORFLOW = ("tfreg.Client", "tfreg.evaluate", "tfreg.export", "tfreg.train", "tfreg.tune")


def stub_of(package):
    """The stub's syntax tree."""
    folder = ROOT.joinpath(*package.split(".")[1:])
    return ast.parse((folder / "__init__.pyi").read_text("utf-8"))


def names_in(package):
    """Dictionary of a package's public names to the modules that they come from; None for a package."""
    imports = [node for node in stub_of(package).body if isinstance(node, ast.ImportFrom)]
    return {
        alias.name: None if node.module is None else f"{package}.{node.module}"
        for node in imports
        for alias in node.names
    }


NAMES = {
    f"{package}.{name}": module
    for package in PACKAGES
    for name, module in names_in(package).items()
    if module is not None
}
every_name = pytest.mark.parametrize("name", NAMES)
every_package = pytest.mark.parametrize("package", PACKAGES)


def public(name):
    """What a dotted name stands for."""
    package, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(package), attribute)


@every_name
def test_a_name_is_what_its_module_defines(name):
    item = public(name)
    assert item is getattr(importlib.import_module(NAMES[name]), name.rpartition(".")[2])
    assert not isinstance(item, ModuleType)
    assert item.__module__ == NAMES[name] or item.__module__.startswith(f"{NAMES[name]}.")


@every_package
def test_stub_and_package_have_the_same_names(package):
    module, names = importlib.import_module(package), names_in(package)
    (listed,) = (
        ast.literal_eval(node.value)
        for node in stub_of(package).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
    )
    assert sorted(listed) == sorted(names) == sorted(module.__all__)
    assert set(names) <= set(dir(module))
    assert len(listed) == len(set(listed))


@every_package
def test_no_name_is_hidden_by_a_module_of_the_same_name(package):
    """`tfreg.metrics.name` would become the module as soon as anything imports it."""
    folder = ROOT.joinpath(*package.split(".")[1:])
    modules = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    names = {name for name, module in names_in(package).items() if module is not None}
    assert not names & modules


@pytest.fixture(scope="session")
def beginning(tmp_path_factory):
    """A folder with what a newcomer may have: simulated chests, two images, a run, a result."""
    folder = tmp_path_factory.mktemp("examples")
    for source, target in (("data", "chests"), ("run", "run"), ("result", "result")):
        shutil.copytree(GOLDENS / source, folder / target)
    config = folder / "run" / "config.yaml"
    config.write_text(config.read_text().replace("steps_per_epoch: 20", "steps_per_epoch: 2"))
    for phase in ("exhale", "inhale"):
        shutil.copy(GOLDENS / "data" / "images" / f"s003_{phase}.nii.gz", folder / f"{phase}.nii.gz")
    return folder


@pytest.fixture(scope="session")
def address():
    """HOST:PORT of a server of the golden run, in threads of this process."""
    import grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    from tfreg.serving.protocol.version_folders import VersionFolders
    from tfreg.serving.server.admission import Admission
    from tfreg.serving.server.loaded_model import load
    from tfreg.serving.server.model_versions import ModelVersions
    from tfreg.serving.server.services import PredictionService

    versions = ModelVersions("tfreg", VersionFolders(GOLDENS / "export"), load)
    while versions.version is None:
        versions.poll()
    server = grpc.server(ThreadPoolExecutor(2))
    service = PredictionService(versions, Admission(1, 1), 2**30, True)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@every_name
def test_examples(name, beginning, tmp_path, monkeypatch, request):
    if name in NEEDS_TENSORFLOW and keras.backend.backend() != "tensorflow":
        pytest.skip("runs on TensorFlow")
    text = inspect.getdoc(public(name)) or ""
    examples = doctest.DocTestParser().get_examples(text)
    assert examples, f"{name}: has no example"
    assert "Example:" in text
    namespace = {"np": np, "tfreg": tfreg, "keras": keras}
    if "address" in text:
        namespace["address"] = request.getfixturevalue("address")
    folder = shutil.copytree(beginning, tmp_path / "here")
    monkeypatch.chdir(folder)
    output = io.StringIO()
    test = doctest.DocTest(examples, namespace, name, None, None, text)
    result = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=output.write)
    assert result.failed == 0, output.getvalue()


def functions_of(name):
    """(dotted name, function) of a public name and, of a class, of its own public methods and properties."""
    item = public(name)
    if not inspect.isclass(item):
        yield name, item
        return
    for part in item.__mro__:
        attributes = vars(part).items() if part.__module__.startswith("tfreg.") else ()
        for attribute, value in attributes:
            if attribute.startswith("_") and attribute not in ("__init__", "__call__"):
                continue
            if isinstance(value, property | functools.cached_property):
                value = value.fget if isinstance(value, property) else value.func
            value = inspect.unwrap(getattr(value, "__func__", value))  # of a class method
            # What dataclasses make has its fields' types, and lies in no file.
            if inspect.isfunction(value) and value.__code__.co_filename == inspect.getfile(part):
                yield f"{name}.{attribute}", value


@every_name
def test_types(name):
    for place, function in functions_of(name):
        signature = inspect.signature(inspect.unwrap(function))
        for parameter in signature.parameters.values():
            typed = parameter.annotation is not inspect.Parameter.empty
            assert typed or parameter.name in ("self", "cls"), f"{place}: {parameter.name} has no type"
        assert signature.return_annotation is not inspect.Signature.empty, f"{place}: what it returns has no type"


def test_the_checks_see_what_is_missing():
    assert "tfreg.register" in NAMES
    assert "tfreg.layers.LinearGrid" in NAMES
    places = [place for place, _ in functions_of("tfreg.Transform")]
    assert {"tfreg.Transform.linear_world", "tfreg.Transform.identity", "tfreg.Transform.warp"} <= set(places)
    assert "tfreg.layers.GradientHead.call" in [place for place, _ in functions_of("tfreg.layers.GradientHead")]
