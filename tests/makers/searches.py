"""A search of a minute, and what it leaves."""

import csv

QUICK = """
preprocessing:
  network_grid: {orientation: RAS, spacing: 20, shape: [20, 16, 18]}
  intensity: {window: [0, 1300]}
  init: centre
pairs: {moving: inhale, fixed: exhale}
model:
  {encoder_filters: [4], encoder_dilations: [1], decoder_filters: [5], transform: deformable, integration: axiswise}
training: {learning_rate: 0.02, steps_per_epoch: 2, epochs: 4}
search: {loss.beta: {low: 1e-8, high: 1e-4, scale: log}, loss.smoothness: [0.0, 0.01]}
"""


def table_of(folder):
    """The rows of a search's trials.csv."""
    return list(csv.DictReader((folder / "trials.csv").read_text().splitlines()))
