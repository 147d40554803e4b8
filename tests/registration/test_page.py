"""`tfreg report`: the views that a registration writes, and the page made of them, whole or not at all."""

import json
import shutil
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from pairs import registered_files
from PIL import Image

from tfreg import cli
from tfreg.errors import UserError
from tfreg.io.formats import write_volume
from tfreg.io.itk_transforms import read_displacement
from tfreg.registration.page import write_pair_page
from tfreg.registration.register_volumes import register
from tfreg.registration.views import VIEWS, block_means, load_views, save_views
from tfreg.runtime.resources import Resources
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume

NAMES = ("fixed", "moving", "warped")


@pytest.fixture(scope="module")
def made(tmp_path_factory, tools):
    """A result with labels, of an oblique fixed image that the moving one does not quite reach."""
    rng = np.random.default_rng(3)
    fixed = tools.textured(rng, (18, 22, 14), tools.placed("oblique", (18, 22, 14), [-30.0, 20, 100]))
    moving = tools.textured(rng, (20, 19, 16), tools.placed("LAS", (20, 19, 16), [-24.0, 21, 101]))
    labels = [
        volume.with_array(np.select([volume.array > 500, volume.array > 200], [300, -2], 0).astype(np.int16))
        for volume in (fixed, moving)
    ]
    result = register(
        fixed, moving, model=tools.ChosenRun(), init="header", fixed_labels=labels[0], moving_labels=labels[1]
    )
    folder = tmp_path_factory.mktemp("report") / "result"
    result.save(folder)
    return folder, result, fixed, moving, labels[0]


@pytest.fixture
def folder(made, tmp_path):
    """A copy of the result."""
    return shutil.copytree(made[0], tmp_path / "result")


def test_views_are_the_pair_in_eight_bits(made):
    folder, result, fixed, moving, labels = made
    views, shape = load_views(folder)
    assert shape == fixed.shape
    assert views.factors == (1, 1, 1)
    np.testing.assert_allclose(views.fixed.affine, fixed.affine)
    for transform, name in ((Transform.identity(fixed.lattice), "moving"), (result.transform, "warped")):
        expected = transform.warp(moving, fixed.lattice, fill=np.nan).array
        array = views.picture(name).array
        np.testing.assert_array_equal(np.isnan(array), np.isnan(expected))
        assert 0.02 < np.isnan(array).mean() < 0.9
        floor, ceiling = views.windows["moving"]
        np.testing.assert_allclose(
            floor + (ceiling - floor) * array, np.clip(expected, floor, ceiling), atol=(ceiling - floor) / 500
        )
    floor, ceiling = views.windows["fixed"]
    np.testing.assert_allclose((floor, ceiling), np.percentile(fixed.array, (0.5, 99.5)), rtol=1e-5)
    assert views.fixed.array.min() == 1
    assert views.label_values == (-2, 300)
    np.testing.assert_array_equal(np.array([0, -2, 300])[views.labels.array], labels.array)


def test_large_volumes_are_averaged_in_blocks(rng, tmp_path):
    fixed = Volume(rng.uniform(0, 100, (13, 12, 5)).astype(np.float32), np.diag([1.0, 1.0, 3.0, 1.0]))
    array = fixed.array.copy()
    array[:5] = np.nan
    labels = fixed.with_array(np.indices(fixed.shape)[0].astype(np.uint8))
    save_views(tmp_path / VIEWS, fixed, fixed, fixed.with_array(array), labels, max_voxels=150)
    views, shape = load_views(tmp_path)
    assert views.factors == (3, 2, 1)
    assert shape == fixed.shape
    assert views.fixed.shape == (5, 6, 5)
    np.testing.assert_allclose(views.fixed.lattice.to_world([0, 0, 0]), [1.0, 0.5, 0.0])
    np.testing.assert_allclose(views.fixed.spacing, [3, 2, 3])
    floor, ceiling = views.windows["fixed"]
    mean = np.clip(fixed.array[3:6, 2:4, 1].mean(), floor, ceiling)
    assert floor + (ceiling - floor) * views.picture("fixed").array[1, 1, 1] == pytest.approx(mean, abs=0.3)
    # Of the rows 3, 4 and 5 one is reached: less than half.
    np.testing.assert_array_equal(np.isnan(views.picture("warped").array).all(axis=(1, 2)), [True, True] + [False] * 3)
    # The blocks' middles; the last block holds row 12 alone, and 0 is background.
    np.testing.assert_array_equal(np.array([0, *views.label_values])[views.labels.array[:, 0, 0]], [1, 4, 7, 10, 12])


