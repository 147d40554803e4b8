"""`simulate` writes a data set that this and other software read, whole or not at all."""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

import tfreg
from tfreg.config import SimulationOptions, checked
from tfreg.errors import UserError
from tfreg.io.formats import read_points, read_volume
from tfreg.io.tables.manifest import read_subjects
from tfreg.runtime.resources import Resources
from tfreg.simulation import data_set as workflow
from tfreg.simulation.data_set import SimulationRecord, simulate
from tfreg.volumes.resampling import sample

SMALL = {"shape": (30, 24, 28), "spacing": (12.0, 11.5, 12.5)}
FIVE = SimulationOptions(subjects=5, diseased=0.4, seed=3, orientation="LPS", **SMALL)
ONE = SimulationOptions(subjects=1, **SMALL)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data set of five subjects, two of them ill, in an orientation that is not RAS."""
    out = tmp_path_factory.mktemp("simulate") / "deep" / "chest"
    simulate(out, FIVE)
    return out


def test_layout(data):
    rows = read_subjects(data / "subjects.csv")
    assert [r.id for r in rows[:2]] == ["s001_inhale", "s001_exhale"]
    assert len(rows) == 10
    assert {r.phase for r in rows} == {"inhale", "exhale"}
    groups = {r.subject: r.group for r in rows}
    assert sorted(groups.values()) == ["fibrosis"] * 2 + ["healthy"] * 3
    assert {r.split for r in rows} <= {"train", "validation", "test"}
    for row in rows:
        image, labels = read_volume(row.image), read_volume(row.labels, labels=True)
        assert image.lattice.same_as(labels.lattice, 1e-4)
        assert image.orientation == "LPS"
        assert set(np.unique(labels.array)) == {0, 1, 2}
        side = sample(labels.array, labels.lattice.to_voxel(read_points(row.points)), "nearest")
        assert (side > 0).mean() > 0.9
    with open(data / "severity.csv", newline="") as file:
        drawn = list(csv.DictReader(file))
    assert {r["subject"]: r["group"] for r in drawn} == groups
    for row in drawn:
        assert (float(row["severity"]) >= 0.5) == (row["group"] == "fibrosis")
        assert (float(row["severity"]) == 0) == (row["group"] == "healthy")
    record = SimulationRecord.read(data / "simulation.json")
    assert (record.tfreg, record.arguments) == (tfreg.__version__, FIVE)
    assert [p.name for p in data.parent.iterdir()] == ["chest"]


def test_splits_keep_their_shares_within_each_group(tmp_path):
    options = SimulationOptions(subjects=40, diseased=0.5, severity=(0.2, 0.9))
    tasks = workflow._tasks(tmp_path, options)
    for group in ("healthy", "fibrosis"):
        splits = [t.split for t in tasks if t.group == group]
        assert [splits.count(s) for s in ("train", "validation", "test")] == [12, 4, 4]
    options = SimulationOptions(subjects=3, diseased=0, splits=(1, 0, 0))
    assert {t.split for t in workflow._tasks(tmp_path, options)} == {"train"}


def test_same_voxels_in_other_processes(data, tmp_path):
    again = tmp_path / "again"
    simulate(again, FIVE, Resources(threads=2))
    for file in sorted(p.relative_to(data) for p in data.rglob("*") if p.is_file()):
        if file.suffix == ".gz":
            first, second = (np.asarray(nib.load(root / file).dataobj) for root in (data, again))
            np.testing.assert_array_equal(first, second)
        else:
            assert (data / file).read_bytes() == (again / file).read_bytes()


def test_itk_reads_the_displacement(data):
    path = data / "displacement" / "s001_exhale_to_inhale.nii.gz"
    header = nib.load(path).header
    assert list(header["dim"][:6]) == [5, *SMALL["shape"], 1, 3]
    assert int(header["intent_code"]) == 1007
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    flip = np.array([-1, -1, 1])
    exhale, inhale = (read_points(data / "points" / f"s001_{phase}.csv") for phase in ("exhale", "inhale"))
    reached = np.array([transform.TransformPoint((p * flip).tolist()) for p in exhale]) * flip
    # The field is sampled every 12 mm and is interpolated between.
    assert np.linalg.norm(reached - inhale, axis=1).mean() < 1.0
    assert np.linalg.norm(exhale - inhale, axis=1).mean() > 10

    fixed, moving = (sitk.ReadImage(str(data / "images" / f"s001_{phase}.nii.gz")) for phase in ("exhale", "inhale"))
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, -1.0)).T
    field = np.asarray(nib.load(path).dataobj)[:, :, :, 0, :] * flip
    volume = read_volume(data / "images" / "s001_inhale.nii.gz")
    ours = sample(volume.array, volume.lattice.to_voxel(volume.lattice.points() + field), fill=-1.0)
    # A point on the border itself may fall on either side of it.
    same = (theirs == -1) == (ours == -1)
    assert same.mean() > 0.999
    np.testing.assert_allclose(theirs[same], ours[same], atol=0.05)


def test_an_existing_folder_is_refused(data, tmp_path):
    before = (data / "subjects.csv").read_bytes()
    with pytest.raises(UserError, match="already exists"):
        simulate(data, ONE)
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.txt").write_text("precious")
    with pytest.raises(UserError, match="not a result of this command"):
        simulate(other, ONE, force=True)
    assert (other / "chapter.txt").read_text() == "precious"
    assert (data / "subjects.csv").read_bytes() == before


def test_force_replaces_a_data_set(tmp_path):
    out = tmp_path / "chest"
    simulate(out, SimulationOptions(subjects=2, **SMALL))
    simulate(out, ONE, force=True)
    assert len(read_subjects(out / "subjects.csv")) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["chest"]


def test_nothing_is_left_of_a_failure(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workflow, "write_subjects", fail)
    with pytest.raises(UserError, match="No space left"):
        simulate(tmp_path / "chest", ONE)
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_version_recorded_makes_its_voxels_again(tmp_path):
    golden = Path(__file__).parents[1] / "goldens" / "data"
    simulate(tmp_path / "chest", SimulationRecord.read(golden / "simulation.json").arguments)
    files = sorted(path.relative_to(golden) for path in golden.rglob("*.nii.gz"))
    assert len(files) > 10
    for file in files:
        first, second = (np.asarray(nib.load(root / file).dataobj) for root in (golden, tmp_path / "chest"))
        np.testing.assert_allclose(first, second, rtol=0, atol=1e-2)


@pytest.mark.parametrize(
    "arguments",
    [
        {"subjects": 0},
        {"shape": (30, 24)},
        {"shape": (8, 30, 30)},
        {"shape": (100_000, 100_000, 100_000)},
        {"spacing": (1.0, -1.0, 1.0)},
        {"modality": "pet"},
        {"orientation": "RAR"},
        {"diseased": 1.5},
        {"severity": (0.9, 0.2)},
        {"splits": (0.5, 0.5, 0.5)},
        {"seed": -1},
        {"subjects": "many"},
        {"subjects": 2.5},
        {"spacing": (float("nan"), 1.0, 1.0)},
        {"diseased": float("nan")},
        {"diseased": "half"},
        {"severity": 0.5},
        {"circular_fov": "perhaps"},
    ],
)
def test_bad_arguments(tmp_path, arguments):
    with pytest.raises(UserError, match=next(iter(arguments)).replace("_", "-")) as caught:
        simulate(tmp_path / "chest", checked(SimulationOptions, **SMALL | arguments))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
