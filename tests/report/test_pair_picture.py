"""The small picture of a pair: which slice, which way up, and whose outlines."""

import matplotlib.image
import numpy as np
import pytest

from tfreg.report.pair_picture import FIXED_COLOUR, HEIGHT, WARPED_COLOUR, write_pair_picture
from tfreg.volumes.volume import Volume

SHAPE = (24, 20, 28)


def volume(array, spacing=(2.0, 2.0, 2.0), orientation="RAS"):
    return Volume(np.asarray(array, np.float32), np.diag([*spacing, 1.0])).reoriented(orientation)


def noise(rng):
    """Darkness with a bright block on the right, at the top."""
    array = rng.random(SHAPE) / 10
    array[16:, 8:, 20:] += 1
    return array


def panels(path):
    """Fixed, warped and checkerboard, `(rows, columns, 3)` each."""
    picture = matplotlib.image.imread(path)[..., :3]
    width = (picture.shape[1] - 8) // 3
    return [picture[:, start : start + width] for start in (0, width + 4, 2 * (width + 4))]


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SLA"])
def test_three_panels_upright_and_in_proportion(tmp_path, rng, orientation):
    fixed = volume(noise(rng), (2.0, 2.0, 3.0), orientation)
    labels = fixed.with_array((fixed.array > 0.5).astype(np.uint8))
    path = tmp_path / "pictures" / "pair.png"
    write_pair_picture(path, fixed, fixed, np.zeros((*fixed.shape, 3)), labels, labels)
    assert [file.name for file in path.parent.iterdir()] == ["pair.png"]
    for panel in panels(path):
        rows, columns, _ = panel.shape
        assert rows == HEIGHT
        assert columns == pytest.approx(HEIGHT * (24 * 2) / (28 * 3), abs=1)
        assert panel[: rows // 5, : columns // 5].mean() > 3 * panel[rows // 2 :, columns // 2 :].mean()


def test_warped_labels_are_outlined_beside_the_fixed_ones(tmp_path, rng):
    fixed = volume(noise(rng))
    fixed_labels, warped_labels = (np.zeros(SHAPE, np.uint8) for _ in range(2))
    fixed_labels[4:10, 5:15, 4:10] = 1
    warped_labels[14:20, 5:15, 4:10] = 1
    path = tmp_path / "pair.png"
    write_pair_picture(
        path, fixed, fixed, np.zeros((*SHAPE, 3)), fixed.with_array(fixed_labels), fixed.with_array(warped_labels)
    )
    drawn = [
        [np.isclose(panel, colour, atol=0.01).all(axis=-1).any() for colour in (FIXED_COLOUR, WARPED_COLOUR)]
        for panel in panels(path)
    ]
    assert drawn == [[True, False], [True, True], [False, False]]


def test_the_slice_holds_most_of_the_labels(tmp_path, rng):
    array = noise(rng) / 10
    array[:, 3, :] += 1
    labels = np.zeros(SHAPE, np.uint8)
    labels[5:9, 3, 5:9] = 1
    fixed, path = volume(array), tmp_path / "pair.png"
    for given, bright in ((fixed.with_array(labels), True), (fixed.with_array(0 * labels), False), (None, False)):
        write_pair_picture(path, fixed, fixed, np.zeros((*SHAPE, 3)), given, given)
        assert (np.median(panels(path)[0]) > 0.5) == bright


def test_moving_images_elsewhere_or_with_gaps_are_drawn(tmp_path, rng):
    fixed, gaps = volume(noise(rng)), noise(rng)
    gaps[:4] = np.nan
    path = tmp_path / "pair.png"
    for displacement_mm in (np.zeros((*SHAPE, 3)), np.full((*SHAPE, 3), 500.0)):
        write_pair_picture(path, volume(gaps), volume(gaps), displacement_mm)
        write_pair_picture(path, fixed, volume(gaps), displacement_mm)
    assert panels(path)[0].max() > 0.9
    assert panels(path)[1].max() == 0
