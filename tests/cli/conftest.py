"""A folder with a good pair and every kind of bad input, and the command run in it."""

import sys
import warnings

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from commands import AFFINE, ramp, save

from tfreg import cli
from tfreg.io.formats import read_volume, write_points
from tfreg.io.transform_archive import save_transform
from tfreg.transforms.transform import Transform


@pytest.fixture
def folder(tmp_path):
    """A good pair with labels and points, an init file, a result, and every kind of bad input."""
    good = ramp(8, 9, 7)
    save(tmp_path / "fixed.nii.gz", good)
    save(tmp_path / "moving.nii.gz", good[::-1].copy())
    save(tmp_path / "labels.nii.gz", (good > 200).astype(np.uint8))
    write_points(tmp_path / "three.csv", np.zeros((3, 3)))
    write_points(tmp_path / "two.csv", np.zeros((2, 3)))
    sitk.WriteTransform(sitk.Euler3DTransform((0, 0, 0), 0.1, 0, 0, (1, 2, 3)), str(tmp_path / "rigid.tfm"))
    (tmp_path / "result").mkdir()
    volume = read_volume(tmp_path / "fixed.nii.gz")
    save_transform(
        tmp_path / "result/transform.npz", Transform.identity(volume.lattice), volume.lattice, volume.lattice
    )
    (tmp_path / "result/report.json").write_text("{}")

    save(tmp_path / "flat.nii.gz", good[:, :, :1])
    save(tmp_path / "film.nii.gz", ramp(4, 5, 6, 3))
    save(tmp_path / "nan.nii.gz", np.full((4, 5, 6), np.nan, np.float32))
    save(tmp_path / "equal.nii.gz", np.full((4, 5, 6), 7, np.int16))
    save(tmp_path / "complex.nii.gz", good.astype(np.complex64))
    rgb = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    save(tmp_path / "rgb.nii.gz", rgb)
    save(tmp_path / "empty_mask.nii.gz", np.zeros((8, 9, 7), np.uint8))
    other = AFFINE.copy()
    other[:3, 3] += 5
    save(tmp_path / "other_frame.nii.gz", (good > 200).astype(np.uint8), other)
    other[:3, 3] += 1000
    save(tmp_path / "far.nii.gz", good, other)
    singular = nib.Nifti1Image(good, AFFINE)
    singular.header.set_sform(np.diag([1.0, 0, 0, 1]), 1)
    singular.header["qform_code"] = 0
    nib.Nifti1Image(good, None, singular.header).to_filename(tmp_path / "singular.nii.gz")
    content = (tmp_path / "fixed.nii.gz").read_bytes()
    (tmp_path / "flirt.mat").write_text("1 0 0 5\n0 1 0 6\n0 0 1 7\n0 0 0 1\n")
    (tmp_path / "truncated.nii.gz").write_bytes(content[: len(content) // 2])
    save(tmp_path / "huge.nii", good)
    header = bytearray((tmp_path / "huge.nii").read_bytes())
    header[40:56] = np.array([3, 30000, 30000, 30000, 1, 1, 1, 1], np.int16).tobytes()
    (tmp_path / "huge.nii").write_bytes(header)
    (tmp_path / "notes.txt").write_text("not a volume")

    field = sitk.DisplacementFieldTransform(sitk.Image([3, 4, 5], sitk.sitkVectorFloat64, 3))
    sitk.WriteTransform(field, str(tmp_path / "field.h5"))
    (tmp_path / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("precious")
    (tmp_path / "no_model").mkdir()
    (tmp_path / "corrupt").mkdir()
    (tmp_path / "corrupt/model.keras").write_bytes(b"PK\x03\x04 garbage")
    (tmp_path / "corrupt/config.yaml").write_text("")
    (tmp_path / "config.yaml").write_text("loss: {beta: 1.0e-6}\n")
    (tmp_path / "unknown.yaml").write_text("los: {beta: 1.0e-6}\n")
    (tmp_path / "wrong.yaml").write_text("loss: {beta: small}\n")
    (tmp_path / "subjects.csv").write_text("id,subject,image\na,a,fixed.nii.gz\n")
    return tmp_path


@pytest.fixture
def run(folder, monkeypatch, capfd):
    """`run(*arguments)`: the command's exit code, output and error lines, in `folder`."""

    def run(*arguments):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["tfreg", *map(str, arguments)])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capfd.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run
