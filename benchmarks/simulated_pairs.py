"""A picture of random training pairs: fixed, moving, moving under the true transform, and the true displacement.

    python benchmarks/simulated_pairs.py pairs.png [CONFIG] [key=value ...]

Rows are pairs, of the first batch of every side; each shows a middle slice. The displacement is drawn as a deformed
grid over the weight of each place.
"""

import sys

import numpy as np

from tfreg.config import load_config, parse_config
from tfreg.runtime.keras_settings import load_keras

ROWS = 8


def main(target, config=None, *overrides):
    config = load_config(config, overrides) if config else parse_config({})
    load_keras()
    from tfreg.simulation.random_pairs.pairs import RandomPairs

    options = config.simulated
    for number, side in enumerate(options.sides):
        batch = {name: np.asarray(value) for name, value in RandomPairs(options, side, ROWS)((config.seed, 0)).items()}
        draw(batch, target.replace(".png", f"_{side}.png") if number else target)


def draw(batch, target):
    """Writes a picture of a batch."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from scipy import ndimage

    count, side = batch["fixed"].shape[:2]
    figure, axes = plt.subplots(count, 5, figsize=(10, 2 * count), squeeze=False)
    for row, number in zip(axes, range(count), strict=True):
        fixed, moving = batch["fixed"][number, ..., 0], batch["moving"][number, ..., 0]
        displacement = batch["displacement"][number]
        places = np.moveaxis(np.moveaxis(np.indices(fixed.shape), 0, -1) + displacement, -1, 0)
        warped = ndimage.map_coordinates(moving, places, order=1, mode="nearest")
        plane = side // 2
        images = [fixed, moving, warped, np.abs(fixed - warped), batch["weight"][number, ..., 0]]
        for axis, image in zip(row, images, strict=True):
            axis.imshow(image[:, :, plane], cmap="gray", vmin=0, vmax=1)
            axis.set_axis_off()
        for lines in (places[:2, ::4, :, plane], places[:2, :, ::4, plane].swapaxes(1, 2)):
            for j, i in zip(lines[1], lines[0], strict=True):
                row[-1].plot(j, i, color="tab:red", linewidth=0.6)
    for axis, title in zip(axes[0], ("fixed", "moving", "true warp", "difference", "weight and places"), strict=True):
        axis.set_title(title)
    figure.tight_layout()
    figure.savefig(target, dpi=70)


if __name__ == "__main__":
    main(*sys.argv[1:])
