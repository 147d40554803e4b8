"""transform.npz: exact, and every damage is one line."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tfreg.errors import UserError
from tfreg.io.transform_archive import load_transform, save_transform
from tfreg.transforms.deformation import Deformation
from tfreg.transforms.displacement_deformation import DisplacementDeformation
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

LINEAR = np.array([[1.05, -0.2, 0.1, 1.5], [0.15, 0.9, -0.1, -0.75], [0.0, 0.2, 1.1, 1 / 3]])


def lattice(shape, shift):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix() @ np.diag([0.8, -1.3, 3.1])
    affine[:3, 3] = shift
    return Lattice(shape, affine)


@pytest.fixture
def transform():
    """A transform in which every option differs from its default."""
    rng = np.random.default_rng(7)
    grid = lattice((6, 9, 7), [-31.25, 17.5, 1 / 3])
    deformation = Deformation(rng.standard_normal((2, 3, 3, 3)), (6, 9, 7), 3, "axiswise", "start", 0.6)
    init = np.eye(4)
    init[:3, :3] = Rotation.from_euler("xyz", [5, 6, 7], degrees=True).as_matrix()
    init[:3, 3] = [310.1, -20, 4]
    return Transform(grid, LINEAR, deformation, init)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("deformable", [True, False])
def test_exact_round_trip(tmp_path, rng, transform, deformable, dtype):
    deformation = transform.deformation
    deformation = (
        Deformation(deformation.logits.astype(dtype), (6, 9, 7), 3, "axiswise", "start", 0.6) if deformable else None
    )
    transform = Transform(transform.lattice, transform.linear, deformation, transform.init)
    fixed, moving = lattice((5, 6, 7), [1, 2, 3.3]), lattice((8, 9, 10), [4, 5, 6.6])
    save_transform(tmp_path / "transform.npz", transform, fixed, moving)
    for path in (tmp_path / "transform.npz", tmp_path):
        loaded, loaded_fixed, loaded_moving = load_transform(path)
        points_world = rng.uniform(-50, 50, (20, 3))
        np.testing.assert_array_equal(loaded(points_world), transform(points_world))
        np.testing.assert_array_equal(loaded.linear_world, transform.linear_world)
        for one, other in ((loaded_fixed, fixed), (loaded_moving, moving), (loaded.lattice, transform.lattice)):
            assert one.shape == other.shape
            np.testing.assert_array_equal(one.affine, other.affine)
        assert (loaded.deformation is None) == (not deformable)


@pytest.fixture
def displaced(transform):
    """The same with predicted displacements."""
    control = np.random.default_rng(8).standard_normal((2, 3, 3, 4)).astype(np.float32)
    return replace(transform, deformation=DisplacementDeformation(control, (6, 9, 7), 3, 0.6))


def test_exact_round_trip_of_predicted_displacements(tmp_path, rng, displaced):
    save_transform(tmp_path / "transform.npz", displaced, displaced.lattice, displaced.lattice)
    loaded, _, _ = load_transform(tmp_path)
    points_world = rng.uniform(-50, 50, (20, 3))
    np.testing.assert_array_equal(loaded(points_world), displaced(points_world))
    np.testing.assert_array_equal(loaded.inverse()(points_world), displaced.inverse()(points_world))
    np.testing.assert_array_equal(loaded.deformation.expected_error, displaced.deformation.expected_error)
    assert loaded.deformation.damping == 0.6


def header_of(path):
    with np.load(path) as file:
        return json.loads(str(file["header"]))


def test_only_what_is_new_has_a_new_format(tmp_path, transform, displaced):
    """An earlier tfreg would take predicted displacements, which it does not know, for none."""
    path = tmp_path / "transform.npz"
    for version, written in ((1, replace(transform, deformation=None)), (1, transform), (2, displaced)):
        save_transform(path, written, transform.lattice, transform.lattice)
        assert header_of(path)["format"] == version


@pytest.mark.parametrize("control", [None, np.zeros((2, 3, 3, 3)), np.zeros((3, 3, 3, 4)), np.zeros(4)])
def test_displacements_that_are_missing_or_of_another_size(tmp_path, displaced, control):
    path = tmp_path / "transform.npz"
    save_transform(path, displaced, displaced.lattice, displaced.lattice)
    with np.load(path) as file:
        arrays = dict(file)
    del arrays["control"]
    np.savez(path, **arrays, **({} if control is None else {"control": control}))
    assert "is damaged" in refused(path)


def refused(path):
    with pytest.raises(UserError) as caught:
        load_transform(path)
    text = str(caught.value)
    assert text.startswith(f"{path}")
    assert ";" in text
    assert "\n" not in text
    return text


def test_missing(tmp_path):
    assert "does not exist" in refused(tmp_path / "nowhere.npz")
    assert "does not exist" in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"hello", b"\x93NUMPY", b"\x80\x04K*."])
def test_another_file(tmp_path, content):
    path = tmp_path / "transform.npz"
    path.write_bytes(content)
    assert "is not a tfreg transform" in refused(path)


def test_arrays_of_something_else(tmp_path):
    path = tmp_path / "transform.npz"
    np.savez(path, a=np.zeros(3))
    refused(path)
    np.savez(path, header=np.array("[1, 2]"))
    refused(path)
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    refused(path)


def test_numbers_that_are_not_finite(tmp_path, transform):
    path = tmp_path / "transform.npz"
    transform.deformation.logits[1, 2, 0, 1] = np.nan
    save_transform(path, transform, transform.lattice, transform.lattice)
    assert "not finite" in refused(path)


def test_another_format_says_what_to_do(tmp_path):
    path = tmp_path / "transform.npz"
    np.savez(path, header=np.array('{"format": 4}'))
    assert "update tfreg" in refused(path)


def test_damaged_anywhere(tmp_path, transform):
    """A truncated file is refused; a changed byte is refused or, in what nothing reads, changes nothing."""
    path = tmp_path / "transform.npz"
    save_transform(path, transform, transform.lattice, transform.lattice)
    content = path.read_bytes()
    points_world = np.array([[1.0, 2, 3], [-40, 5, 60]])
    expected = transform(points_world)
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        refused(path)
    caught = 0
    for position in range(0, len(content), 41):
        damaged = bytearray(content)
        damaged[position] ^= 0x55
        path.write_bytes(damaged)
        try:
            loaded, _, _ = load_transform(path)
        except UserError:
            caught += 1
        else:
            np.testing.assert_array_equal(loaded(points_world), expected)
    assert caught > 20
