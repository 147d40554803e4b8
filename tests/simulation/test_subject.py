"""The simulated chest obeys its own known deformation."""

import functools

import numpy as np
import pytest

from tfreg.simulation.breathing import invert_increasing, soft_ramp
from tfreg.simulation.shapes import Tubes, ellipsoid
from tfreg.simulation.subject import simulate_subject
from tfreg.volumes.resampling import sample

SHAPE, SPACING = (72, 60, 66), (5.2, 4.8, 5.6)


@functools.cache
def subject(seed=0, modality="mr", severity=0.0):
    """One subject at test size; simulated once."""
    return simulate_subject(np.random.default_rng(seed), SHAPE, SPACING, modality, severity)


def grid_points(simulated, step=2):
    """World points of the exhale grid, `(n, 3)`."""
    return simulated.exhale.lattice.points()[::step, ::step, ::step].reshape(-1, 3)


def warped(simulated, volume):
    """An inhale volume pulled back to the exhale grid by the known field."""
    lattice = simulated.exhale.lattice
    return sample(volume, lattice.to_voxel(lattice.points() + simulated.displacement_mm))


def dice(a, b):
    """Overlap of two masks."""
    return 2 * np.sum(a & b) / (a.sum() + b.sum())


def test_equal_seeds_give_equal_voxels():
    first, second = (simulate_subject(np.random.default_rng(7), (20, 18, 22), (18, 15, 16)) for _ in range(2))
    other = simulate_subject(np.random.default_rng(8), (20, 18, 22), (18, 15, 16))
    for name in ("inhale", "exhale", "inhale_labels", "exhale_labels"):
        np.testing.assert_array_equal(getattr(first, name).array, getattr(second, name).array)
    np.testing.assert_array_equal(first.exhale_points, second.exhale_points)
    assert (first.inhale.array != other.inhale.array).any()


@pytest.mark.parametrize("severity", [0.0, 1.0])
def test_landmarks_obey_the_deformation_and_lie_in_the_lungs(severity):
    simulated = subject(severity=severity)
    assert simulated.inhale_points.shape == (30, 3)
    moved = simulated.breathing.to_exhale(simulated.inhale_points)
    np.testing.assert_allclose(moved, simulated.exhale_points, rtol=0, atol=1e-6)
    back = simulated.breathing.to_inhale(simulated.exhale_points)
    np.testing.assert_allclose(back, simulated.inhale_points, rtol=0, atol=1e-6)
    for labels, points in (
        (simulated.inhale_labels, simulated.inhale_points),
        (simulated.exhale_labels, simulated.exhale_points),
    ):
        side = sample(labels.array, labels.lattice.to_voxel(points), "nearest")
        assert (side > 0).all()
        # Their sides agree with the world: the right lung is where x grows.
        assert points[side == 1, 0].mean() > 0 > points[side == 2, 0].mean()


@pytest.mark.parametrize("severity", [0.0, 1.0])
def test_inverse_and_jacobian(severity):
    simulated = subject(severity=severity)
    breathing = simulated.breathing
    points = grid_points(simulated)
    inhale = breathing.to_inhale(points)
    np.testing.assert_allclose(breathing.to_exhale(inhale), points, rtol=0, atol=1e-6)
    np.testing.assert_allclose(breathing.to_inhale(breathing.to_exhale(points)), points, rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        breathing.log_jacobian_at_exhale(points), -breathing.log_jacobian_at_inhale(inhale), rtol=0, atol=1e-8
    )
    # The closed form is the determinant of finite differences, and stays far from zero.
    step = 1e-3
    columns = [
        (breathing.to_exhale(points + d) - breathing.to_exhale(points - d)) / (2 * step) for d in step * np.eye(3)
    ]
    determinant = np.linalg.det(np.stack(columns, axis=2))
    np.testing.assert_allclose(determinant, np.exp(breathing.log_jacobian_at_inhale(points)), rtol=1e-5)
    assert determinant.min() > 0.25


