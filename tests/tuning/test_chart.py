"""The picture and the text of a search: every trial where it belongs, the best and the failed ones marked."""

import matplotlib.colors
import numpy as np
import pytest

from tfreg.tuning.chart import BEST, Axis, search_chart
from tfreg.tuning.outcome import TrialOutcome, TrialRow
from tfreg.tuning.text import search_text

ALPHA, BETA = Axis("loss.alpha", (1e-7, 1e-2), "log"), Axis("loss.beta", (1e-9, 1e-5), "log")
SIMILARITY = Axis("loss.similarity", ('"mse"', '"lncc"'))
BATCH = Axis("training.batch_size", (1, 4), "linear")


def row(trial, objective, error=None, resumed=None, continues=None, **values):
    """A trial with values; in their keys, `_` stands for the dot."""
    values = {key.replace("_", ".", 1): value for key, value in values.items()}
    outcome = TrialOutcome(error=error, dice=objective, resumed_after_epoch=resumed)
    return TrialRow(trial, values, outcome, objective, continues)


ROWS = [
    row("0", 0.8, loss_alpha=1e-6, loss_beta=1e-8),
    row("1", 0.9, loss_alpha=1e-4, loss_beta=1e-6),
    row("2", None, "killed", loss_alpha=1e-3, loss_beta=1e-7),
    row("3", None, loss_alpha=1e-5, loss_beta=1e-9),
]


def points_of(panel, count):
    """The only group of so many points of a panel."""
    (points,) = [group for group in panel.collections if len(group.get_offsets()) == count]
    return points


@pytest.mark.parametrize(("direction", "brightest"), [("max", 1), ("min", 0)])
def test_two_ranges_are_a_map(direction, brightest):
    best = ROWS[brightest]
    panel, *_ = figure_axes(search_chart(ROWS, [ALPHA, BETA], best, "validation Dice", direction))
    assert (panel.get_xscale(), panel.get_yscale()) == ("log", "log")
    assert panel.get_xlabel() == "α (loss.alpha)"
    assert panel.get_ylabel() == "β (loss.beta)"
    low, high = panel.get_xlim()
    assert 1e-8 < low < 1e-7
    assert 1e-2 < high < 1e-1
    completed = points_of(panel, 2)
    np.testing.assert_allclose(completed.get_offsets(), [[1e-6, 1e-8], [1e-4, 1e-6]])
    completed.update_scalarmappable()
    luminance = completed.get_facecolors()[:, :3].sum(axis=1)
    assert int(np.argmax(luminance)) == brightest  # the better, the brighter
    ring, cross = [group for group in panel.collections if len(group.get_offsets()) == 1][::-1]
    np.testing.assert_allclose(ring.get_offsets()[0], [best.values[key] for key in ("loss.alpha", "loss.beta")])
    assert matplotlib.colors.to_hex(ring.get_edgecolors()[0]) == BEST
    np.testing.assert_allclose(cross.get_offsets(), [[1e-3, 1e-7]])
    texts = [text.get_text() for text in panel.get_legend().get_texts()]
    assert texts == ["failed", f"best: trial {best.trial}, validation Dice {best.objective:.4g}"]
    assert {text.get_text() for text in panel.texts} == {"0", "1", "2"}


def figure_axes(figure):
    """The panels, after drawing."""
    figure.canvas.draw()
    return [panel for panel in figure.axes if panel.get_visible() and panel.get_label() != "<colorbar>"]


def test_each_key_by_itself_beside_the_map():
    _, alpha, beta = figure_axes(search_chart(ROWS, [ALPHA, BETA], ROWS[1], "validation Dice", "max"))
    for panel, key in ((alpha, "loss.alpha"), (beta, "loss.beta")):
        assert panel.get_ylabel() == "validation Dice"
        expected = [[trial.values[key], trial.objective] for trial in ROWS[:2]]
        np.testing.assert_allclose(points_of(panel, 2).get_offsets(), expected)
        (cross,) = panel.lines
        assert cross.get_xdata()[0] == ROWS[2].values[key]


def test_other_keys_are_panels():
    rows = [
        row("0", 0.8, loss_similarity="mse", training_batch_size=1, loss_beta=1e-7),
        row("1", 0.7, loss_similarity="lncc", training_batch_size=3, loss_beta=1e-6),
    ]
    figure = search_chart(rows, [SIMILARITY, BATCH, BETA], rows[0], "validation Dice", "max")
    similarity, batch, beta = figure_axes(figure)
    assert [text.get_text() for text in similarity.get_xticklabels()] == ['"mse"', '"lncc"']
    np.testing.assert_allclose(points_of(similarity, 2).get_offsets(), [[0, 0.8], [1, 0.7]])
    np.testing.assert_allclose(points_of(batch, 2).get_offsets(), [[1, 0.8], [3, 0.7]])
    assert (batch.get_xscale(), beta.get_xscale()) == ("linear", "log")
    (only,) = figure_axes(search_chart(rows, [BATCH], rows[0], "validation Dice", "max"))
    assert only.get_xlabel() == "training.batch_size"


def test_a_search_in_which_all_failed_has_a_picture():
    panel, *_ = figure_axes(search_chart([ROWS[2]], [ALPHA, BETA], None, "validation Dice", "max"))
    np.testing.assert_allclose(points_of(panel, 1).get_offsets(), [[1e-3, 1e-7]])


def test_text():
    values = {"loss_alpha": 1e-6, "loss_beta": 1e-8}
    rows = [*ROWS[:3], row("4", 0.8, resumed=3, **values), row("5", 0.8, continues="0", **values)]
    text = search_text(rows, ROWS[1], "validation Dice", "tfreg tune a.yaml")
    assert "Command: `tfreg tune a.yaml`" in text
    assert "Best: trial 1 with `loss.alpha` 0.0001, `loss.beta` 1e-06: validation Dice 0.9." in text
    lines = text.splitlines()
    assert "| trial | loss.alpha | loss.beta | Dice | status |" in lines  # columns without metrics are left out
    assert "| 0 | 1e-06 | 1e-08 | 0.8000 | completed |" in lines
    assert "| 2 | 0.001 | 1e-07 | – | failed |" in lines
    assert "| 4 | 1e-06 | 1e-08 | 0.8000 | completed, resumed after epoch 3 |" in lines
    assert "| 5 | 1e-06 | 1e-08 | 0.8000 | completed, continues 0 |" in lines
    assert lines[-1] == "- Trial 2 failed: killed."
