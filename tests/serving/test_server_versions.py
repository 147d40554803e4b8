"""Version folders: which are complete, what is loaded, taken over and released, with and without a server."""

import logging
import shutil
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
    prediction_log_pb2,
)

from tfreg.serving.protocol.tensors import to_array, to_proto
from tfreg.serving.protocol.version_folders import VersionFolders
from tfreg.serving.saved_model.warm_up import FILE as WARM_UP
from tfreg.serving.server.loaded_model import load
from tfreg.serving.server.model_versions import ModelVersions
from tfreg.serving.server.status import StatusError

State = get_model_status_pb2.ModelVersionStatus


class FakeModel:
    """Loads unless its saved_model.pb says `broken`."""

    def __init__(self, path, version):
        if (path / "saved_model.pb").read_text() == "broken":
            raise ValueError("broken")
        self.version = version


@pytest.fixture
def versions(tmp_path):
    return ModelVersions("tfreg", VersionFolders(tmp_path), FakeModel)


def write(folder, text="model"):
    folder.mkdir(exist_ok=True)
    (folder / "saved_model.pb").write_text(text)


def poll(versions, times=2):
    for _ in range(times):
        versions.poll()
    return versions.version


def spec(name="tfreg", version=None):
    found = model_pb2.ModelSpec(name=name)
    if version is not None:
        found.version.value = version
    return found


def test_a_folder_is_complete_when_nothing_has_changed_between_two_polls(tmp_path):
    folders = VersionFolders(tmp_path)
    (tmp_path / "3/variables").mkdir(parents=True)
    for name in ("notes", "²", str(2**63)):
        (tmp_path / name).mkdir()
    (tmp_path / "4").write_text("a file")
    (tmp_path / "3/variables/data").write_bytes(b"12")

    def complete():
        found = folders.poll()
        assert list(found) == [3]
        return found[3].complete

    assert [complete(), complete()] == [False, False]  # no saved_model.pb
    (tmp_path / "3/saved_model.pb").write_bytes(b"1")
    assert [complete(), complete(), complete()] == [False, True, True]
    (tmp_path / "3/variables/data").write_bytes(b"123")
    assert [complete(), complete()] == [False, True]
    (tmp_path / "3/assets").mkdir()
    (tmp_path / "3/assets/more").write_bytes(b"")
    assert [complete(), complete()] == [False, True]


def test_the_newest_number_is_served(versions, tmp_path):
    for number in (9, 10, 2):
        write(tmp_path / str(number))
    assert poll(versions, 1) is None
    assert poll(versions, 1) == 10
    with versions.lease(spec()) as model:
        assert model.version == 10
    assert versions.states() == {10: (State.AVAILABLE, grpc.StatusCode.OK, "")}


def test_a_version_taken_over_lives_as_long_as_it_is_used(versions, tmp_path):
    write(tmp_path / "1")
    poll(versions)
    with versions.lease(spec()) as model:
        write(tmp_path / "2")
        assert poll(versions, 3) == 2
        assert model.version == 1
        assert [state for state, _, _ in versions.states().values()] == [State.AVAILABLE, State.UNLOADING]
        with pytest.raises(StatusError, match=r"Specific\(tfreg, 1\)"), versions.lease(spec(version=1)):
            pass
        with versions.lease(spec(version=2)) as newer:
            assert newer.version == 2
    versions.poll()
    assert [state for state, _, _ in versions.states().values()] == [State.AVAILABLE, State.END]


def test_the_version_before_is_served_when_the_newest_disappears(versions, tmp_path):
    for number in (1, 2):
        write(tmp_path / str(number))
    assert poll(versions) == 2
    shutil.rmtree(tmp_path / "2")
    assert poll(versions) == 1
    shutil.rmtree(tmp_path / "1")
    assert poll(versions) == 1  # the last one stays
    write(tmp_path / "2")
    assert poll(versions) == 2


def test_a_version_that_fails_is_tried_again_when_it_changes(versions, tmp_path, caplog):
    write(tmp_path / "1")
    poll(versions)
    write(tmp_path / "2", "broken")
    with caplog.at_level(logging.INFO, "tfreg.serving"):
        assert poll(versions, 5) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "version 2 cannot be loaded; version 1 goes on: ValueError: broken"
    ]
    assert versions.states()[2][:2] == (State.END, grpc.StatusCode.UNKNOWN)
    write(tmp_path / "2", "mended")
    assert poll(versions) == 2
    assert versions.states()[2] == (State.AVAILABLE, grpc.StatusCode.OK, "")


def test_the_version_in_use_is_not_loaded_again(versions, tmp_path):
    write(tmp_path / "1")
    poll(versions)
    with versions.lease(spec()) as model:
        write(tmp_path / "1", "changed")
        poll(versions, 3)
        with versions.lease(spec()) as same:
            assert same is model


