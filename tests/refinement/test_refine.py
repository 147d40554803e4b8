"""Refinement: known transforms are recovered, from nothing and from a network's, in any frame."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
from scenes import lattice_about
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tfreg.config import PRESETS, Refinement
from tfreg.errors import UserError
from tfreg.preprocessing.aligned_pair import AlignedPair
from tfreg.preprocessing.pyramid import cube_lattice, level_factors
from tfreg.refinement.deformable_stage import DeformableStage
from tfreg.refinement.linear_stage import refine_linear
from tfreg.refinement.refine import LEADING_MARGIN, identity_start, projected_start, refine_pair, steps_of
from tfreg.registration.register_volumes import register
from tfreg.transforms.certificate import certify, folding_fraction
from tfreg.transforms.deformation import Deformation
from tfreg.transforms.displacement_deformation import DisplacementDeformation
from tfreg.transforms.projection import control_centres
from tfreg.transforms.transform import Transform
from tfreg.volumes.volume import Volume

QUICK = Refinement(steps=(30, 15), detail_steps=0, tolerance=0)


OBLIQUE = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
FIXED = lattice_about(OBLIQUE @ np.diag([2.0, 1.5, 3.5]), (28, 36, 16), np.array([-30.0, 20, 100]))
MOVING = lattice_about(np.diag([-1.8, -2.1, 2.4]), (34, 32, 30), np.array([-30.0, 20, 100]))


def body(points, seed=0):
    """Intensities of a textured ellipsoid at world points: a smooth function, the same on every lattice."""
    offset = (points - [-30, 20, 100]) / [22, 20, 24]
    inside = np.clip(3 * (1 - np.linalg.norm(offset, axis=-1)), 0, 1)
    waves = np.random.default_rng(seed).normal(size=(24, 3)) * 0.28
    phases = np.random.default_rng(seed + 1).uniform(0, 2 * np.pi, 24)
    return (inside * (400 + 60 * np.sin(points @ waves.T + phases).sum(-1))).astype(np.float32)


def smooth_map(points):
    """A deformation of some millimetres, fixed world to moving world."""
    offset = points - np.array([-30.0, 20, 100])
    return points + 2.5 * np.sin(offset[..., [1, 2, 0]] / 11 + [0.3, 1.0, 2.0])


def pair_of(true_map):
    moving = Volume(body(MOVING.points()), MOVING.affine)
    fixed = Volume(body(true_map(FIXED.points())), FIXED.affine)
    return fixed, moving


def refined_deformation(pair, start, settings, leading_margin=(0, 0, 0), both_directions=True):
    """What a `DeformableStage` makes of a start."""
    from tfreg.refinement.descent import refinement_steps

    with refinement_steps.compiler() as compiler:
        stage = DeformableStage(pair, settings, compiler, leading_margin)
        return stage.finest(stage.coarse(start, both_directions).take().together())


def errors_mm(transform, true_map, fixed):
    points = fixed.lattice.points()[fixed.array > 150]
    assert len(points) > 500
    return np.linalg.norm(transform(points) - true_map(points), axis=-1)


def test_deformation_is_recovered_and_certified():
    fixed, moving = pair_of(smooth_map)
    result = register(fixed, moving, refine=True, parts="deformable")
    before = errors_mm(Transform.identity(FIXED), smooth_map, fixed).mean()
    assert before > 2
    assert errors_mm(result.transform, smooth_map, fixed).mean() < before / 5
    report = result.report
    assert dataclasses.asdict(report.certificate) == {
        "folding_fraction": 0.0,
        "certified": True,
        "damping": 1.0,
        "smoothing_rounds": 0,
    }
    assert report.metrics.after.correlation > 0.98 > report.metrics.after_init.correlation
    levels = report.refinement.levels
    assert [level.similarity for level in levels] == ["lncc+30*mind", "lncc+30*mind", "lncc", "lncc"]
    assert [level.spacing_mm[0] for level in levels] == sorted((x.spacing_mm[0] for x in levels), reverse=True)
    assert all(level.loss_last < level.loss_first for level in levels)
    # Cubes, although the fixed image's slices are twice as thick as its pixels.
    np.testing.assert_allclose(np.ptp(result.transform.lattice.spacing), 0, atol=1e-9)
    there = fixed.lattice.points()[fixed.array > 150]
    back = result.transform.inverse()(result.transform(there))
    np.testing.assert_allclose(back, there, atol=1e-6)


def one_level(similarity):
    """Settings of a refinement by one similarity alone, on cubes of the fixed image's own size."""
    smoothness = 0.02 if similarity in ("mind", "mse") else 0.2
    return Refinement(steps=(60,), detail_steps=0, similarity=similarity, smoothness=smoothness)


