"""The command line: quick help, and one line with exit code 2 for whatever is wrong."""

import json
import re
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import typer

import tfreg
from tfreg import cli
from tfreg.classification.predict import Prediction
from tfreg.errors import WorkError
from tfreg.io.formats import read_volume, write_points, write_volume
from tfreg.io.transform_archive import save_transform
from tfreg.metrics.quality import Quality
from tfreg.transforms.transform import Transform
from tfreg.volumes.volume import Volume

COMMAND = Path(sys.executable).with_name("tfreg")
AFFINE = np.array([[-1.5, 0, 0, 30], [0, 1.2, 0, -40], [0, 0, 2.5, 60], [0, 0, 0, 1.0]])


def save(path, array, affine=AFFINE, **header):
    """Writes a NIfTI file with the header as told."""
    image = nib.Nifti1Image(array, affine, dtype=array.dtype)
    for name, value in header.items():
        image.header[name] = value
    image.to_filename(path)
    return path


def ramp(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


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


def tree(folder):
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize(
    ("end", "code"), [("pass", 0), ("sys.exit(2)", 2), ("sys.exit()", 0), ("sys.exit('why')", 1), ("1 / 0", 1)]
)
def test_the_command_ends_with_its_code_and_all_that_it_wrote(end, code, heavy):
    """Also where it leaves TensorFlow, here an empty module of that name, as it stands."""
    program = (
        "import atexit, sys, types\n"
        "from tfreg import cli\n"
        f"if {heavy}: sys.modules['tensorflow'] = types.ModuleType('tensorflow')\n"
        "atexit.register(lambda: print('last words'))\n"
        "def main():\n"
        "    print('result')\n"
        f"    {end}\n"
        "cli.main = main\n"
        "cli.run()"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert done.returncode == code
    assert done.stdout == "result\nlast words\n"


def test_help_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['tfreg', '--help']\n"
        "try:\n    from tfreg.cli import main; main()\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'scipy', 'nibabel', 'SimpleITK', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_help_is_quick():
    """Under half a second: the best of five, or of some more where other programs keep the machine busy."""
    seconds = []
    while len(seconds) < 5 or (min(seconds) >= 0.5 and len(seconds) < 40):
        started = time.perf_counter()
        done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True)
        seconds.append(time.perf_counter() - started)
        assert (done.returncode, done.stderr) == (0, "")
    for verb in ("register", "warp", "train", "simulate"):
        assert verb in done.stdout
    assert min(seconds) < 0.5


def test_every_option_is_explained(run):
    verbs = typer.main.get_command(cli.app).commands
    assert {"register", "warp", "train", "simulate"} <= set(verbs)
    for name, verb in verbs.items():
        assert verb.help, name
        for parameter in verb.params:
            assert parameter.help, f"{name} {parameter.name}"
        code, out, err = run(name, "--help")
        assert (code, err) == (0, "")
        assert "Usage: " in out


def test_version(run):
    assert run("--version") == (0, f"tfreg {tfreg.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["register", "--fixed", "fixed.nii.gz"],
        ["warp", "--transform", "result"],
        ["train", "config.yaml"],
        ["nonsense"],
        ["register", "--nonsense"],
        ["register", "--seed", "many"],
    ],
)
def test_usage_errors(run, folder, arguments):
    before = tree(folder)
    code, _, err = run(*arguments)
    assert code == 2
    assert "Usage: " in err
    assert tree(folder) == before


