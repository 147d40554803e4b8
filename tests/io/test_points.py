"""Landmark files."""

import copy
import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfreg.errors import UserError
from tfreg.io.formats import read_landmarks, read_points, read_volume, write_landmarks, write_points
from tfreg.io.points import doubts
from tfreg.volumes.lattice import Lattice


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 5), st.just(3)), elements=st.floats(-3000, 3000)))
def test_what_is_written_comes_back(tmp_path_factory, points):
    path = tmp_path_factory.mktemp("points") / "a.csv"
    write_points(path, points)
    np.testing.assert_allclose(read_points(path), points, atol=1e-6, rtol=0)


def test_other_columns_order_spaces_and_byte_order_mark(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("\ufeffname, z,x , y\r\n'a',3,1,2\r\n\r\n'b',-6e1, 4 ,5\r\n", encoding="utf-8")
    points = read_points(path)
    assert points.dtype == np.float64
    np.testing.assert_array_equal(points, [[1, 2, 3], [4, 5, -60]])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"x,y\n1,2\n", "column z is missing"),
        (b"1,2,3\n4,5,6\n", "column x, y, z is missing"),
        (b"x;y;z\n1;2;3\n", "separated by semicolons"),
        (b"", "no rows"),
        (b"x,y,z\n", "no rows"),
        (b"x,y,z\n1,2,3\n1,two,3\n", "line 3: y is 'two'"),
        (b"x,y,z\n1,2,3\n\n1,2\n", "line 4 has 2 cells"),
        (b"x,y,z\n1,nan,3\n", "line 2: y is 'nan'"),
        (b"x,y,z\n1,2,inf\n", "line 2: z is 'inf'"),
        (b"\xff\xfe\x00\x81", "not a CSV text file"),
        (b"x,y,z\n" + b"1" * 200000, "not a CSV text file"),
    ],
)
def test_bad_files_get_one_line(tmp_path, content, text):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=text) as caught:
        read_points(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_points(tmp_path / "a.csv")
    with pytest.raises(UserError, match="cannot be read"):
        read_points(tmp_path)
    with pytest.raises(UserError, match="cannot be written"):
        write_points(tmp_path / "none" / "a.csv", np.zeros((2, 3)))


def test_points_must_be_n_by_3(tmp_path):
    with pytest.raises(ValueError, match=r"\(n, 3\)"):
        write_points(tmp_path / "a.csv", np.zeros((3, 2)))


def test_real_landmarks_lie_in_their_lungs(shared_data):
    for name in ("fixed", "moving"):
        mask = read_volume(shared_data / "lung_ct" / f"{name}_mask.nii.gz", labels=True)
        points = read_points(shared_data / "lung_ct" / f"{name}_points.csv")
        assert points.shape == (51, 3)
        index = np.round(mask.lattice.to_voxel(points)).astype(int)
        assert mask.array[tuple(index.T)].mean() > 0.9


MARKUPS = {
    "@schema": "https://example.org/markups-schema-v1.0.3.json#",
    "markups": [
        {
            "type": "Fiducial",
            "coordinateSystem": "LPS",
            "coordinateUnits": "mm",
            "locked": False,
            "controlPoints": [
                {
                    "id": "1",
                    "label": "carina",
                    "description": "",
                    "position": [1.5, -2, 3],
                    "positionStatus": "defined",
                },
                {"id": "2", "label": "apex", "position": [4, 5, 6], "orientation": [-1, 0, 0, 0, -1, 0, 0, 0, 1]},
            ],
            "measurements": [{"name": "length", "value": 7.0}],
            "display": {"color": [1, 0, 0]},
        },
        {"type": "Line", "coordinateSystem": "RAS", "controlPoints": [{"label": "end", "position": [7, 8, 9]}]},
    ],
}
MOVED = np.array([10.0, 20, 30])
FCSV = """# Markups fiducial file version = {version}
# CoordinateSystem = {system}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
vtkMRMLMarkupsFiducialNode_0,1.5,-2,3,0,0,0,1,1,1,0,carina,"with, a comma",
vtkMRMLMarkupsFiducialNode_1,4,5,6,0,0,0,1,1,1,0,apex,,vtkMRMLScalarVolumeNode1
"""


@pytest.mark.parametrize(
    ("version", "system", "signs"),
    [("4.11", "LPS", (-1, -1, 1)), ("5.6", "RAS", (1, 1, 1)), ("4.6", "0", (1, 1, 1)), ("4.10", "1", (-1, -1, 1))],
)
def test_fiducials_of_slicer(tmp_path, version, system, signs):
    path = tmp_path / "F.fcsv"
    path.write_text(FCSV.format(version=version, system=system))
    landmarks = read_landmarks(path)
    np.testing.assert_array_equal(landmarks.points, np.array([[1.5, -2, 3], [4, 5, 6]]) * signs)
    assert landmarks.names == ("carina", "apex")
    write_landmarks(tmp_path / "out.fcsv", landmarks, landmarks.points + MOVED)
    text = (tmp_path / "out.fcsv").read_text()
    old, new = (
        list(csv.reader(content.splitlines())) for content in (FCSV.format(version=version, system=system), text)
    )
    assert new[:3] == old[:3]
    for before, after in zip(old[3:], new[3:], strict=True):
        assert after[4:] == before[4:]
        assert after[0] == before[0]
        moved = np.array(before[1:4], float) + MOVED * signs
        np.testing.assert_allclose(np.array(after[1:4], float), moved)


def test_markups_of_slicer(tmp_path):
    path = tmp_path / "F.mrk.json"
    path.write_text(json.dumps(MARKUPS))
    landmarks = read_landmarks(path)
    np.testing.assert_array_equal(landmarks.points, [[-1.5, 2, 3], [-4, -5, 6], [7, 8, 9]])
    np.testing.assert_array_equal(read_points(path), landmarks.points)
    assert landmarks.names == ("carina", "apex", "end")
    write_landmarks(tmp_path / "out.mrk.json", landmarks, landmarks.points + MOVED)
    expected = copy.deepcopy(MARKUPS)
    del expected["markups"][0]["measurements"]
    for control, position in zip(
        [*expected["markups"][0]["controlPoints"], *expected["markups"][1]["controlPoints"]],
        ([-8.5, -22, 33], [-6, -15, 36], [17, 28, 39]),
        strict=True,
    ):
        control |= {"position": position, "positionStatus": "defined"}
    assert json.loads((tmp_path / "out.mrk.json").read_text()) == expected


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.fcsv", FCSV.format(version="4.6", system="2"), "coordinate system is 2; save it in RAS or LPS"),
        (
            "a.fcsv",
            FCSV.format(version="4.6", system="LPS").replace("-2", "two"),
            "line 4: the coordinates are 1.5, two",
        ),
        ("a.fcsv", "# CoordinateSystem = LPS\n", "holds no points"),
        ("a.fcsv", "# columns = id,x,y\n1,2,3\n", "column z is missing"),
        ("a.mrk.json", "{", "not a markups file"),
        ("a.mrk.json", "[1, 2]", "not a markups file"),
        ("a.mrk.json", '{"markups": [{"controlPoints": [{"position": [1, 2]}]}]}', "the coordinates are 1, 2"),
        ("a.mrk.json", '{"markups": [{"controlPoints": [{"position": [1, 2, "x"]}]}]}', "the coordinates are 1, 2, x"),
        ("a.mrk.json", '{"markups": [{"controlPoints": []}]}', "holds no points"),
        ("a.mrk.json", '{"markups": [{"type": "ROI", "center": [0, 0, 0]}]}', "type ROI"),
        ("a.mrk.json", '{"markups": [{"coordinateSystem": "IJK"}]}', "coordinate system is IJK"),
        ("a.mrk.json", '{"markups": [{"coordinateUnits": ["mm", "mm", "um"]}]}', "are in"),
    ],
)
def test_bad_files_of_slicer_get_one_line(tmp_path, name, content, text):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=text) as caught:
        read_points(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)


