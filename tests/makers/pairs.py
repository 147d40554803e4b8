"""Volumes under unlike headers, a run whose prediction is chosen, and files registered in one call."""

from typing import ClassVar

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tfreg.config import RegistrationOptions, checked, parse_config
from tfreg.io.tables.manifest import PairFiles
from tfreg.registration.image_pair import INPUTS
from tfreg.registration.initial_matrix import rule_or_file
from tfreg.registration.register_files import Output, register_files
from tfreg.runtime.resources import Resources
from tfreg.transforms.deformation import Deformation
from tfreg.transforms.transform import Transform
from tfreg.volumes.volume import Volume

OBLIQUE = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
HEADERS = {
    "RAS": np.diag([1.5, 1.0, 2.5]),
    "LAS": np.diag([-1.2, 1.4, 2.0]),
    "LPS": np.diag([-1.5, -1.1, 2.2]),
    "oblique": OBLIQUE @ np.diag([1.3, 1.6, 1.9]),
    "flipped": OBLIQUE.T @ np.diag([1.4, -1.2, 2.1]),
}
# The options of a network that is built in a moment.
SMALL_NETWORK = {"encoder_filters": [4, 6], "encoder_dilations": [1, 2], "squeeze_ratio": 4, "decoder_filters": [5]}
LINEAR = np.array([[1.04, -0.05, 0.02, 0.8], [0.06, 0.97, -0.03, -0.6], [0.0, 0.04, 1.03, 0.5]])


def placed(header, shape, centre_world):
    """The affine that puts the centre of the field of view at a point."""
    affine = np.eye(4)
    affine[:3, :3] = HEADERS[header]
    affine[:3, 3] = centre_world - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def textured(rng, shape, affine):
    """Smooth random intensities from -200 to 800, with an object in the middle."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), 1.6)
    offset = (np.stack(np.indices(shape), axis=-1) - (np.array(shape) - 1) / 2) / (np.array(shape) / 2)
    inside = np.clip(2 * (1 - np.linalg.norm(offset, axis=-1)), 0, 1)
    array = inside * (1 + 0.4 * noise / noise.std())
    array = (array - array.min()) / np.ptp(array) * 1000 - 200
    return Volume(array.astype(np.float32), affine)


def thresholded(volume):
    """Labels of a volume: 1 where it is bright."""
    return Volume((volume.array > 300).astype(np.uint8), volume.affine)


class ChosenRun:
    """Stands for a `TrainedRun`: predicts a smooth random deformation and a matrix, on the pair's own grid."""

    provenance: ClassVar = {"name": "chosen", "sha256": "0" * 64}

    def __init__(self, linear=LINEAR, scale=0.5, **config):
        self.config = parse_config(config)
        self.linear, self.scale = linear, scale

    def predict(self, pair):
        options = self.config.model
        coarse = (*(-(-n // options.stride) for n in pair.lattice.shape), 3)
        noise = ndimage.gaussian_filter(np.random.default_rng(5).standard_normal(coarse), (2, 2, 2, 0))
        logits = (self.scale * noise / noise.std()).astype(np.float32)
        deformation = Deformation(logits, pair.lattice.shape, options.stride, options.integration, options.anchor)
        return Transform(pair.lattice, self.linear, deformation, pair.init)


def registered_files(fixed, moving, out, *, model=None, init=None, seed=0, **options):
    """`register_files` of two files; `options` are of `PairFiles`, `Output` and `RegistrationOptions`."""
    rule, file = rule_or_file(init)
    of_files = {name: options.pop(name) for name in INPUTS if name in options}
    of_output = {name: options.pop(name) for name in ("record_paths", "force") if name in options}
    return register_files(
        PairFiles("pair", fixed, moving, init=file, **of_files),
        out,
        checked(RegistrationOptions, init=rule, **options),
        model,
        Resources(seed),
        Output(**of_output),
    )