@pytest.mark.parametrize("similarity", ["mse", "mi", "mind", "dwm", "ncc", "lncc+0.5*mi"])
def test_other_similarities_recover_too(similarity):
    fixed, moving = pair_of(smooth_map)
    pair = AlignedPair(_normal(fixed), _normal(moving), np.eye(4))
    found, report = refine_pair(pair, one_level(similarity), "deformable")
    before = errors_mm(Transform.identity(FIXED), smooth_map, fixed).mean()
    assert errors_mm(found, smooth_map, fixed).mean() < before / 2
    assert [level["similarity"] for level in report["levels"]] == [similarity]


def test_a_similarity_that_is_chosen_is_that_of_all_levels():
    fixed, moving = pair_of(smooth_map)
    result = register(fixed, moving, refine=True, parts="deformable", preset="fast", similarity="mse")
    levels = result.report.refinement.levels
    assert len({tuple(level.shape) for level in levels}) == 2
    assert {level.similarity for level in levels} == {"mse"}


@pytest.mark.parametrize(
    ("angles", "shift"), [([30, 0, 0], [0, 0, 0]), ([0, -25, 15], [30, -20, 25]), ([12, 10, 28], [-10, 40, 0])]
)
def test_large_rigid_motion_is_found(angles, shift):
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    centre = np.array([-30.0, 20, 100])

    def rigid(points):
        return (points - centre) @ turn.T + centre + shift

    moving = Volume(body(MOVING.points()), MOVING.affine)
    moving = Volume(moving.array, np.array(MOVING.affine) + np.outer([*shift, 0], [0, 0, 0, 1]))
    fixed = Volume(body((FIXED.points() - centre) @ turn.T + centre), FIXED.affine)
    found = refine_linear(AlignedPair(_normal(fixed), _normal(moving), np.eye(4))).matrix
    assert errors_mm(Transform.identity(FIXED, found), rigid, fixed).max() < 1.0


def test_affine_is_found_and_is_all_that_linear_gives():
    matrix = np.array([[1.12, 0.08, 0], [-0.05, 0.92, 0.06], [0.03, 0, 1.07]])
    centre = np.array([-30.0, 20, 100])

    def affine(points):
        return (points - centre) @ matrix.T + centre + [4, -3, 5]

    fixed, moving = pair_of(affine)
    result = register(fixed, moving, refine=True, parts="linear")
    assert result.transform.deformation is None
    errors = errors_mm(result.transform, affine, fixed)
    assert errors.mean() < 0.3
    assert errors.max() < 1.0
    np.testing.assert_allclose(result.report.linear, result.transform.linear_world)
    np.testing.assert_allclose(result.report.init, np.eye(4))


@pytest.mark.parametrize(("similarity", "works"), [("mi", True), ("mind", True), ("mse", False)])
def test_inverted_contrast_needs_another_similarity(similarity, works):
    """The moving image with its contrast turned round and bent, as of another modality."""
    fixed, moving = pair_of(smooth_map)
    inside = np.clip(moving.array / moving.array.max(), 0, 1)
    other = moving.with_array((1 - inside**0.6).astype(np.float32))
    found, _ = refine_pair(AlignedPair(_normal(fixed), other, np.eye(4)), one_level(similarity), "deformable")
    before = errors_mm(Transform.identity(FIXED), smooth_map, fixed).mean()
    after = errors_mm(found, smooth_map, fixed).mean()
    assert after < 0.6 * before if works else after > before