REGISTER = {"--fixed": "fixed.nii.gz", "--moving": "moving.nii.gz", "--out": "out", "--no-refine": None}
WARP = {"--transform": "result", "--input": "moving.nii.gz", "--out": "out.nii.gz"}
TRAIN = {"--data": "subjects.csv", "--run": "run"}
# What is changed, and what the line must say: of which file, and what to do about it.
BAD_REGISTER = {
    "missing": ({"--fixed": "nowhere.nii.gz"}, r"nowhere\.nii\.gz: no such file; check the path"),
    "2D": ({"--moving": "flat.nii.gz"}, r"flat\.nii\.gz: is 2D .*; give a 3D volume"),
    "4D": ({"--fixed": "film.nii.gz"}, r"film\.nii\.gz: is 4D .*; give one of them"),
    "nan": ({"--moving": "nan.nii.gz"}, r"nan\.nii\.gz: no voxel has a finite value; export"),
    "equal": ({"--moving": "equal.nii.gz"}, r"equal\.nii\.gz: all voxels have the same value \(7\); give"),
    "singular": ({"--fixed": "singular.nii.gz"}, r"singular\.nii\.gz: .*affine is singular.*; correct the header"),
    "complex": ({"--fixed": "complex.nii.gz"}, r"complex\.nii\.gz: holds complex values; give"),
    "rgb": ({"--fixed": "rgb.nii.gz"}, r"rgb\.nii\.gz: holds RGB values; give"),
    "truncated": (
        {"--fixed": "truncated.nii.gz"},
        r"truncated\.nii\.gz: .*truncated or damaged .*; copy",
    ),
    "huge": ({"--fixed": "huge.nii"}, r"huge\.nii: the header claims 30000x30000x30000 voxels.*; export"),
    "text": ({"--fixed": "notes.txt"}, r"notes\.txt: unknown extension; give"),
    "empty mask": ({"--fixed-mask": "empty_mask.nii.gz"}, r"empty_mask\.nii\.gz: empty mask.*; give"),
    "mask": ({"--moving-mask": "other_frame.nii.gz"}, r"other_frame\.nii\.gz: lies in another frame .*; resample"),
    "labels": (
        {"--fixed-labels": "other_frame.nii.gz", "--moving-labels": "labels.nii.gz"},
        r"other_frame\.nii\.gz: lies in another frame than the fixed image fixed\.nii\.gz .*; resample",
    ),
    "not labels": (
        {"--fixed-labels": "nan.nii.gz"},
        r"nan\.nii\.gz: 120 voxels of the labels are not finite.*; set",
    ),
    "apart": ({"--moving": "far.nii.gz"}, r"far\.nii\.gz: does not reach .* fixed\.nii\.gz; .* try --init centre"),
    "init": ({"--init": "center"}, r"--init center: choose header, centre, moments, or give an ITK transform file"),
    "init file": ({"--init": "field.h5"}, r"field\.h5: is not linear; give a rigid or affine transform"),
    "broken init": ({"--init": "broken.h5"}, r"broken\.h5: cannot be read as an ITK transform; give"),
    "flirt": ({"--init": "flirt.mat"}, r"flirt\.mat: is a bare 4x4 matrix, as FSL's FLIRT writes, .*; convert"),
    "long name": ({"--fixed": "x" * 300 + ".nii"}, r"x{300}\.nii: is no path \(File name too long\); check"),
    "long folder": ({"--out": "x" * 300}, r"x{300}: cannot be written \(File name too long\); choose another place"),
    "strange name": ({"--fixed": "no  [red]{0}%s\n.nii"}, r"no  \[red\]\{0\}%s\\n\.nii: no such file; check the path"),
    "name in bytes": ({"--fixed": "n\udcff.nii"}, r"n(\\udcff|\?)\.nii: no such file; check the path"),
    "folder in bytes": ({"--out": "n\udcff"}, r"n(\\udcff|\?): the name is not UTF-8, and ITK cannot open it; rename"),
    "init volume": ({"--init": "fixed.nii.gz"}, r"fixed\.nii\.gz: is an image \(NIfTI\), .* must be linear; give"),
    "points": (
        {"--fixed-points": "three.csv", "--moving-points": "two.csv"},
        r"two\.csv: holds 2 points and three\.csv 3; list the same landmarks",
    ),
    "one side": ({"--fixed-points": "three.csv"}, r"three\.csv: the moving points are missing; give both"),
    "not points": (
        {"--fixed-points": "subjects.csv", "--moving-points": "two.csv"},
        r"subjects\.csv: column x, y, z is missing; the first line must",
    ),
    "exists": ({"--out": "result"}, r"result: already exists; .* --force"),
    "no result": ({"--out": "thesis", "--force": None}, r"thesis: is not a result of this command.*; name another"),
    "in a file": ({"--out": "notes.txt/out"}, r"notes\.txt/out: .*notes\.txt is a file; choose another place"),
    "no place": ({"--out": "/proc/out"}, r"/proc/out: .*; choose another place"),
    "no model": ({"--model": "no_model"}, r"no_model: holds no trained model; give a run folder"),
    "no run": ({"--model": "nowhere"}, r"nowhere: holds no trained model; give a run folder"),
    "corrupt model": ({"--model": "corrupt"}, r"corrupt/model\.keras: is not a Keras model, or is damaged; copy it"),
    "part": ({"--transform": "rigid"}, r"--parts rigid: choose linear, deformable, both"),
    "interpolation": ({"--interpolation": "nearest"}, r"--interpolation nearest: choose linear or cubic"),
    "preset": ({"--preset": "best"}, r"--preset best: choose quality or fast"),
    "similarity": ({"--similarity": "sift"}, r"--similarity sift: give mse, .*, mind, or a weighted sum"),
    "smoothness": ({"--smoothness": "-1"}, r"--smoothness -1\.0: give a number of at least 0"),
    "threads": ({"--threads": "0"}, r"--threads 0: give a positive number"),
    "seed": ({"--seed": "-1"}, r"--seed -1: give a number of at least 0"),
    "device": ({"--device": "tpu"}, r"--device tpu: choose cpu or gpu"),
}
BAD_WARP = {
    "missing": ({"--input": "nowhere.nii.gz"}, r"nowhere\.nii\.gz: no such file; check the path"),
    "no result": ({"--transform": "thesis"}, r"thesis/transform\.npz: does not exist; name a folder"),
    "no transform": ({"--transform": "notes.txt"}, r"notes\.txt: is not a tfreg transform; give the folder"),
    "2D": ({"--input": "flat.nii.gz"}, r"flat\.nii\.gz: is 2D .*; give a 3D volume"),
    "reference": ({"--reference": "film.nii.gz"}, r"film\.nii\.gz: is 4D .*; give one of them"),
    "exists": ({"--out": "labels.nii.gz"}, r"labels\.nii\.gz: already exists; .* --force"),
    "extension": ({"--out": "deep/out.png"}, r"deep/out\.png: unknown extension; give"),
    "in a file": ({"--out": "notes.txt/out.nii.gz"}, r"notes\.txt.*; choose another place"),
    "no place": ({"--out": "/proc/deep/out.nii.gz"}, r"/proc/deep: .*; choose another place"),
    "interpolation": ({"--interpolation": "sinc"}, r"--interpolation sinc: choose nearest, linear, cubic"),
}
BAD_TRAIN = {
    "missing": (["nowhere.yaml"], r"nowhere\.yaml: cannot be read .*; give a YAML config"),
    "unknown key": (["unknown.yaml"], r"unknown\.yaml: unknown key `los` \(is `loss` meant\?\); see"),
    "wrong type": (["wrong.yaml"], r"wrong\.yaml: `loss\.beta`: .* Received: 'small'"),
    "not yaml": (["fixed.nii.gz"], r"fixed\.nii\.gz: cannot be read .*; give a YAML config"),
    "override": (["config.yaml", "loss.beta"], r"'loss\.beta': an override is key=value, such as"),
    "override key": (["config.yaml", "loss.gamma=1"], r"config\.yaml: unknown key `loss\.gamma`; see"),
    "override value": (["config.yaml", "loss.beta=x"], r"config\.yaml: `loss\.beta`: .* Received: 'x'"),
    "few subjects": (["config.yaml"], r"subjects\.csv: lists fewer than 4 subjects; fill"),
    "no manifest": (["config.yaml", "--data", "nowhere.csv"], r"nowhere\.csv: no such file; check the path"),
    "no run": (["config.yaml", "--run", "thesis"], r"thesis: holds something else than a run; name another folder"),
}