def test_displacement_is_the_pull_back_of_the_exhale_grid():
    simulated = subject()
    points = simulated.exhale.lattice.points()
    expected = simulated.breathing.to_inhale(points.reshape(-1, 3)).reshape(points.shape) - points
    np.testing.assert_allclose(simulated.displacement_mm, expected, rtol=0, atol=1e-4)
    assert 20 < np.linalg.norm(simulated.displacement_mm, axis=-1).max() < 100


def test_masks_agree_with_the_deformation():
    # Fine voxels: a mask of whole voxels blurs the sharp rim of the lung base, by a Dice of 0.02 at 4 mm.
    simulated = simulate_subject(np.random.default_rng(1), (112, 82, 106), (3.2, 3.3, 3.4))
    for label in (1, 2):
        inhale, exhale = ((v.array == label) for v in (simulated.inhale_labels, simulated.exhale_labels))
        pulled = warped(simulated, inhale.astype(np.float32)) > 0.5
        assert dice(pulled, exhale) > 0.98
        assert dice(inhale, exhale) < 0.9


@pytest.mark.parametrize(("modality", "air"), [("mr", 8), ("ct", -1000)])
def test_images_agree_with_the_deformation_once_mass_is_kept(modality, air):
    simulated = subject(3, modality)
    points = simulated.exhale.lattice.points().reshape(-1, 3)
    ratio = np.exp(simulated.breathing.log_jacobian_at_exhale(points)).reshape(SHAPE)
    pulled = warped(simulated, simulated.inhale.array.astype(np.float32))
    lung = simulated.exhale_labels.array > 0
    # Parenchyma, without vessels and edges, whose tissue is not mixed with air.
    inner = lung & (sample((simulated.exhale_labels.array > 0).astype(np.float32), _voxels() + 0.5) == 1)
    quiet = inner & (pulled < np.quantile(pulled[inner], 0.8))
    kept = air + (pulled[quiet] - air) * ratio[quiet]
    seen = simulated.exhale.array[quiet]
    assert abs(np.median(kept) - np.median(seen)) < 0.12 * abs(np.median(seen) - air)
    assert np.median(seen) > np.median(pulled[quiet])
    # Over all that both fields of view hold, the two images show the same tissue.
    lattice = simulated.exhale.lattice
    reached = lattice.to_voxel(lattice.points() + simulated.displacement_mm)
    held = ((reached >= 0) & (reached <= np.array(SHAPE) - 1)).all(axis=-1)
    kept_everywhere = np.where(lung, air + (pulled - air) * ratio, pulled)
    assert np.corrcoef(kept_everywhere[held], simulated.exhale.array[held])[0, 1] > 0.95


def _voxels():
    return np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in SHAPE), indexing="ij"), axis=-1)


def test_lung_volume_falls_as_in_a_deep_breath():
    for seed in range(3):
        simulated = simulate_subject(np.random.default_rng(seed), (40, 34, 40), (9, 8, 9))
        litres = np.array([(v.array > 0).sum() for v in (simulated.inhale_labels, simulated.exhale_labels)]) * 648e-6
        assert 3.5 < litres[0] < 7
        assert 0.5 < litres[1] / litres[0] < 0.72


def test_severity_stiffens_the_lung_bases_only():
    base_change, top_change, images = [], [], []
    for severity in (0.0, 0.3, 0.6, 1.0):
        simulated = simulate_subject(np.random.default_rng(5), (36, 30, 36), 10.0, severity=severity)
        images.append(simulated.inhale.array)
        lung = simulated.inhale.lattice.points()[simulated.inhale_labels.array > 0]
        low, high = np.quantile(lung[:, 2], [0.2, 0.7])
        change = -simulated.breathing.log_jacobian_at_inhale(lung)
        base_change.append(change[lung[:, 2] < low].mean())
        top_change.append(change[lung[:, 2] > high].mean())
    assert (np.diff(base_change) < -0.02).all()
    assert base_change[-1] < 0.65 * base_change[0]
    assert np.ptp(top_change) < 0.15 * np.mean(top_change)
    # Nothing of it shows in the inhale image.
    for image in images[1:]:
        np.testing.assert_array_equal(image, images[0])


