"""What the chart of an evaluation shows."""

import numpy as np

from tfreg.evaluation.charts import distribution_chart


def test_every_pair_is_a_point_on_its_methods_line(rng):
    values = {"old": rng.random(9), "new": rng.random(5), "none": []}
    figure = distribution_chart(values, "Dice %", 100.0, largest=100)
    (panel,) = figure.axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["old", "new"]
    for row, (points, name) in enumerate(zip(panel.collections, ("old", "new"), strict=True)):
        places = np.asarray(points.get_offsets())
        np.testing.assert_allclose(places[:, 0], 100 * values[name])
        assert np.abs(places[:, 1] - row).max() < 0.3
    medians = [line.get_xdata()[0] for line in panel.lines]
    np.testing.assert_allclose(medians, [100 * np.median(values[name]) for name in ("old", "new")])
    bottom, top = panel.get_ylim()
    assert bottom > top  # the first method is on top
