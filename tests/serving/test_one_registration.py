"""A pair registered by command, in Python, as a method of an evaluation and through a server: one result."""

import shutil
from pathlib import Path

import pytest

from tfreg import cli, register
from tfreg.config import EvaluationOptions
from tfreg.errors import InputWarning
from tfreg.evaluation.evaluate import evaluate
from tfreg.evaluation.store import read_rows
from tfreg.registration.registration_report import RegistrationReport
from tfreg.runtime.resources import Resources
from tfreg.serving.client.client import Client

GOLDENS = Path(__file__).parents[1] / "goldens"
RUN = GOLDENS / "run"
SUBJECT = "s005"
FILES = {
    f"{side}{kind}": GOLDENS / "data" / folder / f"{SUBJECT}_{phase}.{suffix}"
    for side, phase in (("fixed", "exhale"), ("moving", "inhale"))
    for kind, folder, suffix in (
        ("", "images", "nii.gz"),
        ("_labels", "labels", "nii.gz"),
        ("_points", "points", "csv"),
    )
}
OPTIONS = {"refine": True, "preset": "fast", "smoothness": 1.0}
# What is not of the registration: what it took, and by whom it was asked for.
ELSEWHERE = {"seconds", "seed", "paths", "model", "refinement", "passes"}


def words_of(**options):
    """A command's words for options."""
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        yield from [option] if value is True else [option, str(value)]


def by_command(folder, verb, *words):
    """The report that a command writes."""
    out = folder / "result"
    cli.app([verb, *words, *words_of(**FILES, **OPTIONS, out=out)], standalone_mode=False)
    return RegistrationReport.read(out / "report.json")


@pytest.fixture(scope="module")
def expected():
    """The report of the same in Python."""
    return register(**FILES, model=RUN, **OPTIONS).report


@pytest.fixture(scope="module")
def address(start_server, tmp_path_factory):
    """A server of the same network."""
    shutil.copytree(GOLDENS / "export", folder := tmp_path_factory.mktemp("models") / "tfreg")
    return start_server(folder).address


def check_same(report, expected, tolerance=0.0):
    """Every field of the registration is that of the other report, but for a relative difference of numbers."""
    for name in set(RegistrationReport.model_fields) - ELSEWHERE:
        check_near(getattr(report.model_copy(), name), getattr(expected, name), tolerance, name)
    for ours, theirs in zip(report.passes, expected.passes, strict=True):
        check_near(ours.model_dump(exclude={"seconds"}), theirs.model_dump(exclude={"seconds"}), 0.0, "passes")
    if expected.refinement is None:
        assert report.refinement is None
        return
    for ours, theirs in zip(report.refinement.levels, expected.refinement.levels, strict=True):
        check_near(ours, theirs, tolerance, "refinement")
    check_near(report.refinement.settings, expected.refinement.settings, 0.0, "refinement")


def check_near(value, expected, tolerance, name):
    """The same, however deep."""
    if isinstance(expected, dict):
        assert value.keys() == expected.keys(), name
        pairs = [(value[key], expected[key], f"{name}.{key}") for key in expected]
    elif isinstance(expected, list | tuple):
        assert len(value) == len(expected), name
        pairs = [(*both, f"{name}[{i}]") for i, both in enumerate(zip(value, expected, strict=True))]
    elif hasattr(expected, "__dict__"):
        pairs = [(vars(value)[key], vars(expected)[key], f"{name}.{key}") for key in vars(expected)]
    elif isinstance(expected, float) and tolerance:
        assert value == pytest.approx(expected, rel=tolerance, abs=tolerance), name
        return
    else:
        assert value == expected, name
        return
    for ours, theirs, inside in pairs:
        check_near(ours, theirs, tolerance, inside)


def test_by_command(expected, tmp_path):
    report = by_command(tmp_path, "register", "--model", str(RUN))
    check_same(report, expected)
    assert report.model == expected.model


def test_by_the_command_of_a_server(expected, address, tmp_path):
    """The network's arithmetic is another program's, in its last digits."""
    report = by_command(tmp_path, "request", "--address", address)
    check_same(report, expected, tolerance=0.02)
    assert (report.model.name, report.model.sha256) == (expected.model.name, expected.model.sha256)


def test_by_a_client_in_python(expected, address):
    with Client(address) as client:
        check_same(client.register(**FILES, **OPTIONS).report, expected, tolerance=0.02)


def test_passes_are_as_many_requests(address):
    """Each on the moving image as warped by the answers before."""
    options = {"passes": 3, "refine": False}
    one = register(**FILES, model=RUN, refine=False)
    own = register(**FILES, model=RUN, **options)
    assert abs(own.displacement_mm - one.displacement_mm).max() > 0.5
    with Client(address) as client:
        served = client.register(**FILES, **options)
    assert len(served.report.passes) == 3
    check_same(served.report, own.report, tolerance=0.02)
    assert abs(served.displacement_mm - own.displacement_mm).max() < 0.02


def test_as_a_method_of_an_evaluation(expected, tmp_path):
    table = tmp_path / "pairs.csv"
    names = ["id", *FILES]
    table.write_text("\n".join([",".join(names), ",".join([SUBJECT, *map(str, FILES.values())])]) + "\n")
    options = EvaluationOptions(
        models=(RUN,), refine_models=True, preset=OPTIONS["preset"], smoothness=OPTIONS["smoothness"]
    )
    with pytest.warns(InputWarning, match="best epoch chosen on 2 of the 2 people"):
        evaluate(table, tmp_path / "evaluation", options, Resources())
    (row,) = (row for row in read_rows(tmp_path / "evaluation") if row.method == "run-refined")
    assert (row.error, row.verdict, row.reasons) == (None, expected.verdict, expected.reasons)
    assert (row.certified, row.damping) == (expected.certificate.certified, expected.certificate.damping)
    assert {label: entry.dice for label, entry in row.quality.labels.items()} == expected.metrics.after.dice
    assert row.quality.everywhere == expected.log_jacobian["all"]
    assert row.quality.labelled == expected.log_jacobian["labels"]
    assert row.quality.folding_fraction == 0
    # Landmarks are moved by the sampled displacement here, and by the transform itself there.
    check_near(row.quality.landmarks, expected.metrics.after.landmarks, 0.02, "landmarks")