def test_block_means(rng):
    array = rng.random((7, 4, 5), np.float32)
    np.testing.assert_array_equal(block_means(array, (1, 1, 1)), array)
    means = block_means(array, (2, 3, 5))
    assert means.shape == (4, 2, 1)
    assert means[0, 0, 0] == pytest.approx(array[:2, :3].mean())
    assert means[3, 1, 0] == pytest.approx(array[6:, 3:].mean())
    array[:, :2] = np.nan
    assert means[0, 0, 0] != block_means(array, (2, 2, 5))[0, 1, 0]
    assert np.isnan(block_means(array, (2, 2, 5))[:, 0]).all()


def test_too_many_labels_and_nothing_reached(tmp_path):
    shape = (10, 10, 8)
    fixed = Volume(np.arange(800, dtype=np.float32).reshape(shape), np.eye(4))
    nothing = fixed.with_array(np.full(shape, np.nan, np.float32))
    labels = np.arange(800).reshape(shape) // 2
    labels[0] = 399
    save_views(tmp_path / VIEWS, fixed, nothing, nothing, fixed.with_array(labels))
    views, _ = load_views(tmp_path)
    assert len(views.label_values) == 255
    assert 399 in views.label_values
    codes = dict(enumerate(views.label_values, 1))
    assert all(codes[code] == label for code, label in zip(views.labels.array.flat, labels.flat, strict=True) if code)
    assert not views.warped.array.any()
    assert views.windows["moving"] == (0.0, 1.0)


def test_the_displacement_is_read_as_it_was_written(made):
    folder, result, *_ = made
    np.testing.assert_allclose(read_displacement(folder / "displacement.nii.gz"), result.displacement_mm, atol=1e-6)


def test_register_hands_the_labels_on(tmp_path, tools, monkeypatch):
    rng = np.random.default_rng(5)
    image = tools.textured(rng, (12, 10, 8), tools.placed("LPS", (12, 10, 8), [0.0, 0, 0]))
    labels = image.with_array((image.array > 300).astype(np.uint8))
    for name, volume in (("image", image), ("labels", labels)):
        write_volume(tmp_path / f"{name}.nii.gz", volume)
    monkeypatch.setattr(Resources, "set_up", lambda _: None)
    both = [tmp_path / "image.nii.gz"] * 2
    registered_files(*both, tmp_path / "plain", refine=False)
    options = dict.fromkeys(("fixed_labels", "moving_labels"), tmp_path / "labels.nii.gz") | {"refine": False}
    registered_files(*both, tmp_path / "labelled", **options)
    assert load_views(tmp_path / "plain")[0].labels is None
    views, _ = load_views(tmp_path / "labelled")
    assert views.label_values == (1,)
    np.testing.assert_array_equal(views.labels.array, labels.array)
    assert write_pair_page(tmp_path / "plain") == [tmp_path / "plain/report.html"]


def test_a_page_and_a_picture(folder, tmp_path):
    page, figure = write_pair_page(folder, figure=tmp_path / "figure.png")
    assert (page, figure) == (folder / "report.html", tmp_path / "figure.png")
    text = page.read_text(encoding="utf-8")
    report = json.loads((folder / "report.json").read_text())
    assert f"{report['metrics']['after']['correlation']:.3f}" in text
    assert "label 300" in text
    assert "\\u2212" not in text
    with Image.open(figure) as picture:
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    before = {path.name for path in folder.iterdir()}
    for name, start in (("a.pdf", b"%PDF"), ("a.svg", b"<?xml")):
        written = write_pair_page(folder, tmp_path / "other.htm", tmp_path / name, force=True)
        assert written[1].read_bytes().startswith(start)
    assert {path.name for path in folder.iterdir()} == before


