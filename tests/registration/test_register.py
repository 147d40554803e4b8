"""`register`: the report, the files, what is refused, and that a network's own map comes out."""

import hashlib
import json
import shutil

import keras
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from pairs import registered_files

import tfreg
from tfreg.config import dump_config, parse_config
from tfreg.errors import UserError, WorkError
from tfreg.io.formats import read_points, read_volume, write_points, write_volume
from tfreg.io.transform_archive import load_transform
from tfreg.preprocessing.aligned_pair import prepare_pair
from tfreg.registration import register as register_module
from tfreg.registration import result as module
from tfreg.registration.image_pair import ImagePair
from tfreg.registration.register import NO_MODEL
from tfreg.registration.register_volumes import register
from tfreg.registration.result import REGISTRATION
from tfreg.registration.trained_run import TrainedRun, load_run, predicted_transform
from tfreg.training.build_model import build_model
from tfreg.transforms.jacobian import log_jacobian
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume

FLIP = np.array([-1, -1, 1])
FILES = {
    "warped.nii.gz",
    "displacement.nii.gz",
    "linear.tfm",
    "transform.h5",
    "transform.npz",
    "inverse_displacement.nii.gz",
    "jacobian.nii.gz",
    "report.json",
    "report.png",
    "views.npz",
}
SMALL = {"encoder_filters": [4, 6], "encoder_dilations": [1, 2], "squeeze_ratio": 4, "decoder_filters": [5]}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, perturb):
    """A run whose small network moves everything by some voxels."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    folder.mkdir()
    config = parse_config({"preprocessing": {"network_grid": {"orientation": "LPS", "spacing": 6}}, "model": SMALL})
    model = build_model(config)
    perturb(model, np.random.default_rng(4), 0.05)
    model.save(folder / "model.keras")
    (folder / "config.yaml").write_text(dump_config(config))
    return folder


@pytest.mark.parametrize(
    "model",
    [
        {"integration": "composed", "anchor": "centre", "stride": 2},
        {"integration": "axiswise", "anchor": "start", "stride": 3},
        {"transform": "linear"},
        {"transform": "deformable", "stride": 1},
    ],
    ids=lambda m: "-".join(map(str, m.values())),
)
def test_the_transform_is_the_networks_own_map(rng, pair, perturb, model):
    fixed, moving = pair
    config = parse_config({"model": {**SMALL, **model}})
    network = perturb(build_model(config), rng, 0.1)
    prepared = prepare_pair(fixed, moving, config.preprocessing)
    transform = TrainedRun("tiny", "", config, network).predict(prepared)
    inputs = {"fixed": prepared.fixed[None, ..., None], "moving": prepared.moving[None, ..., None]}
    displacement = keras.ops.convert_to_numpy(network(inputs)["displacement"])[0]
    assert np.abs(displacement).max() > 0.3
    grid = prepared.lattice
    ours = grid.to_voxel(transform(grid.points())) - grid.voxels()
    np.testing.assert_allclose(ours, displacement, atol=1e-3)


def test_an_untrained_network_changes_nothing(pair):
    fixed, moving = pair
    config = parse_config({"model": SMALL})
    result = register(fixed, moving, model=TrainedRun("untrained", "", config, build_model(config)))
    expected = register(fixed, moving, refine=False)
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
    result = register(fixed, moving, refine=False, fixed_points=inside[0], moving_points=inside[1])
    assert not result.report.warnings[1:]
    result = register(fixed, moving, refine=False, fixed_points=inside[0], moving_points=inside[1] * [-1, -1, 1])
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
    labels = {"fixed_labels": _thresholded(fixed), "moving_labels": _thresholded(fixed)}
    metrics = register(fixed, fixed, refine=False, **labels).report.metrics
    for _, stage in metrics:
        assert stage.correlation == pytest.approx(1)
        assert stage.mean_dice == 1
        assert stage.outside_fraction == 0


def _thresholded(volume):
    return Volume((volume.array > 300).astype(np.uint8), volume.affine)


# What is refused


def refused(*volumes, **options):
    with pytest.raises(UserError) as caught:
        register(*volumes, **options)
    assert ";" in str(caught.value)
    return str(caught.value)


def test_other_frames_are_refused(pair):
    fixed, moving = pair
    for name in ("fixed_labels", "fixed_mask"):
        assert refused(fixed, moving, **{name: _thresholded(moving)}).startswith(f"{name.replace('_', ' ')}: lies in")
    shifted = np.array(moving.affine)
    shifted[:3, 3] += 0.4 * moving.affine[:3, 0]
    for name in ("moving_labels", "moving_mask"):
        with pytest.raises(UserError, match=r"^m.nii: lies in another frame.* up to 0.4 voxels away"):
            ImagePair(fixed, moving, **{name: Volume(_thresholded(moving).array, shifted)}, names={name: "m.nii"})
    # A header's rounding is no other frame, whatever is computed from the mask.
    shifted[:3, 3] -= 0.35 * moving.affine[:3, 0]
    mask = Volume(_thresholded(moving).array, shifted)
    register(fixed, moving, refine=False, init="moments", moving_mask=mask)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"parts": "rigid"}, r"--parts rigid: choose linear, deformable, both$"),
        ({"parts": "LINEAR"}, r"--parts LINEAR: choose .*\(is `linear` meant\?\)"),
        ({"parts": None}, r"--parts None: choose"),
        ({"parts": 3}, r"--parts 3: choose"),
        ({"init": "center"}, r"--init center: choose header, .*\(is `centre` meant\?\)"),
        ({"interpolation": "nearest"}, r"--interpolation nearest: choose linear or cubic"),
        ({"preset": "slow"}, r"--preset slow: choose quality or fast"),
        ({"similarity": "ncc2"}, r"--similarity ncc2: give mse, lncc"),
        ({"similarity": 3}, r"--similarity 3: give a text"),
        ({"smoothness": -1}, r"--smoothness -1: give a number of at least 0"),
        ({"smoothness": np.nan}, r"--smoothness nan: give a finite number"),
        ({"smoothness": "stiff"}, r"--smoothness stiff: give a number"),
        ({"smoothness": True}, r"--smoothness True: give a number"),
        ({"background": np.inf}, r"--background inf: give a finite number"),
        ({"background": "black"}, r"--background black: give a number"),
        ({"refine": "perhaps"}, r"--refine perhaps: give yes or no"),
        ({"check": 2}, r"--check 2: give yes or no"),
        ({"refine": False, "similarity": "mi"}, r"--similarity: is of the refinement, which is not asked for"),
        ({"model": 3}, r"model 3: give what `tfreg.load_run` returns"),
        ({"initial_transform": np.eye(3)}, r"initial_transform: give an invertible 4x4 affine"),
        ({"initial_transform": np.diag([1.0, 1, 0, 1])}, r"initial_transform: give an invertible 4x4 affine"),
        ({"initial_transform": np.full((4, 4), np.nan)}, r"initial_transform: give an invertible 4x4 affine"),
        ({"initial_transform": "rigid.tfm"}, r"initial_transform: give an invertible 4x4 affine"),
        (
            {"initial_transform": np.eye(4), "init": "centre"},
            r"init 'centre' and initial_transform: give one of the two",
        ),
        (
            {"initial_transform": np.eye(4), "init": "rigid.tfm"},
            r"init rigid.tfm and initial_transform: give one of the two",
        ),
        ({"fixed_mask": np.ones((3, 4, 5))}, r"fixed mask: is no Volume; read it with `tfreg.read_volume`"),
        ({"fixed_points": [[0, 0]], "moving_points": [[0, 0]]}, r"fixed points: give \(n, 3\) finite numbers"),
        ({"fixed_points": np.zeros((0, 3)), "moving_points": np.zeros((0, 3))}, r"fixed points: give \(n, 3\) finite"),
    ],
)
def test_an_option_that_means_nothing_is_one_line(pair, options, text):
    """Nothing is taken for a default in silence."""
    with pytest.raises(UserError, match=text) as caught:
        register(*pair, **options)
    assert "\n" not in str(caught.value)


def test_what_is_no_volume_is_one_line(pair):
    for fixed, moving in ((pair[0].array, pair[1]), (3, pair[1]), (None, pair[1])):
        with pytest.raises(UserError, match=r"^fixed: is no Volume; read it with `tfreg\.read_volume`"):
            register(fixed, moving)


def test_an_empty_mask_is_refused(pair):
    assert "fixed mask: empty mask" in refused(*pair, fixed_mask=Volume(np.zeros(pair[0].shape), pair[0].affine))


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


def test_a_part_that_the_network_lacks_is_refused(pair, tools):
    """Else only the initial alignment would be applied, without a word."""
    run = tools.ChosenRun(model={"transform": "linear"})
    assert "the model predicts the linear part alone" in refused(*pair, model=run, parts="deformable")


def test_without_a_network_the_pair_is_refined(pair, monkeypatch):
    """In Python as on the command line; with one, only where it is asked for."""
    called = []

    def refined(pair, settings, parts, start, *rest):
        called.append(parts)
        return start or Transform.identity(pair.fixed.lattice, pair.init), {
            "settings": settings.model_dump(),
            "seconds": {},
        }

    monkeypatch.setattr(register_module, "refine_pair", refined)
    result = register(*pair)
    assert called == ["both"]
    assert result.report.refinement is not None
    assert NO_MODEL not in result.report.warnings
    register(*pair, refine=False)
    assert called == ["both"]
    register(*pair, refine="yes", parts="linear")
    assert called == ["both", "linear"]


def test_a_transform_that_is_not_finite_is_no_result(pair, monkeypatch):
    whole = register_module.certify

    def exploded(*arguments, **options):
        transform, displacement_mm, certificate = whole(*arguments, **options)
        displacement_mm[2, 3, 4] = np.nan
        return transform, displacement_mm, certificate

    monkeypatch.setattr(register_module, "certify", exploded)
    with pytest.raises(WorkError, match="the transform found is not finite"):
        register(*pair, refine=False)


def test_landmarks_must_be_pairs(pair):
    points = np.zeros((3, 3))
    assert "3 points" in refused(*pair, fixed_points=points[:2], moving_points=points)
    assert refused(*pair, fixed_points=points).startswith("fixed points: the moving points are missing")
    assert refused(*pair, moving_points=points).startswith("moving points: the fixed points are missing")


def test_volumes_apart_are_refused(pair, tools):
    fixed, moving = pair
    far = np.array(moving.affine)
    far[:3, 3] += 1000
    far = Volume(moving.array, far)
    assert "--init centre" in refused(fixed, far, model=tools.ChosenRun())
    register(fixed, far, model=tools.ChosenRun(), init="centre")


def test_a_mask_without_contents_is_refused_for_moments(pair):
    fixed, moving = pair
    dark = Volume((moving.array <= moving.array.min()).astype(np.uint8), moving.affine)
    assert "mask" in refused(fixed, moving, init="moments", moving_mask=dark)


def test_a_transform_that_mirrors_is_refused(pair, perturb, rng):
    fixed, moving = pair
    config = parse_config({"model": SMALL})
    network = build_model(config)
    _, bias = network.get_layer("linear").weights
    bias.assign([-2.0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    assert "no valid transform" in refused(fixed, moving, model=TrainedRun("bad", "", config, network))
    bias.assign(np.full(12, np.nan))
    assert "bad" in refused(fixed, moving, model=TrainedRun("bad", "", config, network))
    bias.assign(np.zeros(12))
    network.get_layer("logits").bias.assign([0, np.nan, 0])
    assert "not finite" in refused(fixed, moving, model=TrainedRun("bad", "", config, network))


def test_a_model_of_something_else_is_refused(tmp_path, run_folder):
    (tmp_path / "config.yaml").write_text((run_folder / "config.yaml").read_text())
    inputs = keras.Input((3,))
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(tmp_path / "model.keras")
    with pytest.raises(UserError, match=r"model\.keras: is not a registration network; give"):
        load_run(tmp_path)


# Files


@pytest.fixture
def files(tmp_path, pair):
    for name, volume in zip(("fixed", "moving"), pair, strict=True):
        write_volume(tmp_path / f"{name}.nii.gz", volume)
        write_volume(tmp_path / f"{name}_labels.nii.gz", _thresholded(volume))
        write_points(tmp_path / f"{name}_points.csv", volume.lattice.to_world(np.array([[4.0, 5, 6], [9, 8, 7]])))
    return tmp_path


def test_every_file(files, run_folder):
    out = files / "deep" / "result"
    result = registered_files(
        files / "fixed.nii.gz",
        files / "moving.nii.gz",
        out,
        model=run_folder,
        fixed_labels=files / "fixed_labels.nii.gz",
        moving_labels=files / "moving_labels.nii.gz",
        fixed_points=files / "fixed_points.csv",
        moving_points=files / "moving_points.csv",
        seed=7,
    )
    assert {path.name for path in out.iterdir()} == FILES | {"volume_change.nii.gz"}
    assert [path.name for path in out.parent.iterdir()] == ["result"]
    fixed = read_volume(files / "fixed.nii.gz")
    for name, array in (("warped", result.warped.array), ("jacobian", result.log_jacobian)):
        written = nib.load(out / f"{name}.nii.gz")
        np.testing.assert_array_equal(written.get_fdata(dtype=np.float32), array)
        np.testing.assert_allclose(written.affine, fixed.affine, atol=1e-4)
    field = nib.load(out / "displacement.nii.gz")
    assert field.header["dim"].tolist()[:6] == [5, *fixed.shape, 1, 3]
    np.testing.assert_allclose(field.get_fdata()[:, :, :, 0] * FLIP, result.displacement_mm, atol=1e-5)
    transform, fixed_lattice, _ = load_transform(out)
    assert fixed_lattice.same_as(fixed.lattice, 1e-4)
    np.testing.assert_array_equal(transform(fixed.lattice.points()), result.transform(fixed.lattice.points()))
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")

    report = json.loads((out / "report.json").read_text())
    assert report["versions"]["tfreg"] == tfreg.__version__
    assert {"keras", "numpy", "scipy", "tensorflow"} <= set(report["versions"])
    digest = hashlib.sha256((run_folder / "model.keras").read_bytes()).hexdigest()
    assert (report["model"]["name"], report["model"]["sha256"]) == ("tiny", digest)
    assert report["seed"] == 7
    assert report["config"]["model"]["encoder_filters"] == [4, 6]
    assert {"read", "load_model", "prepare", "predict", "map", "warp", "total"} <= set(report["seconds"])
    assert report["seconds"]["total"] >= sum(value for key, value in report["seconds"].items() if key != "total") - 0.1
    # Neither the place of the inputs nor the user's name leaks.
    assert str(files) not in (out / "report.json").read_text()
    assert str(run_folder.parent) not in (out / "report.json").read_text()
    # The .keras file itself may be named.
    again = registered_files(
        files / "fixed.nii.gz", files / "moving.nii.gz", files / "r2", model=run_folder / "model.keras"
    )
    np.testing.assert_array_equal(again.displacement_mm, result.displacement_mm)


@pytest.mark.parametrize("damage", ["empty", "zeros", "half", "last digit"])
def test_a_run_whose_config_was_cut_short_is_refused(run_folder, tmp_path, damage):
    """What is missing must not become a default: the network would see other images than it was trained on."""
    run = shutil.copytree(run_folder, tmp_path / "run")
    content = (run / "config.yaml").read_bytes()
    cut = {
        "empty": b"",
        "zeros": b"\0" * len(content),
        "half": content[: len(content) // 2],
        "last digit": content[:-1],
    }
    (run / "config.yaml").write_bytes(cut[damage])
    with pytest.raises(UserError, match=r"run/config\.yaml: ") as caught:
        load_run(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 100, 0.5, -1])
def test_a_model_that_was_cut_short_is_refused(run_folder, tmp_path, size):
    run = shutil.copytree(run_folder, tmp_path / "run")
    content = (run / "model.keras").read_bytes()
    (run / "model.keras").write_bytes(content[: int(size * len(content)) if 0 < size < 1 else size])
    with pytest.raises(UserError, match=r"run/model\.keras: is not a Keras model, or is damaged; copy it again"):
        load_run(run)


def test_an_answer_that_lacks_a_part_is_no_identity(pair):
    """As a server's may, that holds another model."""
    prepared = prepare_pair(*pair, parse_config({}).preprocessing)
    logits = np.zeros((*(-(-n // 2) for n in prepared.lattice.shape), 3), np.float32)
    both = {"linear": np.eye(3, 4), "logits": logits}
    for parts, lacking in (("both", "logits"), ("both", "linear"), ("linear", "linear"), ("deformable", "logits")):
        model = parse_config({"model": {"transform": parts}}).model
        predicted_transform(both, prepared, model, "model m")
        answer = {name: value for name, value in both.items() if name != lacking}
        with pytest.raises(UserError, match=f"model m: gives no {lacking} for this pair; use a model"):
            predicted_transform(answer, prepared, model, "model m")


def test_paths_are_recorded_when_asked_for(files):
    registered_files(files / "fixed.nii.gz", files / "moving.nii.gz", files / "out", refine=False, record_paths=True)
    report = json.loads((files / "out" / "report.json").read_text())
    assert report["paths"] == {name: str(files / f"{name}.nii.gz") for name in ("fixed", "moving")}
    assert report["model"] is None


def test_a_frame_code_is_kept(files, pair):
    write_volume(files / "fixed.nii.gz", Volume(pair[0].array, pair[0].affine, frame=4))
    registered_files(files / "fixed.nii.gz", files / "moving.nii.gz", files / "out", refine=False)
    for name in ("warped", "displacement", "jacobian"):
        assert int(nib.load(files / "out" / f"{name}.nii.gz").header["sform_code"]) == 4


def test_a_sheared_fixed_volume(files, pair, tools):
    """A tilted gantry: the field lies on a lattice that is not right-angled."""
    fixed, moving = pair
    affine = np.array(fixed.affine)
    affine[:3, 2] += 0.3 * affine[:3, 1]
    fixed = Volume(fixed.array, affine)
    result = register(fixed, moving, model=tools.ChosenRun(), init="centre")
    result.save(files / "out")
    theirs = sitk.ReadTransform(str(files / "out" / "transform.h5"))
    point_world = fixed.lattice.to_world(np.array([9.0, 11, 7]))
    moved = np.array(theirs.TransformPoint((point_world * FLIP).tolist())) * FLIP
    np.testing.assert_allclose(moved, result.transform(point_world), atol=1e-3)


def test_force_replaces_a_result_and_nothing_else(files):
    arguments = (files / "fixed.nii.gz", files / "moving.nii.gz", files / "out")
    registered_files(*arguments, refine=False)
    with pytest.raises(UserError, match="already exists"):
        registered_files(*arguments, refine=False)
    (files / "out" / "landmarks.csv").write_text("mine")
    (files / "out" / "report.html").write_text("a page of the earlier result")
    registered_files(*arguments, refine=False, force=True)
    assert {path.name for path in (files / "out").iterdir()} == {*FILES, "landmarks.csv"}
    assert (files / "out" / "landmarks.csv").read_text() == "mine"
    shutil.copy(files / "moving.nii.gz", files / "out" / "inside.nii.gz")
    with pytest.raises(UserError, match=r"inside\.nii\.gz: lies in .*out, which is to be written; move it"):
        registered_files(
            files / "fixed.nii.gz", files / "out" / "inside.nii.gz", files / "out", refine=False, force=True
        )
    assert (files / "out" / "inside.nii.gz").is_file()
    assert set(REGISTRATION.own(files / "out")) == FILES


def test_a_picture_that_cannot_be_drawn_does_not_cost_the_result(files, monkeypatch, capsys):
    from tfreg.cli.options import print_summary
    from tfreg.report import registration_figure

    def failing(*arguments):
        raise RuntimeError("no font was found")

    monkeypatch.setattr(registration_figure, "registration_figure", failing)
    result = registered_files(files / "fixed.nii.gz", files / "moving.nii.gz", files / "out", refine=False)
    written = {path.name for path in (files / "out").iterdir()}
    assert {"warped.nii.gz", "displacement.nii.gz", "transform.h5", "report.json"} <= written
    assert "report.png" not in written
    note = "report.png could not be drawn (no font was found); the other results are complete."
    assert note in json.loads((files / "out" / "report.json").read_text())["warnings"]
    print_summary(result, files / "out")
    printed = capsys.readouterr()
    assert f"tfreg: warning: {note}\n" in printed.err
    assert "look at" not in printed.out


def test_nothing_is_left_of_a_failure_while_writing(files, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    before = {path.name for path in files.iterdir()}
    monkeypatch.setattr(module, "write_composite", fail)
    with pytest.raises(UserError, match="No space left"):
        registered_files(files / "fixed.nii.gz", files / "moving.nii.gz", files / "deep" / "out", refine=False)
    assert {path.name for path in files.iterdir()} == before


# Real data


def test_lung_ct(shared_data, tmp_path, run_folder):
    """Known distances and overlaps before; after, SimpleITK finds what the report says."""
    data = shared_data / "lung_ct"
    out = tmp_path / "result"
    result = registered_files(
        data / "fixed.nii.gz",
        data / "moving.nii.gz",
        out,
        model=run_folder,
        init="centre",
        fixed_labels=data / "fixed_mask.nii.gz",
        moving_labels=data / "moving_mask.nii.gz",
        fixed_points=data / "fixed_points.csv",
        moving_points=data / "moving_points.csv",
    )
    assert {path.name for path in out.iterdir()} == FILES | {"volume_change.nii.gz"}
    metrics = json.loads((out / "report.json").read_text())["metrics"]
    assert metrics["before"]["landmarks"]["mean_mm"] == pytest.approx(35.27, abs=0.005)
    assert metrics["before"]["mean_dice"] == pytest.approx(0.708, abs=0.0005)
    assert metrics["after_init"]["landmarks"]["mean_mm"] == pytest.approx(7.60, abs=0.005)
    assert metrics["after_init"]["mean_dice"] == pytest.approx(0.903, abs=0.0005)

    fixed_points, moving_points = (read_points(data / f"{side}_points.csv") for side in ("fixed", "moving"))
    field = sitk.ReadImage(str(out / "displacement.nii.gz"), sitk.sitkVectorFloat64)
    for theirs in (sitk.ReadTransform(str(out / "transform.h5")), sitk.DisplacementFieldTransform(field)):
        moved = np.array([theirs.TransformPoint(point.tolist()) for point in fixed_points * FLIP]) * FLIP
        tre_mm = np.linalg.norm(moved - moving_points, axis=1).mean()
        assert metrics["after"]["landmarks"]["mean_mm"] == pytest.approx(tre_mm, abs=0.01)
    assert abs(tre_mm - 7.60) > 0.1  # the network did something
    assert np.abs(result.log_jacobian).max() > 0.01
    lung = read_volume(data / "fixed_mask.nii.gz", labels=True).array != 0
    change = read_volume(out / "volume_change.nii.gz").array
    np.testing.assert_allclose(change[lung], 100 * (np.exp(result.log_jacobian[lung]) - 1), atol=1e-3)
    change_of_lung = json.loads((out / "report.json").read_text())["log_jacobian"]["1"]
    assert change_of_lung["volume_change_percent"] == pytest.approx(change[lung].mean(), abs=1e-3)
    assert change_of_lung["volume_ml"] == pytest.approx(lung.sum() * 1.366**2 * 2.5 / 1000, rel=1e-3)
    identity = Transform.identity(Lattice((2, 2, 2), np.eye(4)))
    assert np.linalg.norm(identity(fixed_points) - moving_points, axis=1).mean() == pytest.approx(35.27, abs=0.005)