def test_masks_leave_disturbances_out():
    """A dark block in the moving image pulls the result away, unless a mask leaves it out."""
    fixed, moving = pair_of(smooth_map)
    spoilt, mask = moving.array.copy(), np.ones(MOVING.shape, np.uint8)
    spoilt[4:14, 6:22, 8:22] = 0
    mask[3:15, 5:23, 7:23] = 0
    points = fixed.lattice.points()[fixed.array > 150]
    # Some voxels away from what is left out, the truth can be known.
    known = ndimage.binary_erosion(mask, iterations=2, border_value=1)
    voxels = np.round(MOVING.to_voxel(smooth_map(points))).astype(int)
    points = points[known[tuple(voxels.T)]]

    def error(array, **options):
        options |= {"parts": "deformable", "preset": "fast", "similarity": "mse", "smoothness": 0.02}
        result = register(fixed, moving.with_array(array), refine=True, **options)
        return np.linalg.norm(result.transform(points) - smooth_map(points), axis=-1).mean()

    clean = error(moving.array)
    assert error(spoilt) > 1.4 * clean
    assert error(spoilt, moving_mask=moving.with_array(mask)) < 1.25 * clean


def test_refinement_improves_what_a_network_predicted(pair, tools):
    fixed, moving = pair
    run = tools.ChosenRun(scale=0.3)
    predicted = register(fixed, moving, model=run)
    refined = register(fixed, moving, model=run, refine=True)
    correlations = [result.report.metrics.after.correlation for result in (predicted, refined)]
    assert correlations[1] > correlations[0] + 0.05
    assert refined.transform.lattice.same_as(predicted.transform.lattice, 1e-6)
    assert not np.array_equal(refined.transform.linear, predicted.transform.linear)
    assert refined.report.certificate.certified


@pytest.mark.parametrize("anchor", ["start", "centre"])
@pytest.mark.parametrize("integration", ["composed", "axiswise"])
def test_without_steps_a_start_is_kept(rng, integration, anchor):
    """Control points and their pyramid represent any logits; a level without effect changes nothing."""
    fixed, moving = pair_of(smooth_map)
    logits = ndimage.gaussian_filter(rng.normal(size=(14, 18, 8, 3)), (1, 1, 1, 0))
    start = Transform(FIXED, np.eye(3, 4), Deformation(logits, FIXED.shape, 2, integration, anchor), np.eye(4))
    still = Refinement(steps=(1, 1), learning_rate=1e-9, similarity="mse", coarse_similarity="mse")
    found, _ = refined_deformation(
        AlignedPair(_normal(fixed), _normal(moving), start.init), start, still, (0, 0, 0), False
    )
    np.testing.assert_allclose(found.deformation.logits, logits, atol=1e-5)
    np.testing.assert_allclose(found(FIXED.points()), start(FIXED.points()), atol=1e-3)


def displaced(scale, shift=(0.0, 0.0, 0.0)):
    """What a network with the displacement head may predict, on a grid of its own: a shift and smooth waves, voxels."""
    grid = lattice_about(np.diag([-3.0, 3.0, -2.5]), (24, 22, 28), np.array([-30.0, 20, 100]))
    control = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(12, 11, 14, 4)), (2, 2, 2, 0))
    control = scale * control / control.std()
    control[..., :3] += shift
    linear = np.array([[1.02, -0.03, 0.0, 0.4], [0.03, 0.98, 0.02, -0.3], [0.0, -0.02, 1.01, 0.2]])
    init = np.eye(4)
    init[:3, 3] = [0.5, -1.0, 1.5]
    return Transform(grid, linear, DisplacementDeformation(control, grid.shape), init)


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (-2.0, 1.5, 2.5)])
def test_predicted_displacements_are_projected_onto_control_points(shift):
    """A shift too, which lines that begin at the fixed image's border could not follow."""
    predicted = displaced(0.5, shift)
    start, leading_margin = projected_start(FIXED, predicted, QUICK)
    plain, same_margin = identity_start(FIXED, predicted.linear_world, QUICK)
    assert leading_margin == same_margin
    assert start.lattice.same_as(plain.lattice, 1e-9)
    np.testing.assert_allclose(start.linear_world, predicted.linear_world, atol=1e-9)
    points = FIXED.points()
    deformed = np.linalg.norm(predicted(points) - plain(points), axis=-1)
    away = np.linalg.norm(start(points) - predicted(points), axis=-1)
    assert deformed.mean() > 1.5
    assert away.mean() < 0.125 * deformed.mean()


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_refinement_goes_on_from_predicted_displacements(scale):
    """After the coarsest level the better of two goes on: what is predicted, or nothing, which is as good as zero."""
    fixed, moving = pair_of(smooth_map)
    pair = AlignedPair(_normal(fixed), _normal(moving), np.eye(4))
    start, done = displaced(scale), []
    settings = QUICK.model_copy(update={"steps": (15, 10), "similarity": "mse", "coarse_similarity": "mse"})
    refined, report = refine_pair(pair, settings, "deformable", start, done.append)
    assert sum(done) == steps_of(settings, "deformable", start)
    assert [begin["name"] for begin in report["starts"]] == ["linear", "network"]
    assert [level["direction"] for level in report["levels"]] == ["forward", "backward", "forward"]
    assert all(level["loss_last"] < level["loss_first"] for level in report["levels"])
    assert isinstance(refined.deformation, Deformation)
    assert errors_mm(refined, smooth_map, fixed).mean() < 0.8 * errors_mm(start, smooth_map, fixed).mean()
    assert np.array_equal(refine_pair(pair, settings, "linear", start)[0].linear, np.eye(3, 4))


