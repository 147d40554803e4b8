"""A client of an exported model on `tfreg serve` or TensorFlow Serving."""

import json

import grpc
import numpy as np
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from tfreg.config import RequestOptions, checked, parse_config
from tfreg.errors import UserError
from tfreg.registration.register_volumes import register
from tfreg.registration.trained_run import predicted_transform
from tfreg.serving.client.channel import Patience, Refusal, call, open_channel
from tfreg.serving.protocol.encoding import whole_numbers
from tfreg.serving.protocol.tensors import to_array, to_proto

SIGNATURES = {"float32": "serving_default", "int16": "int16"}

# Matrix and logits make the exact transform, in a tenth of the bytes of the field.
ENOUGH = ("linear", "logits")


class Client:
    """Registers pairs by a served model; the volumes are prepared, and the results made, on this side.

    Args:
        address: HOST:PORT.
        model_name: What the server calls the model.
        certificates: `tfreg.serving.client.channel.Certificates`, or None for a connection in the clear.
        encoding: "float32", or "int16" for half the bytes at a 65,000th of the intensity range.
        max_message_mb: Largest message.
        patience: `tfreg.serving.client.channel.Patience`.

    Raises:
        UserError: If an option is not valid.

    Example:
        >>> with tfreg.Client(address) as client:
        ...     registration = client.register("exhale.nii.gz", "inhale.nii.gz")
        >>> registration.report.model.server, registration.report.model.version
        ('tfreg', 1)
    """

    def __init__(
        self, address, model_name="tfreg", certificates=None, encoding="float32", max_message_mb=1024, patience=None
    ):
        options = checked(RequestOptions, encoding=encoding, max_message_mb=max_message_mb)
        self.address, self.model_name, self.encoding = address, model_name, encoding
        self.patience = patience or Patience()
        self.channel = open_channel(address, certificates, options.max_message_mb)
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        """Ends the connection."""
        self.channel.close()

    def signatures(self):
        """What the model takes and gives.

        Returns:
            Dictionary of signature to a dictionary of "inputs" and "outputs", each name to (dtype number, shape).

        Raises:
            UserError: If there is no answer, or the model is not there.
        """
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self.model_name
        answer = call(self.stub.GetModelMetadata, request, self.address, self.patience)
        found = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(found)
        return {
            name: {
                side: {
                    key: (info.dtype, tuple(dim.size for dim in info.tensor_shape.dim))
                    for key, info in getattr(signature, side).items()
                }
                for side in ("inputs", "outputs")
            }
            for name, signature in found.signature_def.items()
        }

    def predict(self, inputs, signature="serving_default", outputs=(), version=None):
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
        request.model_spec.name, request.model_spec.signature_name = self.model_name, signature
        if version is not None:
            request.model_spec.version.value = version
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(to_proto(array, as_content=True))
        answer = call(self.stub.Predict, request, self.address, self.patience)
        return {name: to_array(proto) for name, proto in answer.outputs.items()}, answer.model_spec.version.value

    def open(self):
        """The `ServedRun` that the server has now.

        Raises:
            UserError: If there is no answer, or the model is not an export of tfreg's.
        """
        signatures = self.signatures()
        missing = {*SIGNATURES.values(), "config"} - set(signatures)
        if missing:
            raise UserError(
                f"{self.address}: model {self.model_name} lacks the signature {', '.join(sorted(missing))}; "
                "serve what `tfreg export` writes"
            )
        answer, version = self.predict({"key": np.array([b""])}, "config")
        try:
            manifest = json.loads(answer["config"].item())
            told = {name: manifest["model"][name] for name in ("name", "sha256")}, manifest["config"]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{self.address}: model {self.model_name} does not say how it was trained; serve what `tfreg export` "
                "writes"
            ) from error
        return ServedRun(self, *told, version)

    def register(self, fixed, moving, **options):
        """Registers a moving volume with a fixed one; arguments and result as of `tfreg.register`, without `model`."""
        return register(fixed, moving, model=self.open(), **options)


class ServedRun:
    """A served model in the place of a `tfreg.registration.trained_run.TrainedRun`.

    Args:
        client: A `Client`.
        model: The model's `name` and `sha256`, a dictionary.
        config: Its config, a nested dictionary.
        version: The version that told them.
    """

    def __init__(self, client, model, config, version):
        self.client, self.model, self.version = client, model, version
        self.config = parse_config(config, client.address)

    @property
    def provenance(self):
        """What a report says of the model, a dictionary."""
        return self.model | {
            "version": self.version,
            "server": self.client.model_name,
            "encoding": self.client.encoding,
        }

    def predict(self, pair):
        """Predicts a pair's transform by one request to the version that told its config.

        Args:
            pair: A `tfreg.preprocessing.aligned_pair.PreparedPair`.

        Returns:
            A `Transform`.

        Raises:
            UserError: If there is no answer, the server refuses, or it has another model by now.
        """
        inputs = pair.batch
        if self.client.encoding == "int16":
            inputs = {name: whole_numbers(volume) for name, volume in inputs.items()}
        signature = SIGNATURES[self.client.encoding]
        try:
            answer, _ = self.client.predict(inputs, signature, ENOUGH, self.version)
        except Refusal as error:
            if error.code != grpc.StatusCode.NOT_FOUND:
                raise
            # The version has been replaced since; the one that is there may have been trained otherwise.
            now = self.client.open()
            if now.config != self.config:
                raise UserError(
                    f"{self.client.address}: the model was replaced by one that sees volumes otherwise; send the "
                    "request again"
                ) from error
            self.model, self.version = now.model, now.version
            answer, _ = self.client.predict(inputs, signature, ENOUGH, self.version)
        predicted = {name: array[0] for name, array in answer.items()}
        return predicted_transform(predicted, pair, self.config.model, f"{self.client.address}: model")
