"""The options of exports, of servers, and of those who ask them."""

from numbers import Real
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from tfreg.config.options import words
from tfreg.config.sections import Count, Positive, Section, not_a_truth_value

MEGABYTE = 2**20


def between(low: float, high: float) -> BeforeValidator:
    """The check of a number within limits, as in `Annotated[int, between(1, 64)]`; another is refused with both.

    Args:
        low, high: Limits, which are allowed.
    """

    def check(value: object) -> object:
        if not isinstance(value, Real) or isinstance(value, bool) or not low <= float(value) <= high:
            raise ValueError(f"give a number from {low} to {high}")
        return value

    return BeforeValidator(check)


class ExportOptions(Section):
    """What an exported model is ready for."""

    shape: tuple[tuple[Count, Count, Count], ...] = Field(
        (), description="Size to warm up with, such as 64x192x192; may be repeated."
    )
    onednn: bool = Field(False, description="Faster convolutions that need oneDNN on the CPU.")
    # The paper's 64 x 192 x 192 are 2.4 million; the network's memory grows with the voxels of a request.
    max_voxels: Count = Field(16_000_000, description="Requests for larger volumes are refused.")


class ServerOptions(Section):
    """What a server serves, to whom, and how much at once."""

    model_base_path: Path | None = Field(
        None,
        description="The model's folder; versions are numbered folders in it. Without it, the weights that ship.",
    )
    model_name: str = Field("tfreg", description="What clients call the model.")
    host: str = Field("127.0.0.1", description="Address to listen at.")
    port: Annotated[int, between(0, 65535)] = Field(8500, description="Port; 0 takes a free one.")
    concurrency: Annotated[int, between(1, 64)] = Field(1, description="Predictions at once.")
    queue: Annotated[int, between(0, 1024)] = Field(16, description="Requests that may wait; more are refused.")
    max_message_mb: Annotated[int, between(1, 2047)] = Field(256, description="Largest request and answer.")
    poll_seconds: Annotated[float, between(0.05, 86400)] = Field(
        2.0, description="Time between looks for a new version."
    )
    grace_seconds: Annotated[float, between(0, 86400)] = Field(
        30.0, description="Time for requests in flight when stopped."
    )
    silence_seconds: Annotated[float, between(1, 86400)] = Field(
        30.0, description="Time until a silent client is asked for a sign, and again until it is dropped."
    )
    tensor_content: bool = Field(False, description="Answer in raw bytes, which is quicker; the real server does not.")
    tls_certificate: Path | None = Field(None, description="The server's certificate, PEM.")
    tls_key: Path | None = Field(None, description="Its key, PEM.")
    tls_client_ca: Path | None = Field(
        None, description="PEM file of who signed the clients' certificates, which are then required."
    )
    insecure_any_host: bool = Field(False, description="Let other machines connect without TLS.")

    @model_validator(mode="after")
    def _fits_together(self):
        if not self.model_name:
            raise ValueError("--model-name: give the name that clients ask for, such as tfreg")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("--tls-certificate and --tls-key belong together: give both")
        if self.tls_certificate is None and self.tls_client_ca is not None:
            raise ValueError("--tls-client-ca: needs --tls-certificate and --tls-key too")
        return self

    @property
    def max_bytes(self) -> int:
        """Largest message, in bytes."""
        return self.max_message_mb * MEGABYTE

    def address(self, port: int) -> str:
        """HOST:PORT as gRPC writes it."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"


class RequestOptions(Section):
    """How a server is asked."""

    model_name: str = Field("tfreg", description="What the server calls the model.")
    encoding: Annotated[str, words("float32", "int16")] = Field(
        "float32", description="float32, or int16 for half the bytes."
    )
    timeout: Positive = Field(300.0, description="Seconds for a call, repetitions included.")
    retries: Annotated[int, Field(ge=0), BeforeValidator(not_a_truth_value)] = Field(
        10, description="How often a call is repeated that finds no server or a busy one."
    )
    # gRPC counts bytes in 31 bits; its own limit for answers is 4 MB, less than a field.
    max_message_mb: Annotated[int, Field(gt=0, le=2047), BeforeValidator(not_a_truth_value)] = Field(
        1024, description="Largest message."
    )
    tls_ca: Path | None = Field(None, description="PEM file of who signed the server's certificate.")
    tls_certificate: Path | None = Field(None, description="The client's own certificate, PEM, for mTLS.")
    tls_key: Path | None = Field(None, description="Its key, PEM.")

    @model_validator(mode="after")
    def _fits_together(self):
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("--tls-certificate and --tls-key belong together; give both, or neither")
        return self

    @property
    def max_bytes(self) -> int:
        """Largest message, in bytes."""
        return self.max_message_mb * MEGABYTE
