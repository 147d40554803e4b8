"""A known rotation, shift and smooth deformation is recovered by training, in world millimetres."""

import keras
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tfreg.config import parse_config
from tfreg.registration.register_volumes import register
from tfreg.registration.trained_run import TrainedRun
from tfreg.training.build_model import build_model
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.resampling import sample
from tfreg.volumes.volume import Volume

STEPS = 120
CONFIG = {
    "preprocessing": {"init": "centre", "network_grid": {"orientation": "RAS"}},
    "model": {"encoder_filters": [8, 16], "encoder_dilations": [1, 2], "squeeze_ratio": 4, "decoder_filters": [16, 16]},
    "loss": {"alpha": 0, "beta": 0, "smoothness": 0.1},
    "training": {"learning_rate": 3e-3},
}


def centred(matrix, shape, centre_world):
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = centre_world - matrix @ ((np.array(shape) - 1) / 2)
    return Lattice(shape, affine)


def test_a_known_transform_is_recovered():
    rng = np.random.default_rng(0)
    oblique = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
    fixed_lattice = centred(oblique @ np.diag([1.5, 1.2, 1.6]), (20, 24, 28), np.array([-30.0, 20, 100]))
    moving_lattice = centred(np.diag([-1.4, -1.3, 1.8]), (24, 26, 24), np.array([150.0, -60, 40]))
    between_centres = moving_lattice.centre_world - fixed_lattice.centre_world
    rotation = Rotation.from_euler("xyz", [4, -3, 5], degrees=True).as_matrix()

    def known(points_world):
        """Fixed world to moving world, mm."""
        offset = points_world - fixed_lattice.centre_world
        moved = offset @ rotation.T + [1.5, -1.0, 1.2]
        bent = 1.2 * np.sin(moved[..., [1, 2, 0]] / 6)
        return moved + bent + moving_lattice.centre_world

    texture = ndimage.gaussian_filter(rng.standard_normal(moving_lattice.shape), 1.4)
    offset = (moving_lattice.points() - moving_lattice.centre_world) / [14, 14, 17]
    inside = np.clip(1.3 - np.linalg.norm(offset, axis=-1), 0, 0.5)
    array = (100 * inside * (3 + 1.5 * texture / texture.std())).astype(np.float32)
    moving = Volume(array, moving_lattice.affine)
    voxels = moving_lattice.to_voxel(known(fixed_lattice.points()))
    fixed = Volume(sample(array, voxels, "cubic"), fixed_lattice.affine)
    points_world = fixed_lattice.points()[fixed.array > 20]
    assert len(points_world) > 0.4 * fixed.array.size

    keras.utils.set_random_seed(0)
    config = parse_config(CONFIG)
    run = TrainedRun("recovery", "", config, build_model(config))

    def error_mm(result):
        return np.linalg.norm(result.transform(points_world) - known(points_world), axis=-1).mean()

    before = register(fixed, moving, model=run)
    start_mm = error_mm(before)
    np.testing.assert_allclose(before.transform(points_world), points_world + between_centres, atol=1e-4)
    assert start_mm > 2

    batch = _prepared(fixed, moving, config)
    target = {"warped": batch["fixed"], "linear": np.zeros((1, 1)), "gradients": np.zeros((1, 1))}
    run.network.fit(_Repeated(batch, target, STEPS), verbose=0)
    after = register(fixed, moving, model=run)
    assert error_mm(after) < start_mm / 3
    assert after.report.metrics.after.correlation > 0.97
    assert after.report.metrics.after_init.correlation < 0.9


def _prepared(fixed, moving, config):
    from tfreg.preprocessing.aligned_pair import prepare_pair

    pair = prepare_pair(fixed, moving, config.preprocessing)
    return {"fixed": pair.fixed[None, ..., None], "moving": pair.moving[None, ..., None]}


class _Repeated(keras.utils.PyDataset):
    """The same batch, again and again."""

    def __init__(self, batch, target, steps):
        super().__init__()
        self.item, self.steps = (batch, target), steps

    @property
    def num_batches(self):
        return self.steps

    def __getitem__(self, index):
        return self.item
