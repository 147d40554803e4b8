"""SimpleITK and ANTs read what `tfreg register` writes and warp the moving image as it did."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from tfreg import cli
from tfreg.io.formats import read_volume, write_volume
from tfreg.io.itk_transforms import read_linear
from tfreg.io.transform_archive import load_transform
from tfreg.registration.register_volumes import register

SNIPPETS = Path(__file__).parents[1] / "snippets"
README = (Path(__file__).parents[2] / "README.md").read_text()
FLIP = np.array([-1, -1, 1])
# Fixed and moving header, the initial alignment, and options of the model.
PAIRS = [
    ("RAS", "oblique", "centre", {"stride": 2}),
    ("LAS", "LPS", "file", {"stride": 1}),
    ("LPS", "RAS", "centre", {"stride": 3, "anchor": "start"}),
    ("oblique", "LAS", "file", {"stride": 2, "integration": "axiswise"}),
    ("oblique", "flipped", "centre", {"stride": 2}),
]
needs_ants = pytest.mark.skipif(importlib.util.find_spec("ants") is None, reason="antspyx is not installed")


def write_init(path, fixed, moving):
    """A rigid ITK transform that brings the centres together, but for some millimetres, and rotates."""
    start, end = fixed.lattice.centre_world * FLIP, moving.lattice.centre_world * FLIP
    transform = sitk.Euler3DTransform(start.tolist(), 0.12, -0.08, 0.1, (end - start + [2.0, -1.5, 3.0]).tolist())
    sitk.WriteTransform(transform, str(path))
    return path


def write_pair(folder, tools, fixed_header, moving_header, init, model):
    """fixed.nii.gz, moving.nii.gz and result/, the frames of the two hundreds of millimetres apart."""
    rng = np.random.default_rng(3)
    fixed_shape, moving_shape = (28, 34, 19), (31, 27, 24)
    fixed = tools.textured(rng, fixed_shape, tools.placed(fixed_header, fixed_shape, [-31.0, 17, 120]))
    moving = tools.textured(rng, moving_shape, tools.placed(moving_header, moving_shape, [280.0, -195, -340]))
    write_volume(folder / "fixed.nii.gz", fixed)
    write_volume(folder / "moving.nii.gz", moving)
    fixed, moving = (read_volume(folder / f"{name}.nii.gz") for name in ("fixed", "moving"))
    options = {"init": init}
    if init == "file":
        options = {"initial_transform": read_linear(write_init(folder / "init.tfm", fixed, moving))}
    grid = {"orientation": "PIR", "spacing": [1.7, 2.1, 1.5], "shape": [30, 28, 36]}
    run = tools.ChosenRun(model=model, preprocessing={"network_grid": grid})
    result = register(fixed, moving, model=run, **options)
    result.save(folder / "result")


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tools):
    """The folder of each pair."""
    folders = [tmp_path_factory.mktemp("tools") for _ in PAIRS]
    for folder, pair in zip(folders, PAIRS, strict=True):
        write_pair(folder, tools, *pair)
    return folders


@pytest.fixture(scope="module", params=range(len(PAIRS)), ids=lambda number: "-".join(PAIRS[number][:3]))
def folder(request, folders):
    """The folder of one pair."""
    return folders[request.param]


def inner(folder):
    """True where the transform reads the moving image away from its border."""
    transform, fixed, moving = load_transform(folder / "result")
    voxels = moving.to_voxel(transform(fixed.points()))
    return np.all((voxels > 0.01) & (voxels < np.array(moving.shape) - 1.01), axis=-1)


def agrees(folder, name):
    """Largest difference from warped.nii.gz, as a share of the intensity range."""
    ours, theirs = (nib.load(folder / path) for path in ("result/warped.nii.gz", name))
    assert theirs.shape == ours.shape
    np.testing.assert_allclose(theirs.affine, ours.affine, atol=1e-3)
    where = inner(folder)
    assert where.mean() > 0.4
    difference = np.abs(ours.get_fdata() - theirs.get_fdata())[where].max()
    return difference / np.ptp(ours.get_fdata())


# The README's lines and its command in each folder; antspyx holds ANTs' programs as functions of their arguments.
WITH_ANTS = """
import os, runpy, sys
from ants.internal import get_lib_fn
snippet, line, *folders = sys.argv[1:]
for folder in folders:
    os.chdir(folder)
    runpy.run_path(snippet, run_name="__main__")
    assert get_lib_fn("antsApplyTransforms")(line.split()) == 0, folder
