"""What the picture shows, and where."""

import warnings

import matplotlib.pyplot
import numpy as np
import pytest

from tfreg.report.registration_figure import registration_figure
from tfreg.volumes.volume import Volume

SHAPE = (12, 16, 20)
ORIENTATIONS = ["RAS", "LPS", "SLA", "PIR"]


def volume(spacing=(2.0, 2.0, 2.0), orientation="RAS", seed=0):
    """Noise below 0.5, with one bright voxel on the right, in front, at the top."""
    array = np.random.default_rng(seed).random(SHAPE, np.float32) / 2
    array[10, 13, 17] = 10
    for axis in range(3):  # bright in the middle slices too
        index = [10, 13, 17]
        index[axis] = SHAPE[axis] // 2
        array[tuple(index)] = 10
    return Volume(array, np.diag([*spacing, 1.0])).reoriented(orientation)


def figure_of(fixed, displacement_mm=None, **options):
    if displacement_mm is None:
        displacement_mm = np.zeros((*fixed.shape, 3), np.float32)
    return registration_figure(fixed, fixed, fixed, displacement_mm, **options)


def panels(figure):
    """The six panels by the first words of their titles."""
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


def test_six_panels():
    figure = figure_of(volume(), title="case 7")
    assert [title.split(" (")[0] for title in panels(figure)] == [
        "moving, initially aligned",
        "fixed",
        "warped",
        "warped, deformed grid",
        "fixed - moving",
        "fixed - warped",
    ]
    assert figure.get_suptitle() == "case 7 (coronal)"


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(
    ("spacing", "plane", "size"),
    [
        ((2.0, 2.0, 2.0), "coronal", (20, 12)),
        ((1.0, 1.0, 8.0), "axial", (16, 12)),
        ((8.0, 1.5, 1.0), "sagittal", (20, 16)),
        ((1.5, 6.0, 1.0), "coronal", (20, 12)),
    ],
)
def test_the_plane_is_that_of_the_slices(spacing, plane, size, orientation):
    figure = figure_of(volume(spacing, orientation))
    assert figure.get_suptitle() == plane
    picture = panels(figure)["fixed"].images[0]
    assert picture.get_array().shape == size
    # Right is on the left and superior above (axial: anterior above; sagittal: anterior on the left).
    row, column = np.unravel_index(np.argmax(picture.get_array()), size)
    assert row < size[0] / 3
    assert column < size[1] / 3
    letters = [text.get_text() for text in panels(figure)["fixed"].texts]
    assert letters == {"coronal": list("RLSI"), "axial": list("RLAP"), "sagittal": list("APSI")}[plane]
    across, up = [spacing[d] for d in {"coronal": (0, 2), "axial": (0, 1), "sagittal": (1, 2)}[plane]]
    assert panels(figure)["fixed"].get_aspect() == pytest.approx(up / across)


def grid_lines(figure):
    """Vertices of the lines in the panel of the deformed grid, one array a line."""
    lines = []
    for collection in panels(figure)["warped, deformed grid"].collections:
        for path in collection.get_paths():
            lines += [polygon for polygon in path.to_polygons(closed_only=False) if len(polygon) > 1]
    return lines


def test_without_a_deformation_the_grid_is_straight():
    oblique = np.eye(4)
    oblique[:3, :3] = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) * 2
    fixed = volume()
    lines = grid_lines(figure_of(Volume(fixed.array, oblique)))
    assert len(lines) > 20
    for line in lines:
        assert min(np.ptp(line[:, 0]), np.ptp(line[:, 1])) < 1e-6


def test_the_grid_bends_with_the_deformation():
    fixed = volume()
    displacement_mm = np.zeros((*SHAPE, 3), np.float32)
    displacement_mm[..., 2] = 4 * np.sin(np.arange(SHAPE[0]) / 3)[:, None, None]
    lines = grid_lines(figure_of(fixed, displacement_mm))
    level = [line for line in lines if np.ptp(line[:, 0]) > 6]
    assert len(level) > 5
    for line in level:
        # Where the transform reaches further up, the same level lies further down (rows grow downwards).
        expected = 2 * np.sin((SHAPE[0] - 1 - line[:, 0]) / 3)
        np.testing.assert_allclose(line[:, 1] - expected, np.mean(line[:, 1] - expected), atol=0.15)


def test_differences_are_of_the_normalised_images():
    fixed, other = volume(), volume(seed=1)
    figure = registration_figure(fixed, other, fixed, np.zeros((*SHAPE, 3), np.float32))
    before, after = list(panels(figure).values())[4:]
    assert np.abs(before.images[0].get_array()).max() <= 1
    assert np.abs(before.images[0].get_array()).mean() > 0.1
    assert not after.images[0].get_array().any()
    assert after.get_title() == "fixed - warped (mean size 0.000)"


def test_a_moving_image_beside_the_fixed_one_is_drawn_black(tmp_path):
    fixed = volume()
    nothing = fixed.with_array(np.full(SHAPE, -1024.0, np.float32))
    figure = registration_figure(fixed, nothing, nothing, np.full((*SHAPE, 3), 500, np.float32))
    assert not panels(figure)["warped"].images[0].get_array().any()
    figure.savefig(tmp_path / "report.png")


@pytest.mark.parametrize("shape", [(8, 6, 60), (60, 6, 8), (9, 9, 9)])
def test_any_proportion_gives_a_picture_that_fits_a_page(tmp_path, shape):
    rng = np.random.default_rng(0)
    fixed = Volume(rng.random(shape, np.float32), np.eye(4))
    figure = figure_of(fixed)
    assert max(figure.get_size_inches()) < 45
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a layout that does not fit warns
        figure.savefig(tmp_path / "report.png", dpi=30)
    assert matplotlib.pyplot.get_fignums() == []  # nothing that a server would keep
