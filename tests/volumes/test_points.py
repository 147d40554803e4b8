"""Landmark files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfreg.errors import UserError
from tfreg.volumes.formats import read_points, read_volume, write_points


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
        (b"", "column x, y, z is missing"),
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
