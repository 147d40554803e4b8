"""A client of an exported model on `tfreg serve` or TensorFlow Serving."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from tfreg.config import RequestOptions
from tfreg.errors import UserError
from tfreg.registration.register_volumes import register
from tfreg.registration.result import Registration
from tfreg.serving.client.channel import call, open_channel
from tfreg.serving.client.served_model import ServedModel
from tfreg.serving.protocol.export_manifest import ModelManifest
from tfreg.serving.protocol.signature_names import ONE_PASS
from tfreg.serving.protocol.tensors import to_array, to_proto
from tfreg.volumes.volume import Volume


class Client:
    """Registers pairs by a served model; the volumes are prepared, and the results made, on this side.

    Args:
        address: HOST:PORT.
        options: A `tfreg.config.RequestOptions`, or None for the defaults.

    Raises:
        UserError: If the address is not HOST:PORT, or a certificate cannot be read.

    Example:
        >>> with tfreg.Client(address) as client:
        ...     registration = client.register("exhale.nii.gz", "inhale.nii.gz")
        >>> registration.report.model.server, registration.report.model.version
        ('tfreg', 1)
    """

    def __init__(self, address: str, options: RequestOptions | None = None) -> None:
        self.address, self.options = address, options or RequestOptions()
        self.channel = open_channel(address, self.options)
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self.channel.close()

    def signatures(self) -> dict[str, dict[str, dict[str, tuple[int, tuple[int, ...]]]]]:
        """What the model takes and gives.

        Returns:
            Dictionary of signature to a dictionary of "inputs" and "outputs", each name to (dtype number, shape).

        Raises:
            UserError: If there is no answer, or the model is not there.
        """
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self.options.model_name
        answer = call(self.stub.GetModelMetadata, request, self.address, self.options)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        return {
            name: {
                side: {
                    key: (info.dtype, tuple(dim.size for dim in info.tensor_shape.dim))
                    for key, info in getattr(signature, side).items()
                }
                for side in ("inputs", "outputs")
            }
            for name, signature in signatures.signature_def.items()
        }

    def predict(
        self,
        inputs: Mapping[str, np.ndarray],
        signature: str = "serving_default",
        outputs: Sequence[str] = (),
        version: int | None = None,
    ) -> tuple[dict[str, np.ndarray], int]:
        """Sends one request.

        Args:
            inputs: Dictionary of name to array.
            signature: Which of the model's.
            outputs: Names of the outputs that are sent back; none means all.
            version: The model's version, or None for the newest.

        Returns:
            Dictionary of name to array, and the version that answered.

        Raises:
            UserError: If there is no answer, or the server refuses.
        """
        request = predict_pb2.PredictRequest(output_filter=outputs)
        request.model_spec.name, request.model_spec.signature_name = self.options.model_name, signature
        if version is not None:
            request.model_spec.version.value = version
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(to_proto(array, as_content=True))
        answer = call(self.stub.Predict, request, self.address, self.options)
        return {name: to_array(proto) for name, proto in answer.outputs.items()}, answer.model_spec.version.value

    def open(self) -> ServedModel:
        """The model that the server has now.

        Raises:
            UserError: If there is no answer, or the model is not an export of tfreg's.
        """
        signatures = self.signatures()
        missing = {*ONE_PASS.values(), "config"} - set(signatures)
        if missing:
            raise UserError(
                f"{self.address}: model {self.options.model_name} lacks the signature {', '.join(sorted(missing))}; "
                "serve what `tfreg export` writes"
            )
        answer, version = self.predict({"key": np.array([b""])}, "config")
        try:
            manifest = ModelManifest.parse(json.loads(answer["config"].item()), self.address)
        except (KeyError, ValueError, UserError) as error:
            raise UserError(
                f"{self.address}: model {self.options.model_name} does not say how it was trained; serve what "
                "`tfreg export` writes"
            ) from error
        return ServedModel(self, manifest, version)

    def register(self, fixed: Volume | str | Path, moving: Volume | str | Path, **options: Any) -> Registration:
        """Registers a moving volume with a fixed one; arguments and result as of `tfreg.register`, without `model`."""
        return register(fixed, moving, model=self.open(), **options)
