"""The figures of a displacement against SimpleITK's and against closed forms."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial import cKDTree

from tfreg.io.itk_images import to_itk
from tfreg.metrics.landmarks import LandmarkErrors
from tfreg.metrics.overlap import surface_distances_by_label
from tfreg.metrics.quality import displacement_quality
from tfreg.metrics.volume_change import VolumeChange, log_jacobian_summary
from tfreg.registration.agreement import agreement
from tfreg.registration.image_pair import ImagePair
from tfreg.transforms.transform import Transform
from tfreg.volumes.volume import Volume

FLIP = np.array([-1, -1, 1])


@pytest.fixture
def case(tools):
    """Images, blobs and landmarks under unlike headers, and a smooth displacement of some millimetres."""
    rng = np.random.default_rng(7)
    shapes, headers, centres = ((18, 22, 15), (21, 17, 19)), ("oblique", "LPS"), ((-30.0, 20, 100), (-29.0, 22, 99))
    images, labels = [], []
    for shape, header, centre in zip(shapes, headers, centres, strict=True):
        image = tools.textured(rng, shape, tools.placed(header, shape, centre))
        voxels = np.stack(np.indices(shape), -1) - (np.array(shape) - 1) / 2
        radius = np.linalg.norm(voxels * image.spacing, axis=-1)
        blobs = np.select([radius < 5, radius < 9], [2, 5], 0).astype(np.int16)
        blobs[: shape[0] // 3, -5:] = 7
        images.append(image)
        labels.append(Volume(blobs, image.affine))
    noise = ndimage.gaussian_filter(rng.standard_normal((*shapes[0], 3)), (3, 3, 3, 0))
    displacement_mm = (2.5 * noise / noise.std()).astype(np.float32)
    inside = rng.uniform(1, np.array(shapes[0]) - 2, (9, 3))
    fixed_points = images[0].lattice.to_world(inside)
    return ImagePair(*images, *labels, fixed_points, fixed_points + rng.normal(0, 2, (9, 3))), displacement_mm


def test_dice_and_tre_are_simpleitks(case):
    case, displacement_mm = case
    measured, warped = displacement_quality(case, displacement_mm)
    field = to_itk(case.fixed.array, case.fixed.affine)
    vectors = sitk.GetImageFromArray((displacement_mm * FLIP).transpose(2, 1, 0, 3).astype(np.float64), isVector=True)
    vectors.CopyInformation(field)
    transform = sitk.DisplacementFieldTransform(vectors)
    moving = to_itk(case.moving_labels.array, case.moving_labels.affine)
    theirs = sitk.Resample(moving, field, transform, sitk.sitkNearestNeighbor, 0)
    assert np.mean(sitk.GetArrayFromImage(theirs).transpose(2, 1, 0) == warped.array) > 0.999
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(to_itk(case.fixed_labels.array, case.fixed_labels.affine), theirs)
    assert set(measured.labels) == {"2", "5", "7"}
    for label, entry in measured.labels.items():
        assert entry.dice == pytest.approx(overlap.GetDiceCoefficient(int(label)), abs=2e-3)
    assert 0.2 < measured.mean_dice < 0.95
    assert measured.mean_dice == pytest.approx(np.mean([entry.dice for entry in measured.labels.values()]))
    mapped = np.array([transform.TransformPoint(tuple(point * FLIP)) for point in case.fixed_points]) * FLIP
    differences = mapped - case.moving_points
    assert measured.landmarks.mean_mm == pytest.approx(np.linalg.norm(differences, axis=1).mean(), abs=1e-4)
    assert measured.landmarks.dy_mm == pytest.approx(np.abs(differences[:, 1]).mean(), abs=1e-4)


def test_a_folding_displacement_is_seen(case):
    case, displacement_mm = case
    assert displacement_quality(case, 0 * displacement_mm)[0].folding_fraction == 0
    assert displacement_quality(case, 6 * displacement_mm)[0].folding_fraction > 0.01


def test_without_labels_and_points_there_is_the_map_alone(case):
    case, displacement_mm = case
    measured, warped = displacement_quality(ImagePair(case.fixed, case.moving), displacement_mm)
    assert (measured.labels, measured.landmarks, measured.labelled) == (None, LandmarkErrors(), VolumeChange())
    assert measured.everywhere.volume_ml > 0
    assert measured.folding_fraction is not None
    assert warped is None


def test_a_landmark_outside_takes_the_borders_displacement(case):
    case, displacement_mm = case
    outside = case.fixed.lattice.to_world([[-3.0, 5, 6]])
    moved = outside + displacement_mm[0, 5, 6]
    measured, _ = displacement_quality(
        ImagePair(case.fixed, case.moving, fixed_points=outside, moving_points=moved), displacement_mm
    )
    assert measured.landmarks.mean_mm == pytest.approx(0, abs=1e-4)


def test_the_change_of_volume_is_the_closed_forms(rng):
    """A map that enlarges label 3 by 1.5 and shrinks label 8 to a half, voxels of 2 x 3 x 4 mm."""
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[:2], labels[4:] = 3, 8
    logarithm = np.select([labels == 3, labels == 8], [np.log(1.5), np.log(0.5)], 0.0)
    affine = np.diag([-2.0, 3, 4, 1])
    volumes = log_jacobian_summary(logarithm, affine, Volume(labels, affine))
    assert set(volumes) == {"all", "labels", "3", "8"}
    volume_ml = 2 * 7 * 8 * 24 / 1000
    assert vars(volumes["3"]) == pytest.approx(
        {key: np.log(1.5) for key in ("mean", "min", "max", "p5", "median", "p95")}
        | {"sd": 0, "volume_ml": volume_ml, "mapped_volume_ml": 1.5 * volume_ml, "volume_change_percent": 50}
    )
    assert volumes["8"].volume_change_percent == pytest.approx(-50)
    assert volumes["labels"].volume_ml == pytest.approx(2 * volume_ml)
    assert volumes["labels"].volume_change_percent == pytest.approx(0, abs=1e-9)
    assert volumes["labels"].mean == pytest.approx((np.log(1.5) + np.log(0.5)) / 2)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 1.0, 2.0)])
@pytest.mark.parametrize("radii", [(14.0, 18.0), (17.0, 11.0)])
def test_spheres_about_one_centre_lie_the_difference_of_their_radii_apart(spacing, radii):
    shape = np.ceil(2 * (max(radii) + 3) / np.array(spacing)).astype(int)
    centre = (shape - 1) / 2
    radius = np.linalg.norm((np.moveaxis(np.indices(shape), 0, -1) - centre) * spacing, axis=-1)
    first, second = ((radius <= r).astype(np.int16) * 4 for r in radii)
    (measured,) = surface_distances_by_label(first, second, spacing).values()
    step = max(spacing)
    assert measured["mean_mm"] == pytest.approx(abs(radii[0] - radii[1]), abs=0.25 * step)
    assert abs(radii[0] - radii[1]) - 0.25 * step <= measured["hd95_mm"] <= abs(radii[0] - radii[1]) + step


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shifted_box(axis):
    """Two of six faces move by the shift, and the strips beside them by half of it."""
    spacing, size, shift = np.full(3, 1.5), np.array([30, 35, 31]), 4
    measured = shifted_box(axis, spacing, size, shift)
    distance, lengths = shift * spacing[axis], size * spacing
    assert measured["hd95_mm"] == pytest.approx(distance, rel=1e-6)
    across = np.delete(lengths, axis)
    area = 2 * (across.prod() + lengths[axis] * across.sum())
    mean = (2 * across.prod() * distance + 2 * across.sum() * distance * distance / 2) / area
    assert measured["mean_mm"] == pytest.approx(mean, rel=0.12)  # voxels have a size


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shifted_box_of_flat_voxels(axis):
    spacing = np.array([1.5, 1.0, 2.0])
    assert shifted_box(axis, spacing, (20, 22, 16), 2)["hd95_mm"] == pytest.approx(2 * spacing[axis], rel=1e-6)


def shifted_box(axis, spacing, size, shift):
    """The surface distances of a box and the same box some voxels further along an axis."""
    boxes = np.zeros((2, 44, 45, 46), np.uint8)
    for box, offset in zip(boxes, (0, shift), strict=True):
        start = np.full(3, 6)
        start[axis] += offset
        box[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = 9
    (measured,) = surface_distances_by_label(*boxes, spacing).values()
    return measured


def test_surface_distances_are_those_of_the_nearest_surface_voxels(rng):
    """Against SciPy's tree of points, on random blobs that touch the border."""
    blobs = ndimage.gaussian_filter(rng.standard_normal((2, 13, 16, 11)), (0, 2, 2, 2)) > 0
    spacing = np.array([0.7, 1.1, 2.4])
    (measured,) = surface_distances_by_label(*blobs.astype(np.int32) * 3, spacing).values()
    surfaces = []
    for blob in blobs:
        neighbours = [np.roll(np.pad(blob, 1), step, axis)[1:-1, 1:-1, 1:-1] for axis in range(3) for step in (-1, 1)]
        surfaces.append(np.argwhere(blob & ~np.all(neighbours, axis=0)) * spacing)
    directed = [cKDTree(b).query(a)[0] for a, b in (surfaces, surfaces[::-1])]
    assert measured["mean_mm"] == pytest.approx(max(d.mean() for d in directed))
    assert measured["hd95_mm"] == pytest.approx(max(np.percentile(d, 95, method="lower") for d in directed))


