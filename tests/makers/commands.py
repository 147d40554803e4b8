"""What tests of commands share: words of a command, files under chosen headers, and what a folder holds."""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np

COMMAND = Path(sys.executable).with_name("tfreg")
AFFINE = np.array([[-1.5, 0, 0, 30], [0, 1.2, 0, -40], [0, 0, 2.5, 60], [0, 0, 0, 1.0]])
# The usual options of each command.
REGISTER = {
    "--fixed": "fixed.nii.gz",
    "--moving": "moving.nii.gz",
    "--out": "out",
    "--model": "none",
    "--no-refine": None,
}
WARP = {"--transform": "result", "--input": "moving.nii.gz", "--out": "out.nii.gz"}
TRAIN = {"--data": "subjects.csv", "--run": "run"}


def save(path, array, affine=AFFINE, **header):
    """Writes a NIfTI file with the header as told."""
    image = nib.Nifti1Image(array, affine, dtype=array.dtype)
    for name, value in header.items():
        image.header[name] = value
    image.to_filename(path)
    return path


def ramp(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def tree(folder):
    """Every path in a folder, and when it was changed."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


def arguments_of(verb, usual, changes):
    """The words of a command: its usual options with some of them changed."""
    options = {**usual, **changes}
    return [verb, *(str(part) for pair in options.items() for part in pair if part is not None)]
