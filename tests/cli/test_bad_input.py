"""One line with exit code 2 for whatever is wrong, and nothing written."""

import re
import subprocess
import sys

import pytest
from commands import COMMAND, REGISTER, TRAIN, WARP, arguments_of, tree


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
    "init": (
        {"--init": "center"},
        r"--init center: choose header, centre, moments, best, or give an ITK transform",
    ),
    "passes": ({"--passes": 2}, r"--passes 2: there is no model; name one with --model"),
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