"""


@pytest.fixture(scope="module")
def warped_by_ants(folders):
    """What ANTs makes of every pair, in one process, for it takes seconds to load."""
    (line,) = re.findall(r"^antsApplyTransforms (.*)$", README, re.M)
    command = [sys.executable, "-c", WITH_ANTS, str(SNIPPETS / "read_with_ants.py"), line, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_transform_is_not_trivial(folder):
    transform, fixed, _ = load_transform(folder / "result")
    points_world = fixed.points()
    linear = np.asarray(transform.linear_world)
    residual = transform(points_world) - (points_world @ linear[:3, :3].T + linear[:3, 3])
    assert np.linalg.norm(residual, axis=-1).mean() > 1  # mm
    warped, moving = nib.load(folder / "result/warped.nii.gz"), read_volume(folder / "moving.nii.gz")
    unmoved = type(transform).identity(fixed, transform.init).warp(moving, fixed, fill=float(moving.array.min()))
    difference = np.abs(warped.get_fdata() - unmoved.array)[inner(folder)]
    assert difference.mean() > 0.04 * np.ptp(moving.array)


def test_simpleitk_warps_as_tfreg_did(folder):
    shutil.copy(SNIPPETS / "read_with_simpleitk.py", folder)
    done = subprocess.run([sys.executable, "read_with_simpleitk.py"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert agrees(folder, "warped_by_field.nii.gz") < 0.01
    assert agrees(folder, "warped_by_composite.nii.gz") < 0.01


@needs_ants
def test_ants_warps_as_tfreg_did(folder, warped_by_ants):
    assert agrees(folder, "warped_by_ants_with_displacement.nii.gz") < 0.01
    assert agrees(folder, "warped_by_ants_with_transform.nii.gz") < 0.01


@needs_ants
def test_the_command_of_ants_warps_as_tfreg_did(folder, warped_by_ants):
    assert agrees(folder, "warped_by_ants.nii.gz") < 0.01


def test_tfreg_warp_repeats_the_result(folder, monkeypatch, capsys):
    out = folder / "warped_by_tfreg.nii.gz"
    arguments = ["--transform", str(folder / "result"), "--input", str(folder / "moving.nii.gz"), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["tfreg", "warp", *arguments, "--force"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert capsys.readouterr().out == f"{out}\n"
    ours, again = nib.load(folder / "result/warped.nii.gz").get_fdata(), nib.load(out).get_fdata()
    np.testing.assert_allclose(again, ours, atol=1e-3)


def test_the_field_is_the_transform(folder):
    transform, fixed, _ = load_transform(folder / "result")
    composite = sitk.ReadTransform(str(folder / "result/transform.h5"))
    field = sitk.DisplacementFieldTransform(
        sitk.ReadImage(str(folder / "result/displacement.nii.gz"), sitk.sitkVectorFloat64)
    )
    for index in [(1, 1, 1), (26, 32, 17), (14, 5, 9), (3, 30, 2)]:
        point_world = fixed.to_world(np.array(index))
        for theirs in (composite, field):
            moved = np.array(theirs.TransformPoint((point_world * FLIP).tolist())) * FLIP
            np.testing.assert_allclose(moved, transform(point_world), atol=2e-3)


def test_linear_tfm_is_init_and_matrix(folder, rng):
    transform, fixed, _ = load_transform(folder / "result")
    theirs = sitk.ReadTransform(str(folder / "result/linear.tfm"))
    linear = type(transform)(transform.lattice, transform.linear, None, transform.init)
    for point_world in fixed.to_world(rng.uniform(-5, 30, (10, 3))):
        moved = np.array(theirs.TransformPoint((point_world * FLIP).tolist())) * FLIP
        np.testing.assert_allclose(moved, linear(point_world), atol=1e-6)
        matrix = transform.linear_world
        np.testing.assert_allclose(moved, matrix[:3, :3] @ point_world + matrix[:3, 3], atol=1e-6)
    # Without a deformation it is the whole transform.
    np.testing.assert_allclose(
        linear.displacement_mm(fixed), fixed.points() @ (matrix[:3, :3] - np.eye(3)).T + matrix[:3, 3], atol=1e-3
    )


def test_the_moved_side_is_the_fixed_points(folder):
    """The field must carry fixed points to the moving image: its inverse would disagree grossly."""
    transform, fixed, moving = load_transform(folder / "result")
    centre = transform(fixed.centre_world)
    assert np.linalg.norm(centre - moving.centre_world) < 15
    assert np.linalg.norm(centre - fixed.centre_world) > 300


@pytest.mark.parametrize("name", sorted(path.name for path in SNIPPETS.iterdir() if path.suffix == ".py"))
def test_the_readme_shows_these_lines(name):
    assert (SNIPPETS / name).read_text() in README