def test_equal_labels_touch_and_a_label_of_one_side_only_is_as_far_as_the_image_allows(rng):
    labels = ndimage.zoom(rng.integers(0, 3, (4, 5, 6)), 3, order=0)
    measured = surface_distances_by_label(labels, labels, (1, 2, 3))
    assert measured == {label: {"hd95_mm": 0.0, "mean_mm": 0.0} for label in (1, 2)}
    corner_to_corner = np.sqrt((11 * 1) ** 2 + (14 * 2) ** 2 + (17 * 3) ** 2)
    for sides in ((labels, np.where(labels == 1, 1, 0)), (np.where(labels == 1, 1, 0), labels)):
        measured = surface_distances_by_label(*sides, (1, 2, 3))
        assert measured[1] == {"hd95_mm": 0.0, "mean_mm": 0.0}
        assert measured[2] == pytest.approx({"hd95_mm": corner_to_corner, "mean_mm": corner_to_corner})


def balls(*centres, shape=(30, 28, 26)):
    """Labels 1, 2, ..., each a ball of radius 3; None leaves one out."""
    places, labels = np.stack(np.indices(shape), axis=-1), np.zeros(shape, np.uint8)
    for label, centre in enumerate(centres, 1):
        if centre is not None:
            labels[np.linalg.norm(places - centre, axis=-1) <= 3] = label
    return labels