def arguments_of(verb, usual, changes):
    options = {**usual, **changes}
    return [verb, *(str(part) for pair in options.items() for part in pair if part is not None)]


CASES = (
    [pytest.param(arguments_of("register", REGISTER, c), t, id=f"register-{n}") for n, (c, t) in BAD_REGISTER.items()]
    + [pytest.param(arguments_of("warp", WARP, c), t, id=f"warp-{n}") for n, (c, t) in BAD_WARP.items()]
    + [pytest.param([*arguments_of("train", TRAIN, {}), *c], t, id=f"train-{n}") for n, (c, t) in BAD_TRAIN.items()]
)


@pytest.mark.parametrize(("arguments", "text"), CASES)
def test_bad_input_is_one_line(run, folder, arguments, text):
    before = tree(folder)
    code, out, err = run(*arguments)
    assert err.startswith("tfreg: error: ")
    assert err.count("\n") == 1, "more than one line"
    assert re.search(rf"^tfreg: error: {text}", err), err
    assert (code, out) == (2, "")
    assert tree(folder) == before


@pytest.mark.parametrize(
    "name", ["missing", "truncated", "labels", "points", "broken init", "corrupt model", "no model", "exists"]
)
def test_bad_input_is_found_before_tensorflow_is_loaded(folder, name):
    """In a process of its own: nothing else is written to standard error, and the answer is quick."""
    changes, text = BAD_REGISTER[name]
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('tensorflow' in sys.modules, 'keras' in sys.modules))\n"
        "from tfreg.cli import main; main()"
    )
    command = [sys.executable, "-c", code, *arguments_of("register", REGISTER, changes)]
    before = tree(folder)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 2
    assert re.fullmatch(rf"tfreg: error: {text}[^\n]*\n", done.stderr), done.stderr
    assert done.stdout == "False False\n"
    assert tree(folder) == before


