"""NIfTI headers with one field changed: read as the standard says and as nibabel reads them, or refused in one line."""

import gzip
import struct
import warnings

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tfreg.errors import UserError
from tfreg.io.formats import read_volume

CASES = 170
QUICK = range(0, CASES, 8)

SHAPE = (5, 6, 7)

# The fields of NIfTI-1: offset and struct codes.
FIELDS = {
    "sizeof_hdr": (0, "i"),
    "dim_info": (39, "B"),
    "dim": (40, "8h"),
    "intent_p1": (56, "f"),
    "intent_code": (68, "h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "slice_start": (74, "h"),
    "pixdim": (76, "8f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "slice_end": (120, "h"),
    "slice_code": (122, "B"),
    "xyzt_units": (123, "B"),
    "cal_max": (124, "f"),
    "toffset": (136, "f"),
    "glmax": (140, "i"),
    "descrip": (148, "80s"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "quatern_b": (256, "f"),
    "quatern_c": (260, "f"),
    "quatern_d": (264, "f"),
    "qoffset_x": (268, "f"),
    "srow_x": (280, "4f"),
    "srow_y": (296, "4f"),
    "srow_z": (312, "4f"),
    "intent_name": (328, "16s"),
    "magic": (344, "4s"),
    "extension": (348, "4B"),
}

DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
FLOATS = (0.0, -0.0, 1.0, -1.0, 2.5, 1e-3, 1e-30, 1e30, np.inf, -np.inf, np.nan, 0.1, -7.25, 100.0)
INTEGERS = (-32768, -4, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 64, 256, 512, 1024, 32767)


def original(rng, order):
    """The bytes of a sound .nii file under random placement, dtype and scaling."""
    dtype = np.dtype(str(rng.choice(["u1", "i2", "i4", "f4", "f8", "u2"])))
    array = rng.integers(0, 200, SHAPE).astype(dtype)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=int(rng.integers(1 << 30))).as_matrix() * rng.uniform(0.5, 3, 3)
    affine[:3, 3] = rng.uniform(-100, 100, 3)
    image = nib.Nifti1Image(array, affine, nib.Nifti1Header(endianness=order), dtype=dtype)
    codes = [(1, 1), (2, 0), (0, 1), (0, 0), (1, 2)][rng.integers(5)]
    image.set_sform(affine, codes[0])
    image.set_qform(affine, codes[1])
    image.header.set_xyzt_units(str(rng.choice(["mm", "micron", "meter", "unknown"])))
    content = bytearray(image.to_bytes())
    slope, inter = [(1, 0), (0, 0), (0.5, 3), (0.1, -1024)][rng.integers(4)]
    struct.pack_into(f"{order}2f", content, FIELDS["scl_slope"][0], slope, inter)
    return content


def change(rng, content, order):
    """Changes one number or text of one field in place; gives the field's name."""
    name = str(rng.choice(list(FIELDS)))
    start, code = FIELDS[name]
    values = list(struct.unpack_from(order + code, content, start))
    place = int(rng.integers(len(values)))
    if code.endswith("f"):
        values[place] = float(rng.choice(FLOATS))
    elif code.endswith("s"):
        length = len(values[0])
        values[0] = bytes(rng.integers(0, 256, length, np.uint8)) if rng.integers(2) else b"ni1\0"[:length]
    else:
        limits = {"B": (0, 255), "h": (-32768, 32767), "i": (-(1 << 31), (1 << 31) - 1)}[code[-1]]
        values[place] = int(np.clip(rng.choice(INTEGERS), *limits))
    struct.pack_into(order + code, content, start, *values)
    return name


def by_the_standard(content, order):
    """Values and affine in mm by NIfTI-1's own text, or None where it leaves them open."""

    def get(name):
        return struct.unpack_from(order + FIELDS[name][1], content, FIELDS[name][0])

    dim, pixdim = get("dim"), np.array(get("pixdim"))
    shape = list(dim[1 : dim[0] + 1])
    assert get("magic") == (b"n+1\0",)
    assert all(n == 1 for n in shape[3:])
    offset = int(get("vox_offset")[0]) or 352
    dtype = np.dtype(order + DTYPES[get("datatype")[0]])
    count = int(np.prod(shape))
    array = np.frombuffer(bytes(content[offset : offset + count * dtype.itemsize]), dtype).astype(np.float64)
    slope, inter = get("scl_slope")[0], get("scl_inter")[0]
    if slope != 0 and np.isfinite(slope):
        array = slope * array + inter
    array = array.reshape(shape[:3], order="F")
    scale = {1: 1e3, 3: 1e-3}.get(get("xyzt_units")[0] & 7, 1.0)
    if get("sform_code")[0] > 0:
        rows = np.array([get("srow_x"), get("srow_y"), get("srow_z")])
    elif get("qform_code")[0] > 0:
        b, c, d = (get(f"quatern_{letter}")[0] for letter in "bcd")
        a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
        rotation = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * b * c - 2 * a * d, 2 * b * d + 2 * a * c],
                [2 * b * c + 2 * a * d, a * a + c * c - b * b - d * d, 2 * c * d - 2 * a * b],
                [2 * b * d - 2 * a * c, 2 * c * d + 2 * a * b, a * a + d * d - c * c - b * b],
            ]
        )
        spacing = pixdim[1:4] * [1, 1, -1 if pixdim[0] < 0 else 1]
        origin = struct.unpack_from(order + "3f", content, FIELDS["qoffset_x"][0])
        rows = np.column_stack([rotation * spacing, origin])
    else:
        return array, None
    return array, rows * scale


