"""NIfTI files with chosen headers, and damaged ones."""

import nibabel as nib
import numpy as np
import pytest

from tfreg.errors import UserError
from tfreg.io.formats import read_volume


def image(shape=(4, 5, 6), dtype=np.float32):
    """A ramp."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def save(path, array, affine=None, sform=1, qform=1, units="mm", **header):
    """Writes a NIfTI file with the header as told."""
    affine = np.diag([1.5, 1, 2.5, 1]) if affine is None else affine
    kind = nib.Nifti1Pair if path.suffix == ".hdr" else nib.Nifti1Image
    nifti = kind(array, affine, dtype=array.dtype)
    nifti.set_sform(affine, sform)
    nifti.set_qform(affine, qform)
    nifti.header.set_xyzt_units(units)
    for name, value in header.items():
        nifti.header[name] = value
    nifti.to_filename(path)
    return path


def patch(path, offset, value):
    """Overwrites bytes of an uncompressed file."""
    content = bytearray(path.read_bytes())
    content[offset : offset + len(value)] = value
    path.write_bytes(content)
    return path


def error_of(path, labels=False):
    """The one line that reading a file ends with."""
    with pytest.raises(UserError) as caught:
        read_volume(path, labels)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert ";" in text, "the line names no cure"
    return text
