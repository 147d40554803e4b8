"""One network run several times: what every pass sees, and what all of them make together."""

from typing import ClassVar

import numpy as np
import pytest
from pairs import LINEAR, ChosenRun
from scipy import ndimage

from tfreg.config import NetworkGrid, Prediction, Preprocessing, RegistrationOptions, parse_config
from tfreg.errors import UserError
from tfreg.io.transform_archive import load_transform
from tfreg.preprocessing.aligned_pair import align_pair
from tfreg.preprocessing.network_grid import configured_grid, cube_lattice
from tfreg.registration.image_pair import ImagePair
from tfreg.registration.passes import levels_of, predict_in_passes
from tfreg.registration.register import register_pair
from tfreg.registration.register_volumes import register
from tfreg.transforms.composed_passes import ComposedPasses
from tfreg.transforms.displacement_deformation import DisplacementDeformation
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

DISPLACEMENT = {"transform": "deformable", "head": "displacement"}


class DisplacedRun:
    """Predicts another smooth random displacement in every pass, and remembers what it was shown."""

    provenance: ClassVar = {"name": "displaced", "sha256": "0" * 64}

    def __init__(self, scale=1.0, **config):
        self.config = parse_config({"model": DISPLACEMENT, **config})
        self.scale, self.inputs, self.predicted = scale, [], []
        self.rng = np.random.default_rng(11)

    def predict(self, pair):
        coarse = (*(-(-n // 2) for n in pair.lattice.shape), 4)
        noise = ndimage.gaussian_filter(self.rng.standard_normal(coarse), (2, 2, 2, 0))
        control = (self.scale * noise / noise.std()).astype(np.float32)
        self.inputs.append(pair)
        deformation = DisplacementDeformation(control, pair.lattice.shape)
        self.predicted.append(Transform(pair.lattice, np.eye(3, 4), deformation, pair.init))
        return self.predicted[-1]


@pytest.fixture
def aligned(pair):
    """An oblique pair of unequal sizes with an initial alignment."""
    return align_pair(*pair, Preprocessing(init="moments"))


def whole_of(predicted, points):
    for part in reversed(predicted):
        points = part(points)
    return points


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_every_pass_sees_the_moving_image_as_warped_so_far(aligned, interpolation):
    """Read once, where the maps lead: an interpolated displacement or an image warped twice gives other values."""
    preprocessing = Preprocessing(network_grid={"spacing": 2.2}, interpolation=interpolation)
    run = DisplacedRun()
    schedule = Prediction(passes=3, coarser=(2,), least_size=4)
    predict_in_passes(run, aligned, preprocessing, schedule)
    fine = configured_grid(aligned.fixed.lattice, preprocessing.network_grid)
    shapes = [tuple(-(-n // 2) for n in fine.shape), fine.shape, fine.shape]
    assert [seen.lattice.shape for seen in run.inputs] == shapes
    assert aligned.init[:3, 3].any()
    np.testing.assert_array_equal(run.inputs[0].init, aligned.init)
    moving = aligned.moving
    for number, seen in enumerate(run.inputs):
        if number:
            np.testing.assert_array_equal(seen.init, np.eye(4))
        points = whole_of(run.predicted[:number], seen.lattice.points()) if number else seen.lattice.points()
        points = points if number else points @ aligned.init[:3, :3].T + aligned.init[:3, 3]
        chain = np.linalg.inv(moving.affine) @ aligned.init @ seen.lattice.affine
        step = np.linalg.norm(chain[:3, :3], axis=1)
        smooth = ndimage.gaussian_filter(moving.array, np.sqrt(np.maximum(step**2 - 1, 0)) / 2, mode="nearest")
        voxels = np.moveaxis(moving.lattice.to_voxel(points), -1, 0)
        order, mode = {"linear": (1, "nearest"), "cubic": (3, "mirror")}[interpolation]
        expected = np.clip(ndimage.map_coordinates(smooth, voxels, order=order, mode=mode), 0, 1)
        sizes = np.array(moving.shape).reshape(3, 1, 1, 1)
        inside = ((voxels > -0.49) & (voxels < sizes - 0.51)).all(axis=0)
        assert inside.mean() > 0.3
        np.testing.assert_allclose(seen.moving[inside], expected[inside], rtol=0, atol=1e-4)
        outside = ((voxels < -0.51) | (voxels > sizes - 0.49)).any(axis=0)
        assert not seen.moving[outside].any()


@pytest.mark.parametrize("schedule", [{}, {"passes": 3}, {"passes": 4, "coarser": (3, 2), "least_size": 4}], ids=str)
def test_the_whole_is_the_passes_one_after_the_other(aligned, rng, schedule):
    run = DisplacedRun()
    transform, reports = predict_in_passes(run, aligned, Preprocessing(), Prediction(**schedule))
    points = aligned.fixed.lattice.to_world(rng.uniform(-3, 20, (300, 3)))
    np.testing.assert_allclose(transform(points), whole_of(run.predicted, points), rtol=0, atol=1e-9)
    np.testing.assert_allclose(transform.inverse()(transform(points)), points, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(transform.init, aligned.init)
    assert transform.lattice.shape == run.inputs[-1].lattice.shape
    expected = [3, 2, 1, 1] if "coarser" in schedule else [1] * schedule.get("passes", 1)
    assert [report.factor for report in reports] == expected
    assert [report.shape for report in reports] == [seen.lattice.shape for seen in run.inputs]


def test_the_linear_part_is_the_affine_map_that_follows_the_displacement(aligned):
    """Weighted by the expected error, over the fixed field of view: against a solution coded a second time."""
    run = DisplacedRun()
    preprocessing = Preprocessing(network_grid={"voxels": 6000})
    transform, _ = predict_in_passes(run, aligned, preprocessing, Prediction(passes=2))
    lattice, fixed = transform.lattice, aligned.fixed.lattice
    points = lattice.points()[::2, ::2, ::2]
    error = run.predicted[-1].deformation.expected_error[::2, ::2, ::2]
    voxels = fixed.to_voxel(points)
    inside = ((voxels >= -0.5) & (voxels <= np.array(fixed.shape) - 0.5)).all(axis=-1)
    assert 0.3 < inside.mean() < 1
    points, root = points[inside], 1 / error[inside][:, None]
    images = whole_of(run.predicted, points) - aligned.init[:3, 3]  # moments: a translation
    solution = np.linalg.lstsq(root * np.c_[points, np.ones(len(points))], root * images)[0].T
    expected = aligned.init @ np.r_[solution, [[0, 0, 0, 1]]]
    np.testing.assert_allclose(transform.linear_world, expected, rtol=0, atol=1e-7)
    assert np.abs(transform.linear - np.eye(3, 4)).max() > 1e-3


def test_an_affine_displacement_is_all_linear(aligned):
    """Displacements that are affine and sheared across the axes, which the head reproduces exactly."""

    class Sheared(DisplacedRun):
        def predict(self, pair):
            i, j, k = np.indices(pair.lattice.shape)
            control = np.stack([0.05 * j - 0.1 * k + 1, 0.08 * k - 2, 0 * i + 3, 0.1 * i], axis=-1)
            deformation = DisplacementDeformation(control, pair.lattice.shape, 1)
            return Transform(pair.lattice, np.eye(3, 4), deformation, pair.init)

    transform, _ = predict_in_passes(Sheared(), aligned, Preprocessing(), Prediction())
    inside = transform.lattice.points()[6:-6, 6:-6, 6:-6].reshape(-1, 3)
    linear = Transform(transform.lattice, transform.linear, None, transform.init)
    expected = [[1, 0.05, -0.1], [0, 1, 0.08], [0, 0, 1]]
    np.testing.assert_allclose(transform.linear[:, :3], expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(linear(inside), transform(inside), rtol=0, atol=1e-8)


def test_one_pass_of_a_linear_branch_is_what_was_predicted(aligned):
    run = ChosenRun()
    transform, reports = predict_in_passes(run, aligned, Preprocessing(), Prediction())
    np.testing.assert_array_equal(transform.linear, LINEAR)
    assert not isinstance(transform.deformation, ComposedPasses)
    assert len(reports) == 1


def test_several_passes_of_a_linear_branch_multiply_its_matrices(aligned):
    run = ChosenRun()
    transform, _ = predict_in_passes(run, aligned, Preprocessing(), Prediction(passes=2))
    one = Transform(transform.lattice, LINEAR, None, np.eye(4)).linear_world
    np.testing.assert_allclose(transform.linear_world, aligned.init @ one @ one, rtol=0, atol=1e-9)


def test_coarser_grids_come_first_where_enough_is_left():
    lattice = Lattice((60, 44, 58), np.diag([2.0, 1.5, 3.0, 1.0]))
    schedule = Prediction(passes=3, coarser=(3, 2), least_size=22)
    levels = levels_of(lattice, schedule)
    assert [factor for factor, _ in levels] == [2, 1, 1]
    assert levels[0][1].shape == (30, 22, 29)
    # Coarse voxels are blocks of fine ones.
    np.testing.assert_allclose(levels[0][1].to_world([0, 0, 0]), lattice.to_world([0.5, 0.5, 0.5]))
    for passes, size, expected in (
        (3, 23, [1, 1, 1]),
        (4, 14, [3, 2, 1, 1]),
        (3, 14, [3, 2, 1]),
        (2, 14, [2, 1]),
        (1, 14, [1]),
    ):
        levels = levels_of(lattice, Prediction(passes=passes, coarser=(3, 2), least_size=size))
        assert [factor for factor, _ in levels] == expected


@pytest.mark.parametrize("parts", ["linear", "deformable", "both"])
def test_the_parts_of_a_network_without_a_linear_branch(pair, parts, tmp_path):
    images = ImagePair(*pair)
    whole = register_pair(images, RegistrationOptions(refine=False, passes=2, init="moments"), DisplacedRun())
    options = RegistrationOptions(refine=False, passes=2, parts=parts, init="moments")
    result = register_pair(images, options, DisplacedRun())
    linear = np.eye(3, 4) if parts == "deformable" else whole.transform.linear
    np.testing.assert_array_equal(result.transform.linear, linear)
    assert (result.transform.deformation is None) == (parts == "linear")
    assert len(result.report.passes) == 2
    assert result.report.certificate.certified
    np.testing.assert_allclose(result.report.linear, result.transform.linear_world)
    result.save(tmp_path / "out")
    loaded, _, _ = load_transform(tmp_path / "out")
    points = images.fixed.lattice.points()
    np.testing.assert_array_equal(loaded(points), result.transform(points))
    assert result.report.inverse_residual_voxels is None


def test_a_refinement_goes_on_from_the_passes(pair):
    options = RegistrationOptions(refine=True, preset="fast", passes=2, init="moments")
    result = register_pair(ImagePair(*pair), options, DisplacedRun(0.3))
    assert result.report.refinement is not None
    assert len(result.report.passes) == 2
    assert result.report.certificate.certified


def test_passes_are_of_a_model(pair):
    with pytest.raises(UserError, match="--passes 2: there is no model"):
        register(*pair, passes=2)
    with pytest.raises(UserError, match="passes"):
        register(*pair, passes=0, model=DisplacedRun())


def test_a_small_grid_of_cubes_is_said(pair):
    cubes = {"preprocessing": {"network_grid": {"voxels": 5000}}}
    small = register(*pair, model=DisplacedRun(0.3, **cubes, prediction={"least_size": 28}), refine=False)
    assert any("learned from 28" in text for text in small.report.warnings)
    large = register(*pair, model=DisplacedRun(0.3, **cubes, prediction={"least_size": 8}), refine=False)
    assert not any("learned from" in text for text in large.report.warnings)


def test_cubes_by_their_number():
    fixed = Lattice((40, 60, 9), np.diag([1.5, 1.5, 10.0, 1.0]))
    assert configured_grid(fixed, NetworkGrid(voxels=9000)).same_as(cube_lattice(fixed, 9000))
    turned = configured_grid(fixed, NetworkGrid(voxels=9000, orientation="LPS"))
    assert turned.orientation == "LPS"
    np.testing.assert_allclose(turned.centre_world, fixed.centre_world)
    assert np.ptp(turned.spacing) < 1e-9
    with pytest.raises(ValueError, match="min_size"):
        NetworkGrid(min_size=28)
    for other in ({"spacing": 2.0}, {"shape": (8, 8, 8)}):
        with pytest.raises(ValueError, match="voxels"):
            NetworkGrid(voxels=9000, **other)


@pytest.mark.parametrize("coarser", [(2, 4), (2, 2), (4, 1)])
def test_coarser_grids_fall(coarser):
    with pytest.raises(ValueError, match="falling"):
        Prediction(coarser=coarser)