def test_watching_survives_a_base_path_that_vanishes(versions, tmp_path, caplog):
    write(tmp_path / "1")
    poll(versions)
    shutil.rmtree(tmp_path)
    stopping = threading.Event()
    watcher = threading.Thread(target=versions.watch, args=(0.01, stopping))
    watcher.start()
    until(lambda: caplog.records)
    time.sleep(0.1)
    tmp_path.mkdir()
    write(tmp_path / "2")
    until(lambda: versions.version == 2)
    stopping.set()
    watcher.join()
    troubles = [record.getMessage() for record in caplog.records if "cannot be polled" in record.getMessage()]
    assert len(troubles) == 1
    assert troubles[0].startswith("version folders cannot be polled: FileNotFoundError")


def until(condition, seconds=60):
    """Waits for something that must come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def request_of(value, **model_spec):
    request = predict_pb2.PredictRequest(model_spec=spec(**model_spec), output_filter=["warped"])
    for alias in ("fixed", "moving"):
        request.inputs[alias].CopyFrom(to_proto(np.full((1, 4, 5, 6, 1), value, np.float32), True))
    return request


def test_warm_up_requests_are_answered_before_a_version_is_taken(write_tiny_model, tmp_path):
    folder = write_tiny_model(tmp_path / "1", 1)
    (folder / WARM_UP).parent.mkdir()
    for value, text in ((0.5, None), (np.nan, "not finite")):
        log = prediction_log_pb2.PredictionLog()
        log.predict_log.request.CopyFrom(request_of(value))
        with tf.io.TFRecordWriter(str(folder / WARM_UP)) as writer:
            writer.write(log.SerializeToString())
        if text is None:
            assert load(folder, 1).version == 1
        else:
            with pytest.raises(tf.errors.InvalidArgumentError, match=text):
                load(folder, 1)


@pytest.fixture(scope="module")
def live(start_server, tmp_path_factory, write_tiny_model):
    """(server, its base path), with version 1."""
    base_path = tmp_path_factory.mktemp("live")
    write_tiny_model(base_path / "1", 1)
    return start_server(base_path, "--poll-seconds", 0.2), base_path


class Stream:
    """Requests one after the other, in several threads, with every answer checked."""

    def __init__(self, server, threads=2):
        self.seen = []  # versions, in the order of the answers
        self.errors = []
        self._predict = server.connect()[0].Predict
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(threads)]

    def _ask(self, number):
        while not self._ending.is_set():
            try:
                response = self._predict(request_of(number), timeout=60)
                version = response.model_spec.version.value
                np.testing.assert_array_equal(to_array(response.outputs["warped"]), number + version)
                self.seen.append(version)
            except Exception as error:
                self.errors.append(error)
                return

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        until(lambda: len(self.seen) > 5)
        return self

    def __exit__(self, *_):
        self._ending.set()
        for thread in self._threads:
            thread.join()
        assert not self.errors


def test_take_over_under_a_stream_of_requests(live, write_tiny_model, tmp_path):
    """Half a copy, a broken copy, the whole, and its disappearance: the stream never notices more than the number."""
    server, base_path = live
    models = server.connect()[1]
    whole = write_tiny_model(tmp_path / "2", 2)

    def states():
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec())
        found = models.GetModelStatus(request, timeout=60).model_version_status
        return {entry.version: State.State.Name(entry.state) for entry in found}

    with Stream(server) as stream:
        shutil.copytree(whole / "variables", base_path / "2/variables")
        time.sleep(1)
        assert states() == {1: "AVAILABLE"}

        graph = (whole / "saved_model.pb").read_bytes()
        (base_path / "2/saved_model.pb").write_bytes(graph[: len(graph) // 2])
        until(lambda: states() == {2: "END", 1: "AVAILABLE"})
        until(lambda: server.log.count("version 2 cannot be loaded; version 1 goes on") == 1)
        assert set(stream.seen) == {1}

        (base_path / "2/saved_model.pb").write_bytes(graph)
        until(lambda: stream.seen[-1] == 2)
        until(lambda: states() == {2: "AVAILABLE", 1: "END"})
        predict = server.connect()[0].Predict
        assert predict(request_of(0, version=2), timeout=60).model_spec.version.value == 2
        with pytest.raises(grpc.RpcError) as raised:
            predict(request_of(0, version=1), timeout=60)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        assert raised.value.details() == "Servable not found for request: Specific(tfreg, 1)"

        (base_path / "2").rename(tmp_path / "aside")
        until(lambda: stream.seen[-1] == 1)
        until(lambda: states() == {2: "END", 1: "AVAILABLE"})
    changes = [after for before, after in zip(stream.seen, stream.seen[1:], strict=False) if after != before]
    assert changes[0] == 2
    assert changes[-1] == 1
    assert server.log.count("cannot be loaded") == 1


def test_a_first_version_that_cannot_be_loaded_ends_the_server(tmp_path, start_server):
    write(tmp_path / "1", "no model")
    with pytest.raises(AssertionError, match=r"tfreg: error: .*: no version in it can be loaded; export the model"):
        start_server(tmp_path, "--poll-seconds", 0.2)