def test_modalities_have_their_ranges():
    mr, ct = subject(0).inhale, subject(3, "ct").inhale
    lung = subject(0).inhale_labels.array > 0
    assert mr.array.dtype == np.float32
    assert mr.array.min() >= 0
    assert 900 < mr.array.max() < 1500
    assert np.median(mr.array[lung]) < 200
    assert ct.array.dtype == np.int16
    assert ct.array.min() >= -1024
    assert 400 < ct.array.max() < 1500
    assert -920 < np.median(ct.array[subject(3, "ct").inhale_labels.array > 0]) < -780


def test_ct_is_padded_outside_a_circle():
    simulated = simulate_subject(np.random.default_rng(0), (24, 24, 18), (15, 15, 20), "ct", circular_fov=True)
    assert (simulated.inhale.array[0, 0] == -1024).all()
    assert (simulated.inhale.array[12, 12] != -1024).any()


@pytest.mark.parametrize(
    ("shape", "spacing", "orientation"),
    [((48, 40, 44), 4.0, "RAS"), ((16, 48, 52), (16, 8, 7), "ASR"), ((30, 20, 25), (12, 14, 15), "LPI")],
)
def test_the_chest_fits_any_field_of_view(shape, spacing, orientation):
    simulated = simulate_subject(np.random.default_rng(2), shape, spacing, orientation=orientation)
    assert simulated.inhale.shape == shape
    assert simulated.inhale.orientation == orientation
    np.testing.assert_allclose(simulated.inhale.spacing, np.broadcast_to(spacing, 3))
    np.testing.assert_allclose(simulated.inhale.lattice.centre_world, 0, atol=1e-9)
    labels = simulated.inhale_labels.reoriented("RAS").array
    right, left = labels == 1, labels == 2
    assert right.sum() > 0.03 * labels.size
    assert left.sum() > 0.03 * labels.size
    assert np.argwhere(right)[:, 0].mean() > np.argwhere(left)[:, 0].mean()
    # Neither lung is cut off by the border.
    inner = labels[1:-1, 1:-1, 1:-1]
    assert (inner > 0).sum() == (labels > 0).sum()


@pytest.mark.parametrize(
    "arguments",
    [{"modality": "pet"}, {"severity": 1.5}, {"orientation": "RAR"}, {"orientation": "RA"}, {"spacing": (1, 0, 1)}],
)
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}`"):
        simulate_subject(np.random.default_rng(0), (8, 8, 8), **{"spacing": 40.0, **arguments})


def test_soft_ramp_has_the_slope_it_says():
    t = np.linspace(-0.3, 0.4, 141)
    value, slope = soft_ramp(t)
    np.testing.assert_allclose((soft_ramp(t + 1e-6)[0] - soft_ramp(t - 1e-6)[0]) / 2e-6, slope, atol=1e-6)
    np.testing.assert_allclose(value[np.abs(t) > 0.1], np.maximum(t, 0)[np.abs(t) > 0.1], atol=1e-15)
    assert (np.diff(slope) >= 0).all()


def test_invert_increasing_finds_the_root_and_says_when_there_is_none():
    values = np.linspace(-3, 3, 11)
    found = invert_increasing(lambda t: (t + 0.9 * np.sin(t), 1 + 0.9 * np.cos(t)), values, -0.9, 0.9)
    np.testing.assert_allclose(found + 0.9 * np.sin(found), values, atol=1e-10)
    with pytest.raises(ArithmeticError):
        invert_increasing(lambda t: (t + 5, np.ones_like(t)), values, -0.9, 0.9)


def test_distances_of_known_shapes():
    points = np.array([[3.0, 0, 0], [0, 2.5, 0], [0, 1.0, 1.5]])
    np.testing.assert_allclose(ellipsoid(points, (0, 0, 0), (4, 2, np.inf)), [1, -0.5, 1], atol=1e-9)
    tube = Tubes.along([[0, 0, 0, 2], [20, 0, 0, 2]])
    np.testing.assert_allclose(
        tube.cover(np.array([[10.0, 0, 0], [10, 4, 0], [30, 0, 0]]), 0.5), [0.98, 0, 0], atol=0.03
    )