def by_nibabel(content):
    """Values and affine in mm as nibabel reads them, or None where it does not."""
    try:
        with nib.imageglobals.LoggingOutputSuppressor(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = nib.Nifti1Image.from_bytes(bytes(content))
            affine = np.array(image.affine, np.float64)
            scale = {1: 1e3, 3: 1e-3}.get(int(image.header["xyzt_units"]) & 7, 1.0)
            affine[:3] *= scale
            array = image.get_fdata()
    except Exception:
        return None
    return array.reshape(array.shape[:3]), affine


def assert_values(array, expected):
    """Equal but for the rounding of float32, beyond which a value is infinite."""
    with np.errstate(over="ignore"):
        expected = expected.astype(np.float32)
    largest = np.abs(expected, where=np.isfinite(expected), out=np.zeros_like(expected)).max()
    np.testing.assert_allclose(array, expected, rtol=1e-6, atol=1e-6 * largest)


def check(number, path):
    """One case: what tfreg makes of it."""
    rng = np.random.default_rng(number)
    order = "<>"[number % 5 == 4]
    content = original(rng, order)
    name = change(rng, content, order)
    path = path / ("a.nii.gz" if number % 3 == 2 else "a.nii")
    path.write_bytes(gzip.compress(bytes(content), 1) if path.suffix == ".gz" else bytes(content))
    try:
        with np.errstate(all="raise", under="ignore", over="ignore"):
            volume = read_volume(path)
    except UserError as error:
        text = str(error)
        assert text.startswith(f"{path}: ")
        assert text.isprintable()
        assert ";" in text
        return name, text
    array, rows = by_the_standard(content, order)
    assert_values(volume.array, array)
    theirs = by_nibabel(content)
    if rows is None:
        assert theirs is not None
        rows = theirs[1][:3]
    spacing = np.linalg.norm(rows[:, :3], axis=0).min()
    corner = [*(n - 1 for n in volume.shape), 1]
    directions = rows[:, :3] / np.linalg.norm(rows[:, :3], axis=0)
    # What is off right angles by rounding is straightened, which moves no voxel centre by more than a tenth.
    tolerance = 1e-3 if np.abs(directions.T @ directions - np.eye(3)).max() < 1e-6 or volume.lattice.is_sheared else 0.1
    for place in ([0, 0, 0, 1], corner):
        np.testing.assert_allclose(volume.affine[:3] @ place, rows @ place, rtol=1e-5, atol=tolerance * spacing)
    # nibabel takes a vox_offset of 0 for the first byte of the file, and codes that it does not know for none.
    if theirs is not None and name not in ("vox_offset", "sform_code", "qform_code", "pixdim"):
        assert_values(volume.array, theirs[0])
        np.testing.assert_allclose(volume.affine @ corner, theirs[1] @ corner, rtol=1e-5, atol=tolerance * spacing)
    return name, volume.notes


@pytest.mark.parametrize("number", QUICK)
def test_a_header_with_one_field_changed(tmp_path, number):
    check(number, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", sorted(set(range(CASES)) - set(QUICK)))
def test_a_header_with_one_field_changed_at_length(tmp_path, number):
    check(number, tmp_path)