def test_a_point_that_is_not_placed_stays_so_and_is_no_landmark(tmp_path):
    document = copy.deepcopy(MARKUPS)
    document["markups"][0]["controlPoints"][1] |= {"position": [0, 0, 0], "positionStatus": "undefined"}
    (tmp_path / "a.mrk.json").write_text(json.dumps(document))
    text = FCSV.format(version="5.6", system="RAS").replace("1,4,5,6", "1,,,")
    (tmp_path / "a.fcsv").write_text(text)
    for name in ("a.mrk.json", "a.fcsv"):
        landmarks = read_landmarks(tmp_path / name)
        assert np.isnan(landmarks.points).any(axis=1).tolist() == [False, True, False][: len(landmarks.points)]
        with pytest.raises(UserError, match="point apex is not placed"):
            read_points(tmp_path / name)
        write_landmarks(tmp_path / f"out_{name}", landmarks, landmarks.points)
        for other in (f"out_{name}", "other.mrk.json", "other.fcsv"):
            write_landmarks(tmp_path / other, landmarks, landmarks.points)
            again = read_landmarks(tmp_path / other)
            np.testing.assert_array_equal(again.points, landmarks.points)
            assert again.names == landmarks.names


@pytest.mark.parametrize(
    ("header", "signs"), [("X,Y,Z", 1), ("x (mm),y (mm),z (mm)", 1), ("R,A,S", 1), ("L,P,S", -1), ("x_mm,y_mm,z_mm", 1)]
)
def test_names_of_columns(tmp_path, header, signs):
    path = tmp_path / "a.csv"
    path.write_text(f'label,{header},score\nöne,1,2,3,0.5\n"two, too",4,5,6,\n', encoding="utf-8")
    landmarks = read_landmarks(path)
    np.testing.assert_array_equal(landmarks.points, np.array([[1, 2, 3], [4, 5, 6]]) * [signs, signs, 1])
    assert landmarks.names == ("öne", "two, too")
    write_landmarks(tmp_path / "out.csv", landmarks, landmarks.points)
    with open(path, encoding="utf-8") as before, open(tmp_path / "out.csv", encoding="utf-8") as after:
        (first, *old), (header, *new) = csv.reader(before), csv.reader(after)
    assert header == first
    for a, b in zip(old, new, strict=True):
        assert (a[0], a[4]) == (b[0], b[4])
        np.testing.assert_array_equal(np.array(a[1:4], float), np.array(b[1:4], float))


