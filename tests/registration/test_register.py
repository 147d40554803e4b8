"""`register`: what comes out of it, and what the report says of that."""

import numpy as np
import pytest
import SimpleITK as sitk
from pairs import SMALL_NETWORK, registered_files, thresholded

from tfreg.config import parse_config
from tfreg.errors import UserError
from tfreg.io.formats import write_volume
from tfreg.registration import register as register_module
from tfreg.registration.register import NO_MODEL
from tfreg.registration.register_volumes import register
from tfreg.registration.trained_run import TrainedRun
from tfreg.training.build_model import build_model
from tfreg.transforms.jacobian import log_jacobian
from tfreg.transforms.transform import Transform
from tfreg.volumes.volume import Volume

FLIP = np.array([-1, -1, 1])


def test_an_untrained_network_changes_nothing(pair):
    fixed, moving = pair
    config = parse_config({"model": SMALL_NETWORK})
    result = register(fixed, moving, model=TrainedRun("untrained", "", config, build_model(config)))
    expected = register(fixed, moving, model="none", refine=False)
    np.testing.assert_allclose(result.displacement_mm, 0, atol=1e-6)
    np.testing.assert_allclose(result.warped.array, expected.warped.array, atol=1e-3)
    np.testing.assert_allclose(result.log_jacobian, 0, atol=1e-5)
    assert NO_MODEL in expected.report.warnings
    assert NO_MODEL not in result.report.warnings


@pytest.mark.parametrize("parts", ["linear", "deformable"])
def test_one_part_alone(pair, tools, parts):
    fixed, moving = pair
    run = tools.ChosenRun()
    whole = register(fixed, moving, model=run, init="moments").transform
    result = register(fixed, moving, model=run, init="moments", parts=parts).transform
    np.testing.assert_array_equal(result.linear, whole.linear if parts == "linear" else np.eye(3, 4))
    assert (result.deformation is None) == (parts == "linear")
    np.testing.assert_array_equal(result.init, whole.init)
    assert np.linalg.norm(result.init[:3, 3]) > 0.1


def test_the_result_is_consistent(pair, tools):
    fixed, moving = pair
    result = register(fixed, moving, model=tools.ChosenRun(), init="centre", interpolation="cubic")
    points_world = fixed.lattice.points()
    np.testing.assert_allclose(result.displacement_mm, result.transform(points_world) - points_world, atol=1e-3)
    np.testing.assert_array_equal(result.log_jacobian, log_jacobian(result.displacement_mm, fixed.affine))
    warped = result.transform.warp(moving, fixed.lattice, "cubic", moving.array.min())
    np.testing.assert_array_equal(result.warped.array, warped.array)
    np.testing.assert_allclose(result.report.linear, result.transform.linear_world)
    assert result.report.log_jacobian["all"].sd > 0.05
    assert result.report.background == moving.array.min()
    assert result.report.preprocessing["init"] == "centre"
    assert (result.report.model.name, result.report.model.sha256) == ("chosen", "0" * 64)


def test_background(pair, tools):
    fixed, moving = pair
    shifted = Volume(moving.array, moving.affine + np.array([[0, 0, 0, 12], [0] * 4, [0] * 4, [0] * 4]))
    result = register(fixed, shifted, model=tools.ChosenRun(), background=-5000.0)
    outside = result.warped.array == -5000
    assert 0.1 < outside.mean() < 0.9
    assert outside.mean() == pytest.approx(result.report.metrics.after.outside_fraction, abs=1e-3)


def test_missing_values_do_not_spread(pair, tools):
    fixed, moving = pair
    array, other = moving.array.copy(), fixed.array.copy()
    array[:2] = np.nan
    array[4, 5, 6] = np.inf
    other[3, 4, 5] = np.nan
    result = register(Volume(other, fixed.affine), Volume(array, moving.affine), model=tools.ChosenRun())
    assert np.isfinite(result.warped.array).all()
    assert np.isfinite(result.report.metrics.after.correlation)
    assert any("moving" in text and "not finite" in text for text in result.report.warnings)
    assert any("fixed" in text and "not finite" in text for text in result.report.warnings)


def test_the_value_of_padding_changes_nothing(pair, tools, tmp_path):
    across = [np.hypot(*np.meshgrid(*(np.linspace(-1, 1, n) for n in v.shape[:2]), indexing="ij")) for v in pair]
    padded = [np.broadcast_to((rho > 0.9)[..., None], v.shape) for rho, v in zip(across, pair, strict=True)]
    reports, warped, views = [], [], []
    for value in np.float32([-2048, -32768, -3.4028235e38, 1e20, np.nan]):
        fixed, moving = (v.with_array(np.where(p, value, v.array)) for v, p in zip(pair, padded, strict=True))
        result = register(fixed, moving, model=tools.ChosenRun(), init="moments", interpolation="cubic", check=True)
        result.save(tmp_path / str(value))
        report = result.report
        assert report.background == (np.nanmin(moving.array) if np.isnan(value) else value)
        assert sum("padding" in text or "not finite" in text for text in report.warnings) == 3
        names = ("init", "linear", "metrics", "quality_indicators", "verdict", "reasons", "certificate", "log_jacobian")
        reports.append({name: getattr(report, name) for name in names})
        if not warped:
            outside = result.warped.array == value
        assert (result.warped.array[outside] == np.float32(report.background)).all()
        warped.append(result.warped.array[~outside])
        with np.load(tmp_path / str(value) / "views.npz") as archive:
            views.append({name: archive[name].tobytes() for name in ("fixed", "moving", "warped")})
        pictures = [(tmp_path / str(other) / "report.png").read_bytes() for other in (np.float32(-2048), value)]
        assert pictures[0] == pictures[1]
    for number in range(1, len(reports)):
        assert reports[number] == reports[0]
        np.testing.assert_array_equal(warped[number], warped[0])
        assert views[number] == views[0]
    assert 0.2 < outside.mean() < 0.8
    assert warped[0].min() > -400  # no mixture of tissue and padding, and no overshoot beside it


