"""The methods that are asked for, and the folder that keeps to them."""

import numpy as np
import pytest

from tfreg.config import EvaluationOptions, RegistrationOptions, checked
from tfreg.errors import UserError
from tfreg.evaluation.baselines.registry import BASELINES, Baseline
from tfreg.evaluation.measure import Task, measure
from tfreg.evaluation.methods import Method, plan_methods, reference_of
from tfreg.evaluation.row import Row
from tfreg.evaluation.store import EvaluationSettings, Store
from tfreg.io.digests import pair_digest
from tfreg.io.formats import write_volume
from tfreg.io.tables.manifest import PairFiles
from tfreg.runtime.resources import Resources
from tfreg.volumes.volume import Volume


def planned(**options):
    return plan_methods(checked(EvaluationOptions, **options))


def settings(methods, init="header"):
    definitions = {method.name: method.definition() for method in methods}
    return EvaluationSettings(measures="m", init=init, labels="labels", methods=definitions)


def test_methods_and_their_reference():
    methods = planned(refine=True, parts=("linear", "deformable", "both"), baselines=("demons",))
    assert [m.name for m in methods] == ["initial", "refined-linear", "refined-deformable", "refined", "demons"]
    assert reference_of(methods) == "refined"
    assert reference_of(methods, "demons") == "demons"
    with pytest.raises(UserError, match="--reference syn: choose initial"):
        reference_of(methods, "syn")
    with pytest.raises(UserError, match="nothing to evaluate; give --model RUN"):
        planned()
    with pytest.raises(UserError, match="--parts rigid: choose linear"):
        planned(refine=True, parts=("rigid",))
    with pytest.raises(UserError, match="--parts: choose some of linear, deformable, both"):
        planned(refine=True, parts=())
    with pytest.raises(UserError, match="demons: names two methods"):
        planned(baselines=("demons", "demons"))


def test_presets_side_by_side():
    methods = planned(refine=True, parts=("linear,both",), preset="fast,quality", baselines=["headers", "demons"])
    names = ["refined-fast-linear", "refined-fast", "refined-quality-linear", "refined-quality"]
    assert [method.name for method in methods] == ["headers", "initial", *names, "demons"]
    assert [method.options.preset for method in methods[3:6:2]] == ["fast", "quality"]
    assert reference_of(methods) == "refined-fast"
    with pytest.raises(UserError, match="--preset slow: choose quality or fast"):
        planned(refine=True, preset=["fast,slow"])
    with pytest.raises(UserError, match="nothing to evaluate"):
        planned(baselines=("headers",))


def test_no_network_is_the_refinement_alone():
    """As in `tfreg register`: without a network it refines, unless it must not."""
    assert [method.name for method in planned(models=("none",))] == ["initial", "refined"]
    assert planned(models=("none",), refine=True) == planned(refine=True) == planned(models=("none",))
    (initial,) = methods = planned(models=("none",), refine=False)
    assert reference_of(methods) == initial.name == "initial"
    assert [method.name for method in planned(models=("none",), similarity="mse")] == ["initial", "refined"]
    with pytest.raises(UserError, match="--similarity: is of the refinement, which is not asked for"):
        planned(models=("none",), refine=False, similarity="mse")


def test_a_folder_keeps_to_its_settings(people, tmp_path):
    def store(preset="fast", init="header", force=False):
        return Store(tmp_path / "out", settings(planned(refine=True, preset=(preset,)), init), force)

    row = Row(experiment="e", pair="p", method="refined", digest="0")
    store().add(row)
    assert list(store().rows.values()) == [row]
    with pytest.raises(UserError, match="refined was evaluated with another preset; name another folder, or start"):
        store("quality")
    with pytest.raises(UserError, match="was begun with init 'header', not 'centre'"):
        store(init="centre")
    assert store("quality", force=True).rows == {}
    rows = tmp_path / "out" / "rows.jsonl"
    rows.write_text('garbage\n{"experiment": "e"}\n')
    with pytest.raises(UserError, match=r"rows.jsonl: line 1 is damaged"):
        store("quality")
    rows.write_text(row.line().replace('"format": 1', '"format": 2'))
    with pytest.raises(UserError, match=r"rows.jsonl: line 1: is of a later version of tfreg"):
        store("quality")
    (tmp_path / "out" / "evaluation.json").write_text("{")
    with pytest.raises(UserError, match=r"evaluation.json: .* is damaged; start anew"):
        store("quality")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    with pytest.raises(UserError, match="holds something else than an evaluation"):
        Store(tmp_path / "photos", settings([]), force=True)
    assert (tmp_path / "photos" / "a.png").exists()


def test_force_deletes_its_own_files_only(tmp_path):
    out, none = tmp_path / "out", settings([])
    Store(out, none).write("tables.md", "old")
    (out / "pictures").mkdir()
    for name in ("pictures/a_to_b.png", "report.html", "pairs.csv", "notes.txt"):
        (out / name).write_text("old")
    with pytest.raises(UserError, match=r"pairs.csv: lies in .*out, which is to be written"):
        Store(out, none, force=True, inputs=[out / "pairs.csv"])
    Store(out, none, force=True, inputs=[tmp_path / "pairs.csv"])
    assert sorted(path.name for path in out.iterdir()) == ["evaluation.json", "notes.txt", "pairs.csv", "rows.jsonl"]


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
    method = Method("tool", "baseline", RegistrationOptions(init="header"))
    assert measure(Task("pairs", pair, method, pair_digest(pair)), Resources(threads=1)).error is None
    np.testing.assert_array_equal(seen[0], array)
    np.testing.assert_array_equal(seen[1][3:], array[3:])
    assert (seen[1][:3] == array[3:].min()).all()