def test_points_that_may_be_meant_otherwise():
    affine = np.diag([2.0, 2, 3, 1])
    affine[:3, 3] = [100, -300, 50]
    lattice = Lattice((30, 40, 20), affine)
    rng = np.random.default_rng(5)
    voxels = np.round(rng.uniform(0, 1, (20, 3)) * (np.array(lattice.shape) - 1))
    points = lattice.to_world(voxels)
    assert doubts(points, lattice) == []
    (text,) = doubts(points * [-1, -1, 1], lattice)
    assert text.startswith("20 of 20 points lie outside the image, by up to ")
    assert "points 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 10 more; with x and y negated they lie in it" in text
    (text,) = doubts(voxels, lattice)
    assert "voxel indices" in text
    points[3] += [0, 0, 200]
    (text,) = doubts(points, lattice, [f"p{number}" for number in range(20)])
    away = points[3, 2] - (50 + 3 * 19.5)
    assert text == f"1 of 20 points lie outside the image, by up to {away:.3g} mm: point p3."
    points[3] = points[8] = points[1]
    texts = doubts(points, lattice, ["a", "b", "a", *"cdefghijklmnopqrs"])
    assert texts == ["2 points lie where another one does: points c, h.", "1 names occur more than once: a."]
    points[3] = np.nan
    assert doubts(points, lattice) == ["1 points lie where another one does: point 9."]
