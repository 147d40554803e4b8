"""Commands for TensorFlow Serving."""

from pathlib import Path
from typing import Annotated

import typer

from tfreg.cli.option_groups import Fields, grouped
from tfreg.cli.options import (
    Folder,
    Force,
    Machine,
    PairInputs,
    RecordPaths,
    Registering,
    SeedlessMachine,
    print_summary,
    size_of,
)
from tfreg.config import SHIPPED_WEIGHTS, ExportOptions, RequestOptions, ServerOptions, checked

app = typer.Typer()


@app.command()
@grouped
def export(
    run: Annotated[
        Path, typer.Option(help="A run folder, or a .keras file in one; without it, the weights that ship.")
    ] = Path(SHIPPED_WEIGHTS),
    out: Annotated[Path, typer.Option(help="The model's folder; versions are numbered folders in it.")] = Path(
        "export/models/tfreg"
    ),
    shape: Annotated[
        list[str] | None, typer.Option(help="Size to warm up with, such as 64x192x192; may be repeated.")
    ] = None,
    *,
    options: Annotated[ExportOptions, Fields(without=("shape",))],
    machine: SeedlessMachine,
) -> None:
    """Write a run as the next version of a SavedModel for TensorFlow Serving."""
    options = checked(ExportOptions, **dict(options) | {"shape": tuple(size_of(text) for text in shape or ())})
    from tfreg.runtime.keras_settings import load_keras
    from tfreg.runtime.native_output import silenced
    from tfreg.runtime.resources import Resources

    load_keras()
    with silenced():
        from tfreg.serving.saved_model.export import export as export_model

    folder, manifest = export_model(run, out, options, Resources(**dict(machine)))
    differences = ", ".join(f"{name} {value:.1e}" for name, value in manifest.largest_difference.items())
    print(f"in a process without tfreg the answers differ by at most: {differences}")
    print(folder)


@app.command()
@grouped
def serve(options: ServerOptions, machine: SeedlessMachine) -> None:
    """Answer TensorFlow Serving's gRPC API on this machine, for development and small sites.

    Production uses the real server, on the same folder and with the same clients:
    tensorflow_model_server --port=8500 --model_name=tfreg --model_base_path=/models/tfreg
    """
    from tfreg.runtime.resources import Resources
    from tfreg.serving.server.serve import serve as serve_model

    serve_model(options, Resources(**dict(machine)))


@app.command()
@grouped
def request(
    address: Annotated[str, typer.Option(help="HOST:PORT of `tfreg serve` or TensorFlow Serving.")],
    pair: PairInputs,
    out: Folder,
    options: Registering,
    asking: RequestOptions,
    machine: Machine,
    record_paths: RecordPaths = False,
    force: Force = False,
) -> None:
    """Register one pair by a model that a server holds; the result is that of `tfreg register`."""
    from tfreg.runtime.native_output import silenced

    with silenced():
        from tfreg.serving.client.client import Client
    from tfreg.registration.register_files import Output, register_files
    from tfreg.runtime.progress import ProgressBar
    from tfreg.runtime.resources import Resources

    files, options = pair.resolved(options, out.name)
    resources, output = Resources(**dict(machine)), Output(record_paths, force, ProgressBar())
    with Client(address, asking) as client:
        print_summary(register_files(files, out, options, client.open, resources, output), out)
