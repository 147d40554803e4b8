"""The gRPC server itself: its services and limits, its port, and how it stops."""

import logging
import os
import signal
import threading
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from tfreg.config import ServerOptions
from tfreg.runtime.native_output import silenced
from tfreg.serving.server.admission import Admission
from tfreg.serving.server.calls import Calls
from tfreg.serving.server.model_versions import ModelVersions
from tfreg.serving.server.options import cannot_listen
from tfreg.serving.server.services import NAMES, ModelService, PredictionService

LOG = logging.getLogger("tfreg.serving")
_SPARE_THREADS = 4  # for what does not wait: status, metadata, refusals
_SPARE_CALLS = 64  # beyond them gRPC refuses calls itself, without reading them


def run(versions: ModelVersions, options: ServerOptions) -> None:
    """Serves loaded versions until SIGTERM or SIGINT; the process ends with 1 if requests had to be cut off.

    Args:
        versions: ModelVersions, of which one is loaded.
        options: ServerOptions.

    Raises:
        UserError: If the port cannot be listened at.
    """
    admission = Admission(options.concurrency, options.queue)
    health_service = health.HealthServicer()
    for name in ("", *NAMES):
        health_service.set(name, health_pb2.HealthCheckResponse.SERVING)
    server = _server(versions, admission, health_service, options)
    port = _open_port(server, options)
    stopping = threading.Event()
    _on_signal(lambda *_: stopping.set())
    server.start()
    print(f"serving {versions.name} at {options.address(port)}, version {versions.version}", flush=True)
    threading.Thread(target=versions.watch, args=(options.poll_seconds, stopping), daemon=True).start()
    stopping.wait()
    LOG.info("stopping; requests in flight: %d", admission.busy)
    _on_signal(signal.SIG_DFL)  # a second signal ends the process at once
    health_service.enter_graceful_shutdown()
    server.stop(options.grace_seconds).wait()
    if admission.busy:
        LOG.warning("stopped; some requests took longer than --grace-seconds")
        os._exit(1)  # a computation cannot be interrupted, and would keep the process
    LOG.info("stopped")


def _on_signal(action):
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, action)


def _server(versions, admission, health_service, options):
    threads = options.concurrency + options.queue + _SPARE_THREADS
    server = grpc.server(
        futures.ThreadPoolExecutor(threads, "call"),
        interceptors=(Calls(options.max_bytes),),
        maximum_concurrent_rpcs=threads + _SPARE_CALLS,
        options=(
            ("grpc.max_receive_message_length", options.max_bytes),
            ("grpc.max_send_message_length", options.max_bytes),
            ("grpc.so_reuseport", 0),  # a second server at the same port would take half of the requests
            # A client that vanished in the middle of a request would hold its thread for ever.
            ("grpc.keepalive_time_ms", int(1000 * options.silence_seconds)),
            ("grpc.http2.ping_timeout_ms", int(1000 * options.silence_seconds)),
        ),
    )
    prediction_service = PredictionService(versions, admission, options.max_bytes, options.tensor_content)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction_service, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(versions), server)
    health_pb2_grpc.add_HealthServicer_to_server(health_service, server)
    return server


def _open_port(server, options):
    """Opens the port, with TLS where asked for; returns its number."""
    address = options.address(options.port)
    try:
        with silenced():  # gRPC's own lines about a port that is taken
            if options.tls_certificate is None:
                return server.add_insecure_port(address)
            ca = options.tls_client_ca
            credentials = grpc.ssl_server_credentials(
                [(options.tls_key.read_bytes(), options.tls_certificate.read_bytes())],
                root_certificates=ca.read_bytes() if ca else None,
                require_client_auth=ca is not None,
            )
            return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise cannot_listen(address, "it is taken") from error