def test_the_installed_command_ends_with_two(folder):
    done = subprocess.run(
        [COMMAND, *arguments_of("register", REGISTER, {"--moving": "flat.nii.gz"})],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_a_registration_says_what_it_did(run, folder):
    options = {"--fixed-labels": "labels.nii.gz", "--moving-labels": "labels.nii.gz", "--init": "rigid.tfm"}
    options |= {"--fixed-points": "two.csv", "--moving-points": "two.csv", "--seed": 3}
    code, out, err = run(*arguments_of("register", REGISTER, options))
    assert code == 0
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "before",
        "after init",
        "after",
        "verdict",
        "look at out/report.png",
    ]
    for line in lines[:3]:
        assert re.search(r": correlation -?\d\.\d{3}, Dice \d\.\d{3}, TRE \d+\.\d\d mm$", line)
    assert lines[0].endswith("TRE 0.00 mm")
    report = json.loads((folder / "out/report.json").read_text())
    assert lines[3] == "verdict: " + "; ".join([report["verdict"], *report["reasons"]])
    assert "tfreg: warning: No model and no refinement" in err
    assert (folder / "out/report.png").is_file()
    code, out, _ = run(*arguments_of("register", REGISTER, {"--force": None}))
    assert code == 0
    assert "Dice" not in out
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_header_that_needed_a_decision_is_told(run, folder):
    save(folder / "unknown.nii.gz", ramp(8, 9, 7), None)
    code, _, err = run(*arguments_of("register", REGISTER, {"--fixed": "unknown.nii.gz", "--init": "centre"}))
    assert code == 0
    assert re.search(r"tfreg: warning: fixed: .*frame is unknown", err)


def test_warp_takes_several_inputs(run, folder):
    shutil.copy(folder / "labels.nii.gz", folder / "more.nii.gz")
    code, out, err = run(
        *arguments_of("warp", WARP, {"--out": "warped", "--interpolation": "nearest", "--input": "labels.nii.gz"}),
        "--input",
        "more.nii.gz",
    )
    assert (code, err) == (0, "")
    assert out.split() == ["warped/labels.nii.gz", "warped/more.nii.gz"]
    np.testing.assert_array_equal(
        nib.load(folder / "warped/more.nii.gz").get_fdata(), nib.load(folder / "labels.nii.gz").get_fdata()
    )