@pytest.mark.parametrize(("scale", "wins"), [(0.9, True), (-2.0, False)])
def test_a_good_prediction_wins_and_a_bad_one_costs_nothing(scale, wins):
    fixed, moving = pair_of(smooth_map)
    pair = AlignedPair(_normal(fixed), _normal(moving), np.eye(4))
    settings = Refinement(steps=(3, 2, 1), tolerance=0)
    points = FIXED.to_world(control_centres(FIXED.shape, 2))
    moved = scale * (smooth_map(points) - points) @ np.linalg.inv(FIXED.affine[:3, :3]).T
    control = np.concatenate([moved, np.zeros((*moved.shape[:3], 1))], axis=-1)
    predicted = Transform(FIXED, np.eye(3, 4), DisplacementDeformation(control, FIXED.shape, 2), np.eye(4))
    refined, report = refine_pair(pair, settings, "deformable", predicted)
    worth = {begin["name"]: begin["worth"] for begin in report["starts"]}
    assert (worth["network"] > worth["linear"]) == wins
    alone, _ = refine_pair(pair, settings, "deformable")
    errors = [errors_mm(transform, smooth_map, fixed).mean() for transform in (refined, alone)]
    assert errors[0] < 0.7 * errors[1] if wins else errors[0] == errors[1]
    assert np.array_equal(refined.deformation.logits, alone.deformation.logits) != wins


def test_fast_is_a_preset_and_unknown_ones_are_refused():
    fixed, moving = pair_of(smooth_map)
    result = register(fixed, moving, refine=True, preset="fast", parts="deformable")
    assert result.report.refinement.settings["steps"] == list(PRESETS["fast"].steps)
    with pytest.raises(UserError, match="--preset slow: choose quality or fast"):
        register(fixed, moving, refine=True, preset="slow")
    with pytest.raises(UserError, match="--smoothness -1: give a number of at least 0"):
        register(fixed, moving, refine=True, smoothness=-1)


@pytest.mark.parametrize("transform", ["deformable", "both", "linear"])
def test_progress_is_told(transform):
    fixed, moving = pair_of(smooth_map)
    pair = AlignedPair(_normal(fixed), _normal(moving), np.eye(4))
    settings = QUICK.model_copy(update={"similarity": "mse", "coarse_similarity": "mse"})
    done = []
    refine_pair(pair, settings, transform, progress=done.append)
    assert sum(done) == steps_of(settings, transform, None)


def test_coarse_levels_go_both_ways_and_meet():
    """The two ways' errors differ, so that their mean is nearer to the truth than the way that goes alone."""
    fixed, moving = pair_of(smooth_map)
    volumes = _normal(fixed), _normal(moving)
    settings = Refinement(steps=(30, 30, 1), tolerance=0)
    start, leading_margin = identity_start(FIXED, np.eye(4), settings)
    found, levels = refined_deformation(AlignedPair(*volumes, start.init), start, settings, leading_margin)
    assert len(level_factors(start.lattice, 3)) == 2
    assert [level["direction"] for level in levels] == ["forward", "backward", "forward"]
    assert all(level["loss_last"] < level["loss_first"] for level in levels[:2])
    alone, levels = refined_deformation(AlignedPair(*volumes, start.init), start, settings, leading_margin, False)
    assert [level["direction"] for level in levels] == ["forward"] * 2
    assert errors_mm(found, smooth_map, fixed).mean() < errors_mm(alone, smooth_map, fixed).mean()


