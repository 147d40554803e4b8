"""Pictures of a classification: the ROC curve, whether probabilities mean what they say, and the groups."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

COLOURS = ("#1f5fa8", "#3c9d6f", "#c8641b")
GREY = "#8a93a0"
SPREAD = 0.2  # of the points about a group's line


def classification_chart(
    targets: np.ndarray,
    probabilities: Mapping[str, np.ndarray],
    bins: Mapping[str, Sequence[tuple[float, float, float, float]]],
    areas: Mapping[str, tuple[float, float, float]],
    groups: Sequence[str],
    threshold: float,
) -> Figure:
    """Draws three panels.

    Args:
        targets: `(n,)`, 0 healthy and 1 ill.
        probabilities: Method to `(n,)`, of being ill; the groups are shown for the first.
        bins: Method to a list of (mean probability, share of the ill, lower and upper end).
        areas: Method to the area under its ROC curve and the two ends of its interval.
        groups: `(n,)`, the names of the subjects' groups.
        threshold: From which on a subject is called ill.

    Returns:
        The picture.
    """
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    curve, calibration, spread = figure.subplots(1, 3)
    for colour, (name, values) in zip(COLOURS, probabilities.items(), strict=False):
        label = "{}\nAUC {:.2f} ({:.2f} to {:.2f})".format(name, *areas[name])
        curve.plot(*_roc(targets, values), color=colour, linewidth=2, label=label)
        shares = np.array(bins[name])
        errors = np.abs(shares[:, 2:].T - shares[:, 1])
        calibration.errorbar(*shares[:, :2].T, errors, color=colour, marker="o", markersize=5, capsize=2, label=name)
    for panel in (curve, calibration):
        panel.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        panel.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        panel.legend(loc="lower right" if panel is curve else "upper left", fontsize=8, frameon=False)
    curve.set(xlabel="healthy called ill", ylabel="ill called ill", title="ROC curve")
    calibration.set(xlabel="probability of being ill", ylabel="share of the ill", title="Calibration")
    _groups(spread, next(iter(probabilities.items())), np.array(groups), threshold)
    for panel in (curve, calibration, spread):
        panel.spines[["top", "right"]].set_visible(False)
    return figure


def _roc(targets, probabilities):
    """Shares of the healthy and of the ill at or above every threshold, from the strictest to the laxest."""
    thresholds = np.concatenate([[np.inf], np.unique(probabilities)[::-1]])
    called = probabilities >= thresholds[:, None]  # (thresholds, n)
    return called[:, targets == 0].mean(axis=1), called[:, targets == 1].mean(axis=1)


def _groups(panel, method, groups, threshold):
    """Every subject's probability, a line a group."""
    name, probabilities = method
    rng = np.random.default_rng(0)
    names = sorted(set(groups))
    for row, group in enumerate(names):
        own = probabilities[groups == group]
        heights = row + rng.uniform(-SPREAD, SPREAD, len(own))
        panel.scatter(own, heights, s=22, color=COLOURS[0], alpha=0.75, linewidths=0)
        panel.plot([np.median(own)] * 2, [row - 0.3, row + 0.3], color="#1d2b3f", linewidth=2)
    panel.axvline(threshold, color=GREY, linewidth=1, linestyle=":")
    panel.set_yticks(range(len(names)), names)
    panel.set(xlim=(-0.02, 1.02), ylim=(len(names) - 0.5, -0.5), xlabel="probability of being ill", title=name)
