"""Commands for TensorFlow Serving."""

from pathlib import Path
from typing import Annotated

import typer

from tfreg.cli.option_groups import grouped
from tfreg.cli.options import (
    Device,
    Folder,
    Force,
    Machine,
    PairInputs,
    RecordPaths,
    Registering,
    Threads,
    print_summary,
    size_of,
)

app = typer.Typer()


@app.command()
def export(
    run: Annotated[Path, typer.Option(help="A run folder, or a .keras file in one.")],
    out: Annotated[Path, typer.Option(help="The model's folder; versions are numbered folders in it.")] = Path(
        "export/models/tfreg"
    ),
    shape: Annotated[
        list[str] | None, typer.Option(help="Size to warm up with, such as 64x192x192; may be repeated.")
    ] = None,
    onednn: Annotated[bool, typer.Option("--onednn", help="Faster convolutions that need oneDNN on the CPU.")] = False,
    max_voxels: Annotated[int, typer.Option(help="Requests for larger volumes are refused.")] = 16_000_000,
    threads: Threads = None,
    device: Device = None,
):
    """Write a run as the next version of a SavedModel for TensorFlow Serving."""
    shapes = [size_of(text) for text in shape or ()]
    from tfreg.runtime.keras_settings import load_keras
    from tfreg.runtime.native_output import silenced

    load_keras()
    with silenced():
        from tfreg.serving.saved_model.export import export_run

    folder, manifest = export_run(run, out, shapes, onednn, max_voxels, threads, device)
    differences = ", ".join(f"{name} {value:.1e}" for name, value in manifest["largest_difference"].items())
    print(f"in a process without tfreg the answers differ by at most: {differences}")
    print(folder)


@app.command()
def serve(
    model_base_path: Annotated[Path, typer.Option(help="The model's folder; versions are numbered folders in it.")],
    model_name: Annotated[str, typer.Option(help="What clients call the model.")] = "tfreg",
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8500,
    concurrency: Annotated[int, typer.Option(help="Predictions at once.")] = 1,
    queue: Annotated[int, typer.Option(help="Requests that may wait; more are refused.")] = 16,
    max_message_mb: Annotated[int, typer.Option(help="Largest request and answer.")] = 256,
    poll_seconds: Annotated[float, typer.Option(help="Time between looks for a new version.")] = 2.0,
    grace_seconds: Annotated[float, typer.Option(help="Time for requests in flight when stopped.")] = 30.0,
    silence_seconds: Annotated[
        float, typer.Option(help="Time until a silent client is asked for a sign, and again until it is dropped.")
    ] = 30.0,
    tensor_content: Annotated[
        bool, typer.Option("--tensor-content", help="Answer in raw bytes, which is quicker; the real server does not.")
    ] = False,
    tls_certificate: Annotated[Path | None, typer.Option(help="The server's certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="PEM file of who signed the clients' certificates, which are then required.")
    ] = None,
    insecure_any_host: Annotated[
        bool, typer.Option("--insecure-any-host", help="Let other machines connect without TLS.")
    ] = False,
    threads: Threads = None,
    device: Device = None,
):
    """Answer TensorFlow Serving's gRPC API on this machine, for development and small sites.

    Production uses the real server, on the same folder and with the same clients:
    tensorflow_model_server --port=8500 --model_name=tfreg --model_base_path=/models/tfreg
    """
    from tfreg.serving.server.serve import ServerOptions
    from tfreg.serving.server.serve import serve as serve_model

    serve_model(
        ServerOptions(
            model_base_path,
            model_name=model_name,
            host=host,
            port=port,
            concurrency=concurrency,
            queue=queue,
            max_message_mb=max_message_mb,
            poll_seconds=poll_seconds,
            grace_seconds=grace_seconds,
            silence_seconds=silence_seconds,
            tensor_content=tensor_content,
            tls_certificate=tls_certificate,
            tls_key=tls_key,
            tls_client_ca=tls_client_ca,
            insecure_any_host=insecure_any_host,
            threads=threads,
            device=device,
        )
    )


@app.command()
@grouped
def request(
    address: Annotated[str, typer.Option(help="HOST:PORT of `tfreg serve` or TensorFlow Serving.")],
    pair: PairInputs,
    out: Folder,
    options: Registering,
    machine: Machine,
    model_name: Annotated[str, typer.Option(help="What the server calls the model.")] = "tfreg",
    encoding: Annotated[str, typer.Option(help="float32, or int16 for half the bytes.")] = "float32",
    timeout: Annotated[float, typer.Option(help="Seconds for a call, repetitions included.")] = 300.0,
    retries: Annotated[int, typer.Option(help="How often a call is repeated that finds no server or a busy one.")] = 10,
    max_message_mb: Annotated[int, typer.Option(help="Largest message.")] = 1024,
    tls_ca: Annotated[Path | None, typer.Option(help="PEM file of who signed the server's certificate.")] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="The client's own certificate, PEM, for mTLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    record_paths: RecordPaths = False,
    force: Force = False,
):
    """Register one pair by a model that a server holds; the result is that of `tfreg register`."""
    from tfreg.runtime.native_output import silenced

    with silenced():
        from tfreg.serving.client.channel import Certificates, Patience
        from tfreg.serving.client.client import Client
    from tfreg.registration.register_files import Output, register_files
    from tfreg.runtime.progress import ProgressBar
    from tfreg.runtime.resources import Resources

    files, options = pair.resolved(options, out.name)
    certificates, patience = Certificates(tls_ca, tls_certificate, tls_key), Patience(timeout, retries)
    resources, output = Resources(**dict(machine)), Output(record_paths, force, ProgressBar())
    with Client(address, model_name, certificates, encoding, max_message_mb, patience) as client:
        print_summary(register_files(files, out, options, client.open, resources, output), out)