def test_existing_files_are_kept_unless_forced(folder, tmp_path):
    (folder / "report.html").write_text("old")
    with pytest.raises(UserError, match=r"report\.html: already exists; .*--force"):
        write_pair_page(folder)
    (tmp_path / "figure.svg").write_text("old")
    with pytest.raises(UserError, match=r"figure\.svg: already exists"):
        write_pair_page(folder, tmp_path / "new.html", tmp_path / "figure.svg")
    assert not (tmp_path / "new.html").exists()
    assert (folder / "report.html").read_text() == "old"
    write_pair_page(folder, force=True)
    assert (folder / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("failing", ["page", "figure"])
def test_nothing_is_left_of_a_failure(folder, tmp_path, monkeypatch, failing):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    (folder / "report.html").write_text("old")
    before = {path.name for path in folder.iterdir()}
    if failing == "page":
        monkeypatch.setattr("pathlib.Path.write_text", fail)
    else:
        savefig = Figure.savefig
        # The page's own picture goes to memory.
        monkeypatch.setattr(
            Figure,
            "savefig",
            lambda self, to, **options: (savefig if hasattr(to, "write") else fail)(self, to, **options),
        )
    with pytest.raises(UserError, match="No space left"):
        write_pair_page(folder, figure=folder / "figure.pdf", force=True)
    assert {path.name for path in folder.iterdir()} == before
    assert (folder / "report.html").read_bytes() == b"old"


def cut(name):
    """Truncates a file of the result."""

    def change(folder):
        path = folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return change


def without(name):
    return lambda folder: (folder / name).unlink()


def written(name, text):
    return lambda folder: (folder / name).write_text(text)


def other_volume(folder):
    write_volume(folder / "jacobian.nii.gz", Volume(np.arange(60, dtype=np.float32).reshape(3, 4, 5), np.eye(4)))


def newer_views(folder):
    with np.load(folder / VIEWS) as file:
        arrays = dict(file)
    header = json.loads(str(arrays["header"])) | {"format": 99}
    np.savez(folder / VIEWS, **(arrays | {"header": np.array(json.dumps(header))}))


def smaller_views(folder):
    views, shape = load_views(folder)
    small = Lattice((4, 5, 6), np.eye(4))
    volume = Volume(np.ones(small.shape, np.float32), small.affine)
    save_views(folder / VIEWS, volume, volume, volume)
    assert views.fixed.shape == shape


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (shutil.rmtree, "result: is not a result; name a folder"),
        (without("report.json"), "result: is not a result"),
        (cut("report.json"), "report.json: cannot be read, or is damaged"),
        (written("report.json", "[1, 2]"), "report.json: is not of a registration"),
        (written("report.json", '{"epochs": 3}'), "report.json: is not of a registration"),
        (without(VIEWS), "views.npz: is missing, as in results of earlier versions; register again"),
        (cut(VIEWS), "views.npz: cannot be read, or is damaged"),
        (written(VIEWS, "text"), "views.npz: cannot be read, or is damaged"),
        (newer_views, "views.npz: has format 99"),
        (smaller_views, "does not belong to the folder's views.npz"),
        (without("displacement.nii.gz"), "displacement.nii.gz: no such file; register again"),
        (written("displacement.nii.gz", "text"), "displacement.nii.gz: is corrupt or something else, not a gzip file"),
        (without("jacobian.nii.gz"), "jacobian.nii.gz: is missing"),
        (cut("jacobian.nii.gz"), "jacobian.nii.gz: the gzip stream is truncated"),
        (other_volume, "jacobian.nii.gz: does not belong"),
        (lambda folder: shutil.copy(folder / "jacobian.nii.gz", folder / "displacement.nii.gz"), "not a displacement"),
    ],
)
def test_what_is_no_result_is_one_line(folder, monkeypatch, capfd, change, said):
    change(folder)
    before = sorted(folder.iterdir()) if folder.exists() else None
    monkeypatch.setattr(sys, "argv", ["tfreg", "report", str(folder)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tfreg: error: ")
    assert said in captured.err
    assert ";" in captured.err
    assert captured.err.count("\n") == 1
    assert (sorted(folder.iterdir()) if folder.exists() else None) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--out", "{}/page.txt"], "unknown extension; give .html, .htm"),
        (["--figure", "{}/figure.jpg"], "unknown extension; give .png, .pdf, .svg"),
        (["--out", "{}/absent/page.html"], "its folder does not exist"),
        (["--out", "{}/folder.html"], "is a folder"),
    ],
)
def test_bad_targets_are_one_line(folder, tmp_path, monkeypatch, capfd, options, said):
    (tmp_path / "folder.html").mkdir()
    monkeypatch.setattr(sys, "argv", ["tfreg", "report", str(folder), *(text.format(tmp_path) for text in options)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert said in capfd.readouterr().err
    assert not (folder / "report.html").exists()


def test_the_command_says_what_it_wrote(folder, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["tfreg", "report", str(folder), "--out", str(tmp_path / "page.html"), "--force"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert capfd.readouterr().out.split() == [str(tmp_path / "page.html")]
