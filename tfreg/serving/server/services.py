"""TensorFlow Serving's two gRPC services over the versions of one model."""

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
)

from tfreg.serving.server import prediction
from tfreg.serving.server.admission import Admission
from tfreg.serving.server.model_versions import ModelVersions
from tfreg.serving.server.status import StatusError, invalid

SIGNATURES = "signature_def"
NAMES = tuple(
    file.DESCRIPTOR.services_by_name[name].full_name
    for file, name in ((prediction_service_pb2, "PredictionService"), (model_service_pb2, "ModelService"))
)


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata.

    Args:
        versions: ModelVersions.
        admission: Admission.
        max_bytes: Largest input.
        as_content: Whether to answer in tensor_content.
    """

    def __init__(self, versions: ModelVersions, admission: Admission, max_bytes: int, as_content: bool) -> None:
        self._versions = versions
        self._admission = admission
        self._max_bytes = max_bytes
        self._as_content = as_content

    def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Answers with the outputs of one signature."""
        _must_have_model_spec(request)
        with self._versions.lease(request.model_spec) as model:
            # What can be refused at once need not wait for its turn.
            name, _, _ = prediction.check_names(model.signatures, request)
            with self._admission.turn(context):
                arrays = prediction.predict(model, request, self._max_bytes)
            version = model.version
        return prediction.answer(request, name, version, arrays, self._as_content)

    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Answers with the signatures of a version."""
        _must_have_model_spec(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != SIGNATURES:
                raise invalid(f"Metadata field {field} is not supported")
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with self._versions.lease(request.model_spec) as model:
            response.model_spec.name = self._versions.name
            response.model_spec.version.value = model.version
            for name, signature in model.signatures.items():
                signatures.signature_def[name].CopyFrom(signature)
        response.metadata[SIGNATURES].Pack(signatures)
        return response

    def Classify(self, request, context):
        """Is not for models of volumes."""
        raise _unimplemented("Classify")

    def Regress(self, request, context):
        """Is not for models of volumes."""
        raise _unimplemented("Regress")

    def MultiInference(self, request, context):
        """Is not for models of volumes."""
        raise _unimplemented("MultiInference")


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus; what is served is changed in the folder, never over the network.

    Args:
        versions: ModelVersions.
    """

    def __init__(self, versions: ModelVersions) -> None:
        self._versions = versions

    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Answers with the state of every version, or of the one asked for."""
        _must_have_model_spec(request)
        name = request.model_spec.name
        states = self._versions.states() if name == self._versions.name else {}
        if request.model_spec.HasField("version"):
            version = request.model_spec.version.value
            if version not in states:
                text = f"Could not find version {version} of model {name}"
                raise StatusError(grpc.StatusCode.NOT_FOUND, text)
            states = {version: states[version]}
        if not states:
            raise StatusError(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, (state, code, text) in states.items():
            entry = response.model_version_status.add(version=version, state=state)
            entry.status.error_code = code.value[0]
            entry.status.error_message = text
        return response

    def HandleReloadConfigRequest(self, request, context):
        """Is closed on purpose."""
        text = "the configuration cannot be changed over the network; put a new version into the model's folder"
        raise StatusError(grpc.StatusCode.PERMISSION_DENIED, text)


def _must_have_model_spec(request):
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")


def _unimplemented(method):
    return StatusError(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not implemented; use Predict")
