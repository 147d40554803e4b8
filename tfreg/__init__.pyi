from . import layers, losses, metrics, models, transforms
from .config import Config, EvaluationOptions, RegistrationOptions, SimulationOptions, TuningOptions, load_config
from .errors import UserError
from .evaluation.evaluate import evaluate
from .io.formats import read_volume, write_volume
from .io.points import read_points, write_points
from .io.transform_archive import load_transform
from .registration.image_pair import ImagePair
from .registration.register_volumes import register
from .registration.result import Registration
from .registration.trained_run import TrainedRun, load_run, load_weights
from .runtime.resources import Resources
from .serving.client.client import Client
from .serving.saved_model.export import export
from .simulation.data_set import simulate
from .training.train import train
from .transforms.certificate import Certificate
from .transforms.transform import Transform
from .tuning.tune import tune
from .volumes.lattice import Lattice
from .volumes.volume import Volume

__version__: str

__all__ = [
    "Certificate",
    "Client",
    "Config",
    "EvaluationOptions",
    "ImagePair",
    "Lattice",
    "Registration",
    "RegistrationOptions",
    "Resources",
    "SimulationOptions",
    "TrainedRun",
    "Transform",
    "TuningOptions",
    "UserError",
    "Volume",
    "evaluate",
    "export",
    "layers",
    "load_config",
    "load_run",
    "load_transform",
    "load_weights",
    "losses",
    "metrics",
    "models",
    "read_points",
    "read_volume",
    "register",
    "simulate",
    "train",
    "transforms",
    "tune",
    "write_points",
    "write_volume",
]
