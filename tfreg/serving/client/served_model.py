"""A model that a server holds, in the place of a run on this machine."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from tfreg.config import Prediction, parse_config
from tfreg.errors import UserError
from tfreg.preprocessing.aligned_pair import NetworkInput
from tfreg.preprocessing.whole_pair import WholePair
from tfreg.registration.trained_run import predicted_transform
from tfreg.serving.client.channel import Refusal
from tfreg.serving.protocol.encoding import whole_numbers
from tfreg.serving.protocol.export_manifest import ModelManifest
from tfreg.serving.protocol.signature_names import ALL_PASSES, ONE_PASS, output_of_pass
from tfreg.transforms.transform import Transform
from tfreg.transforms.voxel_map import control_shape
from tfreg.volumes.lattice import Lattice

if TYPE_CHECKING:
    from tfreg.serving.client.client import Client


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
        self.client, self.manifest, self.version = client, manifest, version
        self.config = parse_config(manifest.config, client.address)

    @property
    def provenance(self) -> dict[str, Any]:
        """What a report says of the model."""
        return {
            "name": self.manifest.model.name,
            "sha256": self.manifest.model.sha256,
            "version": self.version,
            "server": self.client.options.model_name,
            "encoding": self.client.options.encoding,
        }

    @property
    def schedule(self) -> Prediction | None:
        """The passes that one request makes; None where that is one."""
        return self.config.prediction if self._of_all_passes in self.manifest.signatures else None

    @property
    def max_voxels(self) -> int:
        """The largest volumes of a request for all passes."""
        return self.manifest.max_voxels

    def predict(self, pair: NetworkInput) -> Transform:
        """Predicts a pair's transform by one request to the version whose config is known.

        Args:
            pair: A pair on the network grid.

        Returns:
            A `Transform`.

        Raises:
            UserError: If there is no answer, the server refuses, or it has another model by now.
        """
        answer = self._answer(pair.batch, ONE_PASS[self.client.options.encoding], ("linear", self._array))
        return self._transform(answer, pair.lattice, pair.init)

    def predict_passes(self, pair: WholePair, lattices: Sequence[Lattice]) -> list[Transform]:
        """Predicts the transforms of all passes by one request to the version whose config is known.

        Args:
            pair: A pair as it lies.
            lattices: That of every pass.

        Returns:
            A `Transform` a pass.

        Raises:
            UserError: As of `predict`, and if the model makes other passes than its config says.
        """
        names = self.config.model.predicted_arrays
        numbers = range(1, len(lattices) + 1)
        outputs = [output_of_pass(name, number) for number in numbers for name in names]
        answer = self._answer(pair.batch, self._of_all_passes, outputs)
        passes = []
        for number, lattice in zip(numbers, lattices, strict=True):
            predicted = {name: answer[output] for name in names if (output := output_of_pass(name, number)) in answer}
            if self._array in predicted:
                self._check_grid(predicted[self._array], lattice)
            passes.append(self._transform(predicted, lattice, pair.init if number == 1 else np.eye(4)))
        return passes

    @property
    def _array(self):
        return self.config.model.deformation_array

    @property
    def _of_all_passes(self):
        return ALL_PASSES[self.client.options.encoding]

    def _answer(self, inputs, signature, outputs):
        """Some outputs of the one pair: those that make the exact transform, in a tenth of the bytes of the field."""
        if self.client.options.encoding == "int16":
            inputs = inputs | {name: whole_numbers(inputs[name]) for name in ("fixed", "moving")}
        try:
            answer, _ = self.client.predict(inputs, signature, outputs, self.version)
        except Refusal as error:
            if error.code != grpc.StatusCode.NOT_FOUND:
                raise
            # The version has been replaced since; the one that is there may have been trained otherwise.
            now = self.client.open()
            if now.config != self.config or now.schedule != self.schedule:
                raise UserError(
                    f"{self.client.address}: the model was replaced by one that sees volumes otherwise; send the "
                    "request again"
                ) from error
            self.manifest, self.version = now.manifest, now.version
            answer, _ = self.client.predict(inputs, signature, outputs, self.version)
        return {name: array[0] for name, array in answer.items()}

    def _check_grid(self, values, lattice):
        """Refuses the control points of another grid than a pass has by the model's own config."""
        expected = control_shape(lattice.shape, self.config.model.stride)
        if values.shape[:3] != expected:
            raise UserError(
                f"{self.client.address}: the model makes other passes than its config says, with control points "
                f"{values.shape[:3]} in the place of {expected}; export it again with this version of tfreg"
            )

    def _transform(self, predicted, lattice, init):
        return predicted_transform(predicted, lattice, init, self.config.model, f"{self.client.address}: model")
