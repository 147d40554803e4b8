"""`tfreg evaluate`: whole runs on small pairs, kills, bad pairs and bad input."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from tfreg.config import dump_config, parse_config
from tfreg.errors import InputWarning, UserError
from tfreg.evaluation.baselines import BASELINES, Baseline
from tfreg.evaluation.evaluate import evaluate, plan_experiments
from tfreg.evaluation.measure import Task, measure
from tfreg.evaluation.methods import Method, plan_methods, reference_of
from tfreg.evaluation.store import Store
from tfreg.io.folders.folder_lock import locked_folder
from tfreg.io.folders.input_digests import digest_of
from tfreg.io.formats import read_volume, write_points, write_volume
from tfreg.io.tables.manifest import PairFiles
from tfreg.io.tables.training_people import TrainingPeople
from tfreg.metrics.overlap import dice_by_label
from tfreg.registration.result import without_nan
from tfreg.runtime.resources import Resources
from tfreg.training.build_model import build_model
from tfreg.volumes.volume import Volume

SHAPE = (24, 28, 20)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Six people with two phases each: a blob that lies and beats differently, labels, and two readers' points."""
    folder = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(1)
    affine = np.diag([-2.0, 1.5, 2.5, 1.0])
    places = np.stack(np.indices(SHAPE), axis=-1)
    rows = ["id,subject,image,labels,points,points_second,phase,split"]
    for number in range(6):
        centre = np.array(SHAPE) / 2 + rng.uniform(-2.5, 2.5, 3)
        texture = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 3)
        for phase, size in (("ED", 7.0), ("ES", 5.5)):
            name = f"p{number}_{phase}"
            radius = np.linalg.norm((places - centre) / [1.0, 1.2, 0.9], axis=-1)
            image = np.clip(size + 1 - radius, 0, 3) + 0.05 * texture / texture.std() + 0.02 * places[..., 0]
            labels = np.select([radius < size / 2, radius < size], [4, 1], 0).astype(np.uint8)
            write_volume(folder / f"{name}.nii.gz", Volume(image.astype(np.float32), affine))
            write_volume(folder / f"{name}_labels.nii.gz", Volume(labels, affine))
            corners = centre + size * np.array([[0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [0, 0, 0]])
            points = Volume(labels, affine).lattice.to_world(corners)
            write_points(folder / f"{name}.csv", points)
            write_points(folder / f"{name}_2.csv", points + np.array([1.0, -2.0, 2.0]))
            rows.append(
                f"{name},p{number},{name}.nii.gz,{name}_labels.nii.gz,{name}.csv,{name}_2.csv,{phase},"
                f"{'train' if number == 0 else 'validation'}"
            )
    (folder / "subjects.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def evaluated(people, tmp_path_factory):
    """An evaluation of two experiments with a network, the refinement and a classical tool, one file cut short."""
    folder = tmp_path_factory.mktemp("evaluated")
    config = parse_config({"model": {"encoder_filters": [3], "encoder_dilations": [1], "decoder_filters": [4]}})
    (folder / "tiny").mkdir()
    build_model(config).save(folder / "tiny" / "model.keras")
    (folder / "tiny" / "config.yaml").write_text(dump_config(config))
    broken = people / "p3_ED.nii.gz"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    try:
        summary = evaluate(
            people / "subjects.csv",
            folder / "out",
            models=[folder / "tiny"],
            refine=True,
            preset="fast",
            transforms=("linear", "both"),
            baselines=("demons",),
            pairs=("ED:ES", "all:ED"),
            split="validation",
            count=4,
            workers=2,
            threads=1,
            progress=False,
        )
    finally:
        broken.write_bytes(whole)
    return folder / "out", summary


def test_every_method_has_its_row_in_both_experiments(evaluated):
    out, summary = evaluated
    assert set(summary) == {"within subjects, ED to ES", "all combinations, ED"}
    for part in summary.values():
        methods = part["methods"]
        assert list(methods) == [
            "initial",
            "tiny-linear",
            "tiny",
            "refined-linear",
            "refined",
            "demons",
            "inter-observer",
        ]
        assert methods["refined"]["figures"]["dice"]["mean"] > methods["initial"]["figures"]["dice"]["mean"]
        # The untrained network moves nothing.
        for name in ("tiny", "tiny-linear"):
            assert methods[name]["figures"]["dice"] == methods["initial"]["figures"]["dice"]
            assert methods[name]["figures"]["tre_mm"] == methods["initial"]["figures"]["tre_mm"]
        assert methods["inter-observer"]["figures"]["tre_mm"]["mean"] == pytest.approx(3.0)
        assert methods["inter-observer"]["figures"]["dy_mm"]["mean"] == pytest.approx(2.0)
        assert methods["refined"]["certified"] == methods["refined"]["measured"]
        assert methods["demons"]["certified"] is None
        assert methods["refined"]["figures"]["seconds"]["mean"] > 0
    text = (out / "tables.md").read_text(encoding="utf-8")
    assert "## Table 1: overlap" in text
    assert "‡ tiny: its folder holds no subjects.json" in text
    assert "| tiny ‡ |" in text
    assert "## Table 2: landmark errors, mm (within subjects, ED to ES)" in text
    assert "| inter-observer | 1.00 | 2.00 | 2.00 | 3.00 |" in text


def test_one_unreadable_image_fails_alone(evaluated, people):
    out, summary = evaluated
    pairs = {row["pair"] for row in csv.DictReader((out / "measurements.csv").read_text(encoding="utf-8").splitlines())}
    touched = {pair for pair in pairs if "p3_ED" in pair}
    assert touched
    for part in summary.values():
        for name in ("initial", "refined", "demons"):
            failures = part["methods"][name]["failures"]
            assert set(failures) == {pair for pair in touched if pair in failures}
            assert all("p3_ED.nii.gz" in text and str(people) not in text for text in failures.values())
            assert part["methods"][name]["measured"] + len(failures) == part["pairs"]
    failed = sum(len(part["methods"]["demons"]["failures"]) for part in summary.values())
    assert failed == len(touched)
    assert "demons failed on p3_ED_to_" in (out / "tables.md").read_text(encoding="utf-8")


def test_the_files_say_the_same(evaluated):
    out, summary = evaluated
    saved = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert saved["experiments"] == json.loads(json.dumps(without_nan(summary)))
    assert saved["versions"]["tfreg"]
    rows = list(csv.DictReader((out / "measurements.csv").read_text(encoding="utf-8").splitlines()))
    means = [
        float(row["dice"])
        for row in rows
        if row["method"] == "refined" and row["experiment"].startswith("within") and not row["error"]
    ]
    part = summary["within subjects, ED to ES"]["methods"]["refined"]
    assert np.mean(means) == pytest.approx(part["figures"]["dice"]["mean"], abs=1e-5)
    good = next(row for row in rows if row["method"] == "refined" and not row["error"])
    assert (out / "pictures" / f"{good['pair']}.png").stat().st_size > 5000
    assert float(good["dice_4"]) > 0.3
    assert good["verdict"] in ("pass", "review")


def test_the_initial_dice_is_that_of_the_labels_as_they_lie(evaluated, people):
    _, summary = evaluated
    part = summary["within subjects, ED to ES"]
    found = part["methods"]["initial"]["figures"]["dice"]
    values = []
    for number in (1, 2, 4, 5, 3):
        labels = [read_volume(people / f"p{number}_{phase}_labels.nii.gz", labels=True).array for phase in ("ES", "ED")]
        values.append(np.mean(list(dice_by_label(*labels).values())))
    assert min(values) <= found["min"] <= found["mean"] <= found["max"] <= max(values)


def test_again_nothing_is_measured_but_what_failed(evaluated, people):
    out, _ = evaluated
    before = [json.loads(line) for line in (out / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    summary = evaluate(
        people / "subjects.csv",
        out,
        baselines=("demons",),
        pairs=("ED:ES", "all:ED"),
        split="validation",
        count=4,
        workers=1,
        threads=1,
        reference="demons",
        progress=False,
    )
    after = [json.loads(line) for line in (out / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert after[: len(before)] == before
    kept = {(r["experiment"], r["pair"], r["method"]): r for r in after}
    assert len(kept) == len(before)
    for old in before:
        new = kept[old["experiment"], old["pair"], old["method"]]
        if "p3_ED" not in old["pair"]:
            assert new == old
        elif old["method"] in ("initial", "demons"):
            assert "error" not in new  # the file is whole again
    assert "refined" in summary["within subjects, ED to ES"]["methods"]


def demons_command(people, out, *more):
    command = [str(Path(sys.executable).with_name("tfreg")), "evaluate", "--data", str(people / "subjects.csv")]
    command += ["--pairs", "all:ED", "--baselines", "demons", "--workers", "2", "--threads", "1", "--out", str(out)]
    return [*command, *more]


def test_killed_half_way_it_goes_on_where_it_was(people, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(demons_command(people, out), start_new_session=True)
    rows = out / "rows.jsonl"
    deadline = time.monotonic() + 120
    while not (rows.exists() and len(rows.read_text(encoding="utf-8").splitlines()) >= 6):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with open(rows, "a") as file:
        file.write('{"experiment": "all combinations, ED", "pair": "p0_')  # a line cut short by the kill
    before = rows.read_text(encoding="utf-8").splitlines()[:-1]
    assert 6 <= len(before) < 90
    assert not (out / "tables.md").exists()
    done = subprocess.run(demons_command(people, out), capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    after = rows.read_text(encoding="utf-8").splitlines()
    assert after[: len(before)] == before
    keys = [tuple(json.loads(line)[key] for key in ("experiment", "pair", "method")) for line in after]
    assert len(keys) == len(set(keys)) == 3 * 6 * 5
    assert not any("error" in json.loads(line) for line in after)


def test_a_process_that_dies_costs_one_pair(people, tmp_path, monkeypatch):
    """One file makes the worker end at once, as a crash in a library would."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "def crash(event, arguments):\n"
        "    if event == 'open' and str(arguments[0]).endswith('p2_ES.nii.gz'):\n"
        "        os._exit(7)\n"
        "if 'spawn' in ' '.join(sys.orig_argv):\n"
        "    sys.addaudithook(crash)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("tfreg.evaluation.evaluate.header_size", lambda path: ())
    summary = evaluate(
        people / "subjects.csv",
        tmp_path / "out",
        baselines=("demons",),
        pairs=("ED:ES",),
        workers=2,
        threads=1,
        progress=False,
    )
    methods = summary["within subjects, ED to ES"]["methods"]
    for name in ("initial", "demons"):
        assert methods[name]["failures"] == {"p2_ED_to_p2_ES": "the process ended with exit code 7"}
        assert methods[name]["measured"] == 5


def test_pairs_are_made_of_subjects(people):
    def planned(*specifications, **options):
        settings = {"split": None, "count": None, "labels": "labels", "seed": 0} | options
        return plan_experiments(people / "subjects.csv", specifications, **settings)

    assert {name: len(pairs) for name, pairs in planned("ED:ES", "all:ED", "all", "images").items()} == {
        "within subjects, ED to ES": 6,
        "all combinations, ED": 30,
        "all combinations": 120,
        "all images' combinations": 132,
    }
    assert len(planned("all:ED", split="validation")["all combinations, ED"]) == 20
    chosen = [planned("all:ED", count=7, seed=seed)["all combinations, ED"] for seed in (3, 3, 4)]
    assert len({pair.id for pair in chosen[0]}) == 7
    assert chosen[0] == chosen[1] != chosen[2]
    with pytest.raises(UserError, match="--pairs ED: give MOVING:FIXED"):
        planned("ED")
    with pytest.raises(UserError, match="no subject has split 'test'"):
        planned("all", split="test")


def test_a_manifest_of_pairs_is_one_experiment(people, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text(f"id,fixed,moving\none,{people}/p0_ES.nii.gz,{people}/none.nii.gz\n")
    ((name, (pair,)),) = plan_experiments(path, ("ED:ES",), None, None, "labels", 0).items()
    assert (name, pair.id, pair.subjects) == ("pairs", "one", ("one",))


def test_what_a_table_does_not_say_is_refused(people, tmp_path):
    def planned(path, *specifications, split=None):
        return plan_experiments(path, specifications, split, None, "labels", 0)

    pairs = tmp_path / "pairs.csv"
    pairs.write_text(f"id,fixed,moving\none,{people}/p0_ES.nii.gz,{people}/p0_ED.nii.gz\n")
    with pytest.raises(UserError, match=r"--split validation: .*pairs.csv lists pairs, which have no split"):
        planned(pairs, "all", split="validation")
    pairs.write_text("id,Fixed,Moving\none,a.nii,b.nii\n")
    with pytest.raises(UserError, match=r"column fixed, moving is missing \(is `Fixed` meant\?\)"):
        planned(pairs, "all")
    with pytest.raises(UserError, match=r"no subject has split 'val' \(is `validation` meant\?\)"):
        planned(people / "subjects.csv", "all", split="val")
    with pytest.raises(UserError, match=r"subjects.csv: no volume has phase 'Es' \(is `ES` meant\?\)"):
        planned(people / "subjects.csv", "ED:Es")
    with pytest.raises(UserError, match="--pairs all:: give MOVING:FIXED"):
        planned(people / "subjects.csv", "all:")


def test_people_of_the_training_are_marked(people, evaluated, tmp_path, monkeypatch):
    """A run that saw p1's images under another name, and told of it only after a first evaluation."""
    shutil.copytree(evaluated[0].parent / "tiny", tmp_path / "run")
    quality = {"mean_dice": 0.5, "dice": {"1": 0.5}}
    monkeypatch.setattr(
        "tfreg.evaluation.evaluate.in_processes",
        lambda function, batches, *_: ((task, {"quality": quality}) for batch in batches for task in batch),
    )

    def again():
        out, options = tmp_path / "out", {"split": "validation", "pairs": ("ED:ES",), "progress": False}
        summary = evaluate(people / "subjects.csv", out, models=[tmp_path / "run"], **options)
        rows = list(csv.DictReader((out / "measurements.csv").read_text(encoding="utf-8").splitlines()))
        told = {row["fixed_subject"]: row["seen_in_training"] for row in rows if row["method"] == "run"}
        return next(iter(summary.values()))["methods"]["run"]["seen"], told

    found, told = again()
    assert (found["unknown"], set(told.values())) == (True, {""})
    shutil.copy(people / "p1_ED.nii.gz", tmp_path / "other.nii.gz")
    trained_on = [PairFiles("q", tmp_path / "other.nii.gz", tmp_path / "none.nii", fixed_subject="somebody")]
    TrainingPeople.of_pairs(trained_on, []).save(tmp_path / "run")
    with pytest.warns(InputWarning, match="run was trained on 1 of the 5 people here: p1;"):
        found, told = again()
    assert found == {"people": 5, "train": 1, "validation": 0, "unknown": False}
    assert told == {"p1": "train", "p2": "no", "p3": "no", "p4": "no", "p5": "no"}
    assert "† run was trained on 1 of the 5 people" in (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")


def test_methods_and_their_reference():
    methods = plan_methods(refine=True, transforms=("linear", "deformable", "both"), baselines=("demons",))
    assert [m.name for m in methods] == ["initial", "refined-linear", "refined-deformable", "refined", "demons"]
    assert reference_of(methods) == "refined"
    assert reference_of(methods, "demons") == "demons"
    with pytest.raises(UserError, match="--reference syn: choose initial"):
        reference_of(methods, "syn")
    with pytest.raises(UserError, match="nothing to evaluate; give --model RUN"):
        plan_methods()
    with pytest.raises(UserError, match="--transform rigid: choose linear"):
        plan_methods(refine=True, transforms=("rigid",))
    with pytest.raises(UserError, match="demons: names two methods"):
        plan_methods(baselines=("demons", "demons"))


def test_a_folder_keeps_to_its_settings(people, tmp_path):
    def store(preset="fast", init="header", force=False):
        methods = plan_methods(refine=True, preset=preset)
        return Store(tmp_path / "out", {"init": init, "methods": {m.name: m.definition() for m in methods}}, force)

    row = {"experiment": "e", "pair": "p", "method": "refined", "digest": "0"}
    store().add(row)
    assert list(store().rows.values()) == [row]
    with pytest.raises(UserError, match="refined was evaluated with another preset; name another folder, or start"):
        store("quality")
    with pytest.raises(UserError, match="was begun with init 'header', not 'centre'"):
        store(init="centre")
    assert store("quality", force=True).rows == {}
    (tmp_path / "out" / "rows.jsonl").write_text('garbage\n{"experiment": "e"}\n')
    with pytest.raises(UserError, match=r"rows.jsonl: line 1 is damaged"):
        store("quality")
    (tmp_path / "out" / "evaluation.json").write_text("{")
    with pytest.raises(UserError, match=r"evaluation.json: is damaged; start anew"):
        store("quality")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    with pytest.raises(UserError, match="holds something else than an evaluation"):
        Store(tmp_path / "photos", {"methods": {}}, force=True)
    assert (tmp_path / "photos" / "a.png").exists()


def test_force_deletes_its_own_files_only(tmp_path):
    out = tmp_path / "out"
    Store(out, {"methods": {}}).write("tables.md", "old")
    (out / "pictures").mkdir()
    for name in ("pictures/a_to_b.png", "report.html", "pairs.csv", "notes.txt"):
        (out / name).write_text("old")
    with pytest.raises(UserError, match=r"pairs.csv: lies in .*out, which is to be written"):
        Store(out, {"methods": {}}, force=True, inputs=[out / "pairs.csv"])
    Store(out, {"methods": {}}, force=True, inputs=[tmp_path / "pairs.csv"])
    assert sorted(path.name for path in out.iterdir()) == ["evaluation.json", "notes.txt", "pairs.csv", "rows.jsonl"]


def test_an_evaluation_in_use_is_refused(people, tmp_path):
    options = {"baselines": ("demons",), "pairs": ("ED:ES",), "progress": False}
    with locked_folder(tmp_path / "out"), pytest.raises(UserError, match="out: is in use by process"):
        evaluate(people / "subjects.csv", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_files_that_change_while_they_are_measured_are_not_kept_as_the_old_ones(people, tmp_path, monkeypatch):
    shutil.copytree(people, tmp_path / "copy")
    (pair, *_) = plan_experiments(tmp_path / "copy" / "subjects.csv", ("ED:ES",), None, 1, "labels", 0).popitem()[1]
    (initial, _) = plan_methods(refine=True)
    task = Task("e", pair, initial, digest_of(pair), "header")
    assert "error" not in measure(task, None)
    pair.fixed_labels.write_bytes(pair.fixed_labels.read_bytes() + b"x")
    assert "files changed while they were measured" in measure(task, None)["error"]


def test_volumes_of_several_files_are_known_by_all_of_them(tmp_path):
    def digest(path):
        return digest_of(PairFiles("a", path, path))

    rng = np.random.default_rng(0)
    image = sitk.GetImageFromArray(rng.random((4, 5, 6)).astype(np.float32))
    for name in ("a.mhd", "a.nhdr", "a.hdr", "a.img"):
        sitk.WriteImage(image, str(tmp_path / name))
        before = digest(tmp_path / name)
        (data,) = (path for path in tmp_path.iterdir() if path.suffix in (".raw", ".gz", ".img"))
        assert digest(tmp_path / name) == before
        data.write_bytes(data.read_bytes()[:-1] + bytes([data.read_bytes()[-1] ^ 1]))
        assert digest(tmp_path / name) != before
        for path in tmp_path.iterdir():
            path.unlink()
    for name in ("1.dcm", "2.dcm"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM" + name.encode())
    before = digest(tmp_path / "1.dcm")
    (tmp_path / "2.dcm").write_bytes(bytes(128) + b"DICM another slice")
    assert digest(tmp_path / "1.dcm") != before


def test_changed_content_is_measured_again(people, tmp_path):
    """A copy elsewhere, and a file touched, are the same; a changed byte is not."""
    shutil.copytree(people, tmp_path / "copy")
    (known,) = plan_experiments(people / "subjects.csv", ("ED:ES",), None, 1, "labels", 0).popitem()[1]
    (pair,) = plan_experiments(tmp_path / "copy" / "subjects.csv", ("ED:ES",), None, 1, "labels", 0).popitem()[1]
    before = digest_of(known)
    assert digest_of(pair) == before
    stat = pair.fixed_labels.stat()
    os.utime(pair.fixed_labels, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert digest_of(pair) == before
    content = bytearray(pair.fixed_labels.read_bytes())
    content[-9] ^= 1
    pair.fixed_labels.write_bytes(content)
    os.utime(pair.fixed_labels, ns=(stat.st_atime_ns, stat.st_mtime_ns + 2))
    assert digest_of(pair) != before
    pair.fixed_labels.unlink()
    assert digest_of(pair) != before


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--workers", "0"], "--workers 0: give a positive number"),
        (["--init", "magic"], "--init magic: choose header, centre, moments"),
        (["--baselines", "warp9"], "--baselines warp9: choose greedy"),
        (["--refine", "--similarity", "likeness"], "--similarity likeness: give mse"),
        (["--labels", "tumours"], "column tumours is missing"),
        (["--model", "nowhere"], "nowhere: holds no trained model"),
    ],
)
def test_bad_options_get_one_line(people, tmp_path, options, text):
    done = subprocess.run(
        demons_command(people, tmp_path / "out", *options), capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 2
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_other_tools_see_no_padding(tmp_path, monkeypatch, rng):
    array = rng.normal(40, 30, (8, 9, 10)).astype(np.float32)
    padded = array.copy()
    padded[:2], padded[2] = -32768, np.nan
    files = []
    for name, values in (("fixed", array), ("moving", padded)):
        files.append(tmp_path / f"{name}.nii.gz")
        write_volume(files[-1], Volume(values, np.eye(4)))
    seen = []

    def tool(fixed, moving, init, threads):
        seen.extend((fixed.array, moving.array))
        return np.zeros((8, 9, 10, 3), np.float32), 1.0

    monkeypatch.setitem(BASELINES, "tool", Baseline(tool, "numpy", "numpy", ""))
    pair = PairFiles("a", *files)
    row = measure(Task("pairs", pair, Method("tool", "baseline"), digest_of(pair), "header"), Resources(0, 1, None))
    assert "error" not in row
    np.testing.assert_array_equal(seen[0], array)
    np.testing.assert_array_equal(seen[1][3:], array[3:])
    assert (seen[1][:3] == array[3:].min()).all()


def test_doubtful_landmarks_are_told(people, tmp_path):
    for number in (1, 2):
        points = np.loadtxt(people / f"p{number}_ED.csv", delimiter=",", skiprows=1)
        write_points(tmp_path / f"{number}.csv", points * ([-1, -1, 1] if number == 1 else 1))
    rows = [f"a,{people}/p1_ED.nii.gz,{people}/p2_ED.nii.gz,1.csv,2.csv"]
    (tmp_path / "pairs.csv").write_text("\n".join(["id,fixed,moving,fixed_points,moving_points", *rows]) + "\n")
    with pytest.warns(InputWarning, match=r"pair a: fixed points: 4 of 4 points .* may be LPS") as caught:
        evaluate(tmp_path / "pairs.csv", tmp_path / "out", baselines=("demons",), threads=1, progress=False)
    assert len(caught) == 1
    with open(tmp_path / "out" / "measurements.csv", encoding="utf-8") as file:
        assert all("may be LPS" in row["warnings"] for row in csv.DictReader(file))
