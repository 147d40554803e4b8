"""A model that a server holds, in the place of a run on this machine."""

from typing import TYPE_CHECKING, Any

import grpc

from tfreg.config import parse_config
from tfreg.errors import UserError
from tfreg.preprocessing.aligned_pair import NetworkInput
from tfreg.registration.trained_run import predicted_transform
from tfreg.serving.client.channel import Refusal
from tfreg.serving.protocol.encoding import whole_numbers
from tfreg.serving.protocol.export_manifest import ModelManifest
from tfreg.transforms.transform import Transform

if TYPE_CHECKING:
    from tfreg.serving.client.client import Client

SIGNATURES = {"float32": "serving_default", "int16": "int16"}


class ServedModel:
    """A served model in the place of a `tfreg.registration.trained_run.TrainedRun`.

    Args:
        client: A `Client`.
        manifest: What the model says of itself.
        version: The version that says so.

    Raises:
        UserError: If its config is not of this version of tfreg.
    """

    def __init__(self, client: "Client", manifest: ModelManifest, version: int) -> None:
        self.client, self.model, self.version = client, manifest.model, version
        self.config = parse_config(manifest.config, client.address)

    @property
    def provenance(self) -> dict[str, Any]:
        """What a report says of the model."""
        return {
            "name": self.model.name,
            "sha256": self.model.sha256,
            "version": self.version,
            "server": self.client.options.model_name,
            "encoding": self.client.options.encoding,
        }

    def predict(self, pair: NetworkInput) -> Transform:
        """Predicts a pair's transform by one request to the version whose config is known.

        Args:
            pair: A pair on the network grid.

        Returns:
            A `Transform`.

        Raises:
            UserError: If there is no answer, the server refuses, or it has another model by now.
        """
        inputs, encoding = pair.batch, self.client.options.encoding
        # These make the exact transform, in a tenth of the bytes of the field.
        enough = ("linear", self.config.model.deformation_array)
        if encoding == "int16":
            inputs = {name: whole_numbers(volume) for name, volume in inputs.items()}
        try:
            answer, _ = self.client.predict(inputs, SIGNATURES[encoding], enough, self.version)
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
            answer, _ = self.client.predict(inputs, SIGNATURES[encoding], enough, self.version)
        predicted = {name: array[0] for name, array in answer.items()}
        return predicted_transform(predicted, pair, self.config.model, f"{self.client.address}: model")