def test_the_finest_level_goes_on_where_there_is_detail():
    def rippled(points):
        offset = points - np.array([-30.0, 20, 100])
        return smooth_map(points) + 1.5 * np.sin(offset[..., [1, 2, 0]] / 3.5)

    fixed, moving = pair_of(rippled)
    errors = []
    for steps in (0, 30):
        settings = QUICK.model_copy(update={"detail_steps": steps})
        pair = AlignedPair(_normal(fixed), _normal(moving), np.eye(4))
        found, report = refine_pair(pair, settings, "deformable")
        errors.append(errors_mm(found, rippled, fixed).mean())
        finest = [level for level in report["levels"] if level["shape"] == report["levels"][-1]["shape"]]
        assert [level["steps"] for level in finest] == [15, 30][: 1 + bool(steps)]
    assert errors[1] < 0.8 * errors[0]
    # An image and itself have none.
    _, report = refine_pair(replace(pair, moving=pair.fixed), settings, "deformable")
    assert report["levels"][-1]["steps"] == 15


def test_directions_agree_about_one_body_and_not_about_two():
    """The other one has a texture of its own, of which chance makes something else in each direction."""
    one, other = (
        _normal(Volume(body(lattice.points(), seed), lattice.affine)) for lattice, seed in ((MOVING, 0), (MOVING, 7))
    )
    fixed = _normal(pair_of(smooth_map)[0])
    apart = [
        refine_pair(AlignedPair(fixed, moving, np.eye(4)), Refinement(), "deformable")[1]["directions_apart"]
        for moving in (one, other)
    ]
    assert apart[0] < 0.8 < 1.0 < apart[1]


def test_both_directions_begin_at_the_start(rng):
    """Backward at its inverse: without effect, their mean is the start as the coarse level has it."""
    fixed, moving = pair_of(smooth_map)
    settings = Refinement(steps=(1, 1), learning_rate=1e-9)
    start, leading_margin = identity_start(FIXED, np.eye(4), settings)
    logits = ndimage.gaussian_filter(rng.normal(size=start.deformation.logits.shape), (5, 5, 5, 0)) * 6
    start = replace(start, deformation=replace(start.deformation, logits=logits))
    pair = AlignedPair(_normal(fixed), _normal(moving), start.init)
    found, levels = refined_deformation(pair, start, settings, leading_margin)
    assert [level["direction"] for level in levels] == ["forward", "backward", "forward"]
    points = FIXED.points()
    moved = np.linalg.norm(start(points) - points, axis=-1)
    away = np.linalg.norm(found(points) - start(points), axis=-1)
    assert moved.mean() > 1.5
    assert away.mean() < 0.1 * moved.mean()


def test_folds_are_smoothed_away(rng):
    start, _ = identity_start(FIXED, np.eye(4), QUICK)
    logits = 1.6 * rng.normal(size=start.deformation.logits.shape)
    logits[: logits.shape[0] // 2] = 0
    rough = Transform(
        start.lattice, start.linear, Deformation(logits, start.lattice.shape, 2, "composed", "start"), np.eye(4)
    )
    assert folding_fraction(rough.displacement_mm(FIXED), FIXED.affine) > 0
    healed, displacement_mm, certificate = certify(rough, FIXED, smooth=True)
    assert certificate.certified
    assert certificate.damping == 1
    assert certificate.smoothing_rounds > 0
    assert folding_fraction(displacement_mm, FIXED.affine) == certificate.folding_fraction == 0
    # Far from the folds nothing changed, and what is left to do is nothing.
    np.testing.assert_array_equal(healed.deformation.logits[:4], rough.deformation.logits[:4])
    assert certify(healed, FIXED, smooth=True)[2].smoothing_rounds == 0
    assert certify(rough, FIXED)[2].damping < 1


def test_the_leading_margin_lets_the_border_move():
    start, leading_margin = identity_start(FIXED, np.eye(4), QUICK)
    assert leading_margin == (LEADING_MARGIN,) * 3
    corner = start.lattice.to_voxel(cube_lattice(FIXED, 10**7).to_world([0, 0, 0]))
    np.testing.assert_allclose(corner, LEADING_MARGIN, atol=1e-9)


def _normal(volume):
    """The volume with intensities in [0, 1]."""
    return volume.with_array((volume.array / volume.array.max()).clip(0, 1))
