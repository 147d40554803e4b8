"""The picture of a search: what every trial reached, over the values that it was given."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from tfreg.tuning.outcome import TrialRow

FAILED, EDGE, BEST = "#9a9a9a", "#1d2b3f", "#d1495b"
NAMES = {"loss.alpha": "α (loss.alpha)", "loss.beta": "β (loss.beta)"}


@dataclass(frozen=True)
class Axis:
    """A searched key.

    Args:
        key: Its dotted name.
        values: Both ends of a range, or the choices as JSON texts.
        scale: "linear" or "log"; None for choices.
    """

    key: str
    values: tuple[float | str, ...]
    scale: str | None = None

    @property
    def title(self) -> str:
        """What the picture calls it."""
        return NAMES.get(self.key, self.key)

    def place(self, row: TrialRow) -> float:
        """Where a trial's value lies on the axis."""
        value = row.values[self.key]
        return value if self.scale else self.values.index(json.dumps(value))


def search_chart(
    rows: Sequence[TrialRow], axes: Sequence[Axis], best: TrialRow | None, objective: str, direction: str
) -> Figure:
    """Draws the objective over the searched keys: two ranges as a map, and each key by itself.

    Args:
        rows: One a trial.
        axes: One a searched key.
        best: The best row, or None.
        objective: What it is called.
        direction: "max" or "min".

    Returns:
        The picture.
    """
    has_map = len(axes) == 2 and all(axis.scale for axis in axes)
    colours = "viridis" if direction == "max" else "viridis_r"
    columns = 2 if has_map or len(axes) > 1 else 1
    if has_map:
        figure = Figure(figsize=(11, 4.8), layout="constrained")
        panels = figure.subplot_mosaic([["map", 0], ["map", 1]], width_ratios=(1.35, 1))
        figure.get_layout_engine().set(wspace=0.06, hspace=0.06)
        _map(figure, panels["map"], rows, axes, best, objective, colours)
    else:
        lines = -(-len(axes) // columns)
        figure = Figure(figsize=(5.2 * columns, 3.4 * lines), layout="constrained")
        panels = dict(enumerate(figure.subplots(lines, columns, squeeze=False).ravel()))
        for spare in range(len(axes), len(panels)):
            panels[spare].set_visible(False)
    for number, axis in enumerate(axes):
        _line(panels[number], rows, axis, best, objective, colours)
    return figure


def _map(figure, panel, rows, axes, best, objective, colours):
    """The trials in the plane of both keys, coloured by objective."""
    completed = [row for row in rows if row.status == "completed"]
    places = [[axis.place(row) for row in completed] for axis in axes]
    values = [row.objective for row in completed]
    points = panel.scatter(*places, c=values, cmap=colours, s=110, edgecolors=EDGE, linewidths=0.8, zorder=3)
    if completed:
        figure.colorbar(points, ax=panel, label=objective)
    for row in rows:
        if row.status != "running":
            place = [axis.place(row) for axis in axes]
            panel.annotate(row.trial, place, (9, 6), textcoords="offset points", fontsize=8, color=EDGE)
    failed = [row for row in rows if row.status == "failed"]
    if failed:
        places = [[axis.place(row) for row in failed] for axis in axes]
        panel.scatter(*places, marker="x", c=FAILED, s=60, linewidths=2, label="failed", zorder=2)
    if best is not None:
        place = [[axis.place(best)] for axis in axes]
        text = f"best: trial {best.trial}, {objective} {best.objective:.4g}"
        panel.scatter(*place, s=300, facecolors="none", edgecolors=BEST, linewidths=2.2, label=text, zorder=4)
        panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    for name, axis in zip("xy", axes, strict=True):
        _scaled(panel, name, axis)
    panel.grid(alpha=0.3)
    panel.set_axisbelow(True)


def _line(panel, rows, axis, best, objective, colours):
    """The objective over one key, in the map's colours."""
    completed = [row for row in rows if row.status == "completed"]
    places, values = [axis.place(row) for row in completed], [row.objective for row in completed]
    panel.scatter(places, values, c=values, cmap=colours, s=36, edgecolors=EDGE, linewidths=0.6, zorder=3)
    for row in rows:
        if row.status == "failed":
            panel.plot(axis.place(row), 0.03, "x", color=FAILED, transform=panel.get_xaxis_transform(), zorder=2)
    if best is not None:
        panel.scatter(
            [axis.place(best)], [best.objective], s=130, facecolors="none", edgecolors=BEST, linewidths=2, zorder=4
        )
    _scaled(panel, "x", axis)
    panel.set_ylabel(objective)
    panel.margins(y=0.12)
    panel.grid(alpha=0.3)
    panel.set_axisbelow(True)


def _scaled(panel, name, axis):
    """Gives an axis of a panel its title, scale and ends."""
    if axis.scale is None:
        panel.set(**{f"{name}label": axis.title, f"{name}lim": (-0.5, len(axis.values) - 0.5)})
        panel.set(**{f"{name}ticks": range(len(axis.values)), f"{name}ticklabels": axis.values})
        return
    low, high = axis.values
    if axis.scale == "log":
        margin = (high / low) ** 0.04
        limits = low / margin, high * margin
    else:
        margin = 0.04 * (high - low)
        limits = low - margin, high + margin
    panel.set(**{f"{name}label": axis.title, f"{name}scale": axis.scale, f"{name}lim": limits})
