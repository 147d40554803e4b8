"""Many clients, clients that leave, deadlines, a full queue, garbage, memory, and an orderly end."""

import contextlib
import re
import signal
import socket
import threading
import time
from concurrent import futures

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from tensorflow_serving.apis import predict_pb2

from tfreg.serving.protocol.tensors import to_array, to_proto
from tfreg.serving.server.admission import Admission
from tfreg.serving.server.status import StatusError

SECONDS = 120


def request_of(value=0.5, shape=(1, 4, 5, 6, 1), as_content=True):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "tfreg"
    for alias in ("fixed", "moving"):
        request.inputs[alias].CopyFrom(to_proto(np.full(shape, value, np.float32), as_content))
    return request


def slow_request(seconds):
    """One that keeps a thread of TensorFlow busy for so long."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "tfreg"
    request.model_spec.signature_name = "slow"
    request.inputs["seconds"].CopyFrom(to_proto(np.float32(seconds)))
    return request


def code_of(future):
    try:
        future.result(timeout=SECONDS)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


class Client:
    """The part of a grpc.ServicerContext that Admission asks."""

    def __init__(self, active=True, remaining=None):
        self.active, self.remaining = active, remaining

    def is_active(self):
        return self.active

    def time_remaining(self):
        return self.remaining


def test_admission_lets_in_one_after_the_other_in_order():
    admission, order, inside = Admission(2, 8), [], []

    def ask(number):
        with admission.turn(Client()):
            order.append(number)
            inside.append(admission._running)
            time.sleep(0.01)

    with admission.turn(Client()), admission.turn(Client()):
        threads = []
        for number in range(8):
            threads.append(threading.Thread(target=ask, args=(number,)))
            threads[-1].start()
            until(lambda: admission.busy == number + 3)  # noqa: B023
        with pytest.raises(StatusError, match=r"server is busy: 2 predictions run and 8 wait; try again later") as full:
            admission.turn(Client()).__enter__()
        assert full.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not order
    for thread in threads:
        thread.join()
    assert order == sorted(order)
    assert max(inside) <= 2
    assert admission.busy == 0


def test_admission_lets_nobody_in_who_does_not_wait():
    admission, gone = Admission(1, 1), Client()
    for client, code in ((Client(active=False), "CANCELLED"), (Client(remaining=0), "DEADLINE_EXCEEDED")):
        with pytest.raises(StatusError) as refused, admission.turn(client):
            pass
        assert refused.value.code is grpc.StatusCode[code]
    with admission.turn(Client()):
        threading.Timer(0.05, setattr, (gone, "active", False)).start()
        with pytest.raises(StatusError, match="client has gone"), admission.turn(gone):
            pass
    assert admission.busy == 0


def test_a_prediction_that_fails_gives_its_turn_back():
    admission = Admission(1, 0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), admission.turn(Client()):
            _ = 1 / 0
    with admission.turn(Client()):
        assert admission.busy == 1


@pytest.fixture(scope="module")
def server(start_server, base_path):
    """One prediction at once, and one that waits; it soon asks for a sign of life, and gives no grace at its end."""
    return start_server(base_path, "--queue", 1, "--silence-seconds", 2, "--grace-seconds", 0.2)


@pytest.fixture(scope="module")
def wide(start_server, base_path):
    return start_server(base_path)


@pytest.fixture(scope="module")
def served(outside, request):
    """What many clients use at once: `wide`, and the server outside where there is one."""
    return outside or request.getfixturevalue("wide")


def test_a_full_queue_refuses(server):
    predict = server.connect()[0].Predict
    calls = [predict.future(slow_request(2), timeout=SECONDS) for _ in range(5)]
    codes = [code_of(call) for call in calls]
    assert codes.count(grpc.StatusCode.OK) >= 2
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) >= 1
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    texts = {call.details() for call in calls if call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert all(re.match(r"the server is busy: \d predictions run and \d wait; try again later", t) for t in texts)


@pytest.mark.parametrize("ends", ["deadline", "disconnect"])
def test_what_nobody_waits_for_is_not_computed(server, ends):
    """Behind one of 2.5 s, one of ten minutes whose client leaves; the next is answered all the same."""
    predict = server.connect()[0].Predict
    first = predict.future(slow_request(2.5), timeout=SECONDS)
    time.sleep(0.3)
    second = predict.future(slow_request(600), timeout=0.5 if ends == "deadline" else SECONDS)
    time.sleep(0.3)
    if ends == "disconnect":
        second.cancel()
    else:
        assert code_of(second) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert code_of(first) is grpc.StatusCode.OK
    assert predict(request_of(), timeout=SECONDS).model_spec.version.value == 7


def test_a_client_that_leaves_while_it_is_computed_harms_nobody(server):
    predict = server.connect()[0].Predict
    call = predict.future(slow_request(1), timeout=SECONDS)
    time.sleep(0.3)
    call.cancel()
    assert predict(request_of(), timeout=SECONDS).model_spec.version.value == 7


def test_clients_that_leave_early_harm_nobody(served):
    predict = served.connect()[0].Predict
    for seconds in (0, 0.01, 0.1, 0.3):
        predict.future(request_of(shape=(1, 64, 64, 64, 1)), timeout=SECONDS).cancel()
        left = predict.future(request_of(shape=(1, 64, 64, 64, 1)), timeout=SECONDS)
        time.sleep(seconds)
        left.cancel()
        late = predict.future(request_of(shape=(1, 64, 64, 64, 1)), timeout=seconds)
        assert code_of(late) in (grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED)
    assert predict(request_of(), timeout=SECONDS).model_spec.version.value == served.version


def half_a_request():
    """The bytes of an HTTP/2 connection that begins a Predict call and never sends its message."""

    def frame(kind, flags, stream, content):
        return len(content).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + content

    def field(name, value):
        return name + bytes([len(value)]) + value

    method = b"/tensorflow.serving.PredictionService/Predict"
    # Indexed :method POST and :scheme http, then literals: :path, :authority, content-type, te (RFC 7541).
    headers = b"\x83\x86" + field(b"\x04", method) + field(b"\x01", b"here") + field(b"\x0f\x10", b"application/grpc")
    headers += field(field(b"\x00", b"te"), b"trailers")
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, headers)


def test_clients_that_vanish_while_they_send_are_dropped(server):
    """More than there are threads: they hold them all until they are asked for a sign."""
    predict = server.connect()[0].Predict
    host, port = server.address.rsplit(":", 1)
    with contextlib.ExitStack() as stack:
        for _ in range(12):
            silent = stack.enter_context(socket.create_connection((host, int(port))))
            silent.sendall(half_a_request())
        time.sleep(0.5)
        with pytest.raises(grpc.RpcError):  # what the silent ones cost
            predict(request_of(), timeout=0.5)
        until(lambda: code_of(predict.future(request_of(), timeout=1)) == grpc.StatusCode.OK, 30)


def test_garbage_at_the_port_harms_nobody(served, rng):
    host, port = served.address.split(":")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for garbage in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", rng.bytes(1000), b"", preface + rng.bytes(1000), preface):
        with (
            socket.create_connection((host, int(port)), timeout=10) as connection,
            contextlib.suppress(OSError),
        ):
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(2)
            connection.recv(100)
    assert served.connect()[0].Predict(request_of(), timeout=SECONDS).model_spec.version.value == served.version


def test_eight_clients_at_once_get_their_own_answers(served):
    """Those that each of them got alone before."""
    clients = [served.connect(**{"grpc.use_local_subchannel_pool": 1})[0].Predict for _ in range(8)]

    def ask(number, count):
        value = np.random.default_rng((number, count)).random((1, 16 + number, 20, 24, 1), np.float32)
        response = clients[number](request_of(value, value.shape, count % 2 == 0), timeout=SECONDS)
        return to_array(response.outputs["warped"])

    alone = [[ask(number, count) for count in range(3)] for number in range(8)]
    end = time.monotonic() + 3

    def ask_again(number):
        count = 0
        while count < 3 or time.monotonic() < end:
            np.testing.assert_allclose(ask(number, count % 3), alone[number][count % 3], atol=1e-5)
            count += 1
        return count

    with futures.ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(ask_again, range(8)))
    assert min(counts) >= 3


def memory(pid):
    """Resident memory in MiB."""
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) / 1024


def test_memory_does_not_grow(wide):
    """Of 60 requests with answers of 5 MiB, after 150 to get warm; leaking one answer in ten would be 30 MiB.

    Beside other work a server takes more requests until its threads have the memory that they go on with.
    """
    predict = wide.connect()[0].Predict
    request = request_of(shape=(1, 64, 64, 64, 1))
    for _ in range(150):
        predict(request, timeout=SECONDS)
    before = memory(wide.process.pid)
    for _ in range(60):
        predict(request, timeout=SECONDS)
    assert memory(wide.process.pid) < before + 25


def test_sigterm_lets_what_is_in_flight_finish(wide):
    predictions, _, health = wide.connect()
    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    call = predictions.Predict.future(slow_request(2), timeout=SECONDS)
    time.sleep(0.5)
    wide.process.send_signal(signal.SIGTERM)
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()
    newcomer = wide.connect(**{"grpc.use_local_subchannel_pool": 1})[0].Predict
    refusals = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    until(lambda: code_of(newcomer.future(request_of(), timeout=10)) in refusals)  # the door closes after the sign
    assert call.result(timeout=SECONDS).model_spec.version.value == 7
    assert wide.process.wait(timeout=60) == 0
    assert wide.log.splitlines()[-1].endswith(" stopped")
    assert "Traceback" not in wide.log


def test_what_takes_longer_than_the_grace_is_cut_off(server):
    call = server.connect()[0].Predict.future(slow_request(600), timeout=SECONDS)
    time.sleep(0.5)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=60) == 1
    assert code_of(call) in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    assert "some requests took longer than --grace-seconds" in server.log