@pytest.mark.parametrize("lost", ["in the moving image", "in warping", "in the fixed image"])
def test_a_lost_structure_is_never_an_improvement(rng, lost):
    """However far off a structure lies, losing it is worse, for every mean; and what is lost is named."""
    image = Volume(rng.random((30, 28, 26)).astype(np.float32), np.diag([2.0, 1.5, 3, 1]))
    fixed, far = balls((15, 14, 13), (4, 4, 4)), balls((16, 14, 13), (25, 23, 21))
    displacement_mm = np.zeros((*image.shape, 3), np.float32)

    def quality(fixed, moving):
        volumes = [Volume(array, image.affine) for array in (fixed, moving)]
        return displacement_quality(ImagePair(image, image, *volumes), displacement_mm)[0]

    off = quality(fixed, far)
    assert off.lost_labels == ()
    if lost == "in the fixed image":
        measured = quality(balls((15, 14, 13), None), far)
    elif lost == "in the moving image":
        measured = quality(fixed, balls((16, 14, 13), None))
    else:
        displacement_mm[fixed == 2] = (500, 0, 0)  # label 2 is read outside the moving image,
        displacement_mm[far == 2] = (500, 0, 0)  # wherever it lies
        measured = quality(fixed, far)
    assert measured.lost_labels == ("2",)
    assert measured.labels["2"].dice == 0
    assert set(measured.labels) == {"1", "2"}
    assert measured.mean_dice == pytest.approx(measured.labels["1"].dice / 2)
    assert measured.mean_hd95_mm > off.mean_hd95_mm
    assert measured.mean_surface_mm > off.mean_surface_mm
    stages = agreement(
        ImagePair(image, image, Volume(fixed, image.affine), Volume(balls((16, 14, 13), None), image.affine)),
        np.eye(4),
        Transform.identity(image.lattice),
        np.zeros((*image.shape, 3), np.float32),
    ).metrics
    assert all(stage.lost_labels == ("2",) for _, stage in stages)


def test_segmentations_without_labels_have_no_mean(rng):
    image = Volume(rng.random((6, 7, 8)).astype(np.float32), np.eye(4))
    empty = Volume(np.zeros((6, 7, 8), np.uint8), np.eye(4))
    stages = agreement(
        ImagePair(image, image, empty, empty), np.eye(4), Transform.identity(image.lattice), np.zeros((6, 7, 8, 3))
    ).metrics
    assert stages.after.mean_dice is None
    assert stages.after.lost_labels == ()