def test_a_bad_input_does_not_lose_the_others(run, folder):
    arguments = arguments_of("warp", WARP, {"--out": "warped", "--input": "nowhere.nii.gz"})
    code, out, err = run(*arguments, "--input", "moving.nii.gz")
    assert (code, out.split()) == (2, ["warped/moving.nii.gz"])
    assert err.startswith(
        "tfreg: error: 1 of 2 inputs could not be warped, the others are in warped: nowhere.nii.gz: no "
    )
    assert err.count("\n") == 1


def test_a_name_that_the_terminal_cannot_show_stops_nothing(run, folder):
    assert run(*arguments_of("warp", WARP, {"--out": "n\udcff.nii.gz"}))[0] == 0
    assert (folder / "n\udcff.nii.gz").is_file()


def test_failed_work_ends_with_one(run, monkeypatch, folder):
    """Other than bad input, and never with nought."""

    def diverged(*_, **__):
        raise WorkError("run: the training diverged in epoch 2: loss is nan; no epoch before it ended")

    monkeypatch.setattr("tfreg.training.train.train", diverged)
    code, out, err = run("train", "config.yaml", "--data", "subjects.csv", "--run", "run")
    assert (code, out) == (1, "")
    assert err == "tfreg: error: run: the training diverged in epoch 2: loss is nan; no epoch before it ended\n"


def test_an_evaluation_with_failures_ends_with_one(run, folder, monkeypatch):
    """The tables are there, and say over how many pairs they are."""
    for name, fixed in (("whole", "fixed"), ("torn", "truncated")):
        (folder / f"{name}.csv").write_text(
            f"id,fixed,moving\np,{fixed}.nii.gz,moving.nii.gz\nq,moving.nii.gz,fixed.nii.gz\n"
        )

    def measured(task, resources):
        bad = "truncated" in str(task.pair.fixed)
        return task.row(error="it is torn") if bad else task.row(quality=Quality(folding_fraction=0.0), seconds=1.0)

    def here(function, batches, resources):
        for batch in batches:
            yield from ((task, function(task, resources)) for task in batch)

    monkeypatch.setattr("tfreg.evaluation.evaluate.measure", measured)
    monkeypatch.setattr("tfreg.evaluation.evaluate.in_processes", here)
    code, out, err = run("evaluate", "--data", "whole.csv", "--refine", "--out", "good")
    assert (code, err) == (0, "")
    code, out, err = run("evaluate", "--data", "torn.csv", "--refine", "--out", "bad")
    assert code == 1
    assert "look at bad/tables.md" in out
    assert err == (
        "tfreg: error: 2 of 4 registrations failed; bad/tables.md lists them, and its means are of the others\n"
    )
    assert "| refined | 1 | 1 |" in (folder / "bad/tables.md").read_text()


def test_a_classification_with_failures_ends_with_one(run, folder, monkeypatch):
    rows = [Prediction("a", health="ill"), Prediction("b", error="b.nii: is torn"), Prediction("c", health="healthy")]
    monkeypatch.setattr("tfreg.classification.predict.predict_health", lambda *_: rows)
    code, out, err = run("classify", "predict", "classifier", "--data", "subjects.csv", "--out", "p.csv")
    assert code == 1
    assert out == "p.csv: 2 of 3 subjects, 1 called ill\n"
    assert err.splitlines() == [
        "tfreg: warning: b was left out: b.nii: is torn",
        "tfreg: error: 1 of 3 registrations failed; the result is of the others",
    ]


def test_other_formats_are_read(run, folder):
    volume = read_volume(folder / "moving.nii.gz")
    write_volume(folder / "moving.nrrd", Volume(volume.array, volume.affine))
    code, _, _ = run(*arguments_of("register", REGISTER, {"--moving": "moving.nrrd"}))
    assert code == 0