def test_landmarks_are_doubted_and_named_in_one_order(pair, tools, tmp_path):
    fixed, moving = pair
    inside = [v.lattice.to_world(np.array([[4.0, 5, 6], [9, 8, 7], [5, 11, 3]])) for v in pair]
    result = register(fixed, moving, model="none", refine=False, fixed_points=inside[0], moving_points=inside[1])
    assert not result.report.warnings[1:]
    result = register(
        fixed, moving, model="none", refine=False, fixed_points=inside[0], moving_points=inside[1] * [-1, -1, 1]
    )
    (text,) = (text for text in result.report.warnings if "points" in text)
    assert text.startswith("moving points: 3 of 3 points lie outside the image")
    assert "LPS" in text
    for name, volume, points, order in (("fixed", fixed, inside[0], "ab"), ("moving", moving, inside[1], "ba")):
        write_volume(tmp_path / f"{name}.nii.gz", volume)
        rows = [f"{label},{x},{y},{z}" for label, (x, y, z) in zip(order, points[:2], strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["name,x,y,z", *rows]) + "\n")
    files = [tmp_path / f"{name}.nii.gz" for name in ("fixed", "moving")]
    points = {f"{name}_points": tmp_path / f"{name}.csv" for name in ("fixed", "moving")}
    with pytest.raises(UserError, match=r"moving.csv: names point 1 'b', and .*fixed.csv names it 'a'"):
        registered_files(*files, tmp_path / "out", **points)


def test_labels_and_masks_are_measured(pair, tools, rng):
    fixed, moving = pair
    labels = [Volume((v.array > 200).astype(np.uint8) + (v.array > 500), v.affine) for v in pair]
    mask = Volume((rng.random(fixed.shape) > 0.5).astype(np.uint8), fixed.affine)
    result = register(
        fixed, moving, model=tools.ChosenRun(), fixed_labels=labels[0], moving_labels=labels[1], fixed_mask=mask
    )
    metrics = result.report.metrics
    assert list(dict(metrics)) == ["before", "after_init", "after"]
    # SimpleITK resamples the labels through the field and counts.
    field = sitk.GetImageFromArray((result.displacement_mm * FLIP).transpose(2, 1, 0, 3).astype(float), isVector=True)
    images = []
    for volume in (fixed, *labels):
        image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.T))
        affine = np.diag([-1, -1, 1, 1]) @ volume.affine
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
        image.SetOrigin(affine[:3, 3].tolist())
        images.append(image)
    field.CopyInformation(images[0])
    theirs = sitk.Resample(images[2], images[0], sitk.DisplacementFieldTransform(field), sitk.sitkNearestNeighbor)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(images[1], theirs)
    for label in (1, 2):
        assert metrics.after.dice[str(label)] == pytest.approx(overlap.GetDiceCoefficient(label), abs=2e-3)
    assert metrics.after.mean_dice == pytest.approx(np.mean(list(metrics.after.dice.values())))
    considered = (mask.array != 0) & (result.warped.array != result.report.background)
    expected = np.corrcoef(fixed.array[considered], result.warped.array[considered])[0, 1]
    assert metrics.after.correlation == pytest.approx(expected, abs=1e-3)


def test_identical_volumes_agree_before_and_after(pair):
    fixed, _ = pair
    labels = {"fixed_labels": thresholded(fixed), "moving_labels": thresholded(fixed)}
    metrics = register(fixed, fixed, model="none", refine=False, **labels).report.metrics
    for _, stage in metrics:
        assert stage.correlation == pytest.approx(1)
        assert stage.mean_dice == 1
        assert stage.outside_fraction == 0


def test_numbers_may_be_numpys_or_texts(pair, tools):
    """And mean what they say."""
    fixed, moving = pair
    run = tools.ChosenRun()
    far = np.array(moving.affine)
    far[0, 3] += 8
    moving = Volume(moving.array, far)
    expected = register(fixed, moving, model=run, background=-500.0)
    for background in (np.float32(-500), np.int16(-500), "-500"):
        result = register(fixed, moving, model=run, background=background, check=np.bool_(False))
        np.testing.assert_array_equal(result.warped.array, expected.warped.array)
    assert (expected.warped.array == -500).any()


def test_without_a_network_the_pair_is_refined(pair, monkeypatch):
    """In Python as on the command line; with one, only where it is asked for."""
    called = []

    def refined(pair, settings, parts, start, *rest):
        called.append(parts)
        return start or Transform.identity(pair.fixed.lattice, pair.init), {
            "settings": settings.model_dump(),
            "seconds": {},
            "rival": None,
            "directions_apart": None,
        }

    monkeypatch.setattr(register_module, "refine_pair", refined)
    result = register(*pair)
    assert called == ["both"]
    assert result.report.refinement is not None
    assert NO_MODEL not in result.report.warnings
    register(*pair, model="none", refine=False)
    assert called == ["both"]
    register(*pair, refine="yes", parts="linear")
    assert called == ["both", "linear"]
