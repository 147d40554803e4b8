"""Pictures of an evaluation: how a metric spreads over the pairs, method by method."""

import numpy as np
from matplotlib.figure import Figure

POINT, BOX, LINE = "#3b6fb6", "#c9d7ea", "#1d2b3f"
SPREAD = 0.26  # of the points about a method's line


def distribution_chart(
    values: dict[str, list[float]], title: str, scale: float = 1.0, largest: float | None = None
) -> Figure:
    """Draws every pair as a point, with median and quartiles, one line a method.

    Args:
        values: Dictionary of method to a list of floats, a pair each; from top to bottom.
        title: What the axis says.
        scale: What values are multiplied with.
        largest: Where the axis ends, in the axis' units; None for the data's range.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    values = {method: np.asarray(numbers, np.float64) * scale for method, numbers in values.items() if len(numbers)}
    figure = Figure(figsize=(7.2, 0.9 + 0.38 * len(values)), layout="constrained")
    panel = figure.subplots()
    rng = np.random.default_rng(0)
    for row, numbers in enumerate(values.values()):
        low, middle, high = np.percentile(numbers, (25, 50, 75))
        panel.barh(row, high - low, left=low, height=0.62, color=BOX, zorder=1)
        panel.plot([middle, middle], [row - 0.31, row + 0.31], color=LINE, linewidth=2, zorder=3)
        heights = row + rng.uniform(-SPREAD, SPREAD, len(numbers))
        size, strength = (14, 0.8) if len(numbers) <= 60 else (5, 0.45)
        panel.scatter(numbers, heights, s=size, color=POINT, alpha=strength, linewidths=0, zorder=2)
    panel.set_yticks(range(len(values)), values)
    panel.set(xlabel=title, ylim=(len(values) - 0.4, -0.6))
    if largest is not None:
        panel.set_xlim(right=largest)
    panel.grid(axis="x", alpha=0.35)
    panel.set_axisbelow(True)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.tick_params(axis="y", length=0)
    return figure
