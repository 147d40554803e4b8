"""Registration by tfreg and by its peers, each to a displacement in mm on the fixed image's lattice.

Every method takes the fixed and the moving `Volume` and the `DataSet`, and returns a `Found`. The clock runs
from volumes in memory to the tool's own result; turning that into one displacement is not counted.
"""

import functools
import os
import tempfile
import time
from dataclasses import dataclass, field

import numpy as np

from tfreg.transforms.transform import Transform
from tfreg.volumes.initial_alignment import initial_alignment
from tfreg.volumes.itk_images import LPS_TO_RAS, to_itk
from tfreg.volumes.resampling import sample
from tfreg.volumes.volume import Lattice, Volume

THREADS = 2

ELASTIX_LEVELS = 3

# Demons from coarse to fine; the smoothing of the displacement is in voxels.
DEMONS_SHRINK = (4, 2, 1)
DEMONS_ITERATIONS = 50
DEMONS_SIGMA = 1.5


@dataclass(eq=False)
class Found:
    """What a method finds for a pair.

    Args:
        displacement_mm: `(i, j, k, 3)` float32 on the fixed lattice, RAS+ mm: the whole transform.
        seconds: What the registration took.
        certificate: tfreg's own, a dictionary; empty for the others.
        transform: tfreg's own `Transform`, None for the others.
    """

    displacement_mm: np.ndarray
    seconds: float
    certificate: dict = field(default_factory=dict)
    transform: Transform | None = None


def headers(fixed, moving, data_set):
    """No registration."""
    return Found(np.zeros((*fixed.shape, 3), np.float32), 0.0)


def initial(fixed, moving, data_set):
    """The initial alignment alone."""
    started = time.perf_counter()
    init = initial_alignment(data_set.init, fixed, moving)
    seconds = time.perf_counter() - started
    return Found(Transform.identity(fixed.lattice, init).displacement_mm(fixed.lattice), seconds)


def greedy(fixed, moving, data_set, radius):
    """greedy: affine, then deformable, both with local NCC."""
    from picsl_greedy import Greedy3D

    started = time.perf_counter()
    images = {"fix": fixed, "mov": moving}
    if data_set.cubes_mm:
        images = {name: on_cubes(volume, data_set.cubes_mm) for name, volume in images.items()}
    images = {name: to_itk(volume.array, volume.affine) for name, volume in images.items()}
    tool = Greedy3D()
    affine, deformable = greedy_commands("fix", "mov", "aff", "warp", radius, data_set.init)
    tool.execute(affine, **images, aff=None)
    tool.execute(deformable, warp=None)
    seconds = time.perf_counter() - started
    lattice = to_itk(fixed.array, fixed.affine)
    tool.execute("-V 0 -rf lattice -wp 0 -r warp aff -rc whole", lattice=lattice, whole=None)
    return Found(_from_sitk(tool["whole"]), seconds)


def greedy_commands(fixed, moving, affine, warp, radius, init):
    """greedy's command lines for the affine and for the deformable part.

    Args:
        fixed, moving: Names of the images to read, or their files.
        affine, warp: Names of the results to write, or their files.
        radius: Of the local NCC, voxels.
        init: "header", or anything else to start from the centres.

    Returns:
        Two strings.
    """
    start = "-ia-identity" if init == "header" else "-ia-image-centers"
    # -wp 0: greedy would round the warp to tenths of a voxel, and that folds.
    common = f"-V 0 -threads {THREADS} -m NCC {radius}x{radius}x{radius} -i {fixed} {moving} -n 100x50x10 -wp 0"
    return f"{common} -a -dof 12 {start} -o {affine}", f"{common} -it {affine} -o {warp}"


def greedy_file_commands(fixed, moving, folder, radius, init):
    """The command lines that take greedy from two image files to affine, warp and warped image in a folder."""
    affine, warp, warped = (folder / name for name in ("affine.mat", "warp.nii.gz", "warped.nii.gz"))
    reslice = f"-V 0 -threads {THREADS} -rf {fixed} -rm {moving} {warped} -r {warp} {affine}"
    return [*greedy_commands(fixed, moving, affine, warp, radius, init), reslice]


def on_cubes(volume, side_mm):
    """The volume on cubes that cover its field of view, its border's values repeated."""
    step = side_mm / volume.spacing
    affine = np.array(volume.affine)
    affine[:3, :3] *= step
    affine[:3, 3] = volume.lattice.to_world((step - 1) / 2)
    lattice = Lattice(np.ceil(volume.shape / step - 1e-6).astype(int), affine)
    points = np.clip(volume.lattice.to_voxel(lattice.points()), 0, np.array(volume.shape) - 1)
    return Volume(sample(volume.array, points), affine)


def syn(fixed, moving, data_set):
    """ANTs: `ants.registration` as it comes, which starts from the centres of mass."""
    import ants

    images = [ants.from_numpy(volume.array, *_itk_place(volume)) for volume in (fixed, moving)]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        result = ants.registration(*images, "SyN", outprefix=os.path.join(folder, ""))
        seconds = time.perf_counter() - started
        file = ants.apply_transforms(*images, result["fwdtransforms"], compose=os.path.join(folder, "whole"))
        return Found(_to_ras(ants.image_read(file).numpy()), seconds)


def elastix(fixed, moving, data_set):
    """elastix: its default affine and B-spline parameter maps over three levels, started from the data set's init."""
    import itk

    images = []
    for volume in (fixed, moving):
        image = itk.image_from_array(np.ascontiguousarray(volume.array.T))
        origin, spacing, direction = _itk_place(volume)
        image.SetOrigin(origin)
        image.SetSpacing(spacing)
        image.SetDirection(itk.matrix_from_array(direction))
        images.append(image)
    maps = itk.ParameterObject.New()
    affine = maps.GetDefaultParameterMap("affine", ELASTIX_LEVELS)
    # The default control points, 10 mm apart, fold a tenth of volumes with voxels of 4 mm.
    grid_mm = max(10.0, 5 * float(fixed.spacing.min()))
    bspline = maps.GetDefaultParameterMap("bspline", ELASTIX_LEVELS, grid_mm)
    if data_set.init != "header":
        affine["AutomaticTransformInitialization"] = ["true"]
        method = "CenterOfGravity" if data_set.init == "moments" else "GeometricalCenter"
        affine["AutomaticTransformInitializationMethod"] = [method]
    maps.AddParameterMap(affine)
    maps.AddParameterMap(bspline)
    started = time.perf_counter()
    # Not number_of_threads=2, which crashes (ITKElastix issue 160): the environment limits ITK's threads.
    _, found = itk.elastix_registration_method(*images, parameter_object=maps, log_to_console=False)
    seconds = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:  # which it fills, wanted or not
        whole = itk.transformix_deformation_field(images[1], found, output_directory=folder)
    return Found(_to_ras(itk.array_from_image(whole).transpose(2, 1, 0, 3)), seconds)


def demons(fixed, moving, data_set):
    """SimpleITK: rigid and affine by mutual information, then diffeomorphic demons on matched histograms."""
    import SimpleITK as sitk

    fixed_image, moving_image = (to_itk(volume.array, volume.affine) for volume in (fixed, moving))
    started = time.perf_counter()
    linear = _linear_by_mutual_information(fixed_image, moving_image, data_set.init)
    aligned = sitk.Resample(moving_image, fixed_image, linear, sitk.sitkLinear, float(moving.array.min()))
    aligned = sitk.HistogramMatching(aligned, fixed_image, 1024, 7, thresholdAtMeanIntensity=True)
    displacement = None
    for shrink in DEMONS_SHRINK:
        pair = [_shrunk(image, shrink) for image in (fixed_image, aligned)]
        tool = sitk.DiffeomorphicDemonsRegistrationFilter()
        tool.SetNumberOfIterations(DEMONS_ITERATIONS)
        tool.SetStandardDeviations(DEMONS_SIGMA)
        if displacement is None:
            displacement = tool.Execute(*pair)
        else:
            resampler = sitk.ResampleImageFilter()
            resampler.SetReferenceImage(pair[0])
            resampler.SetUseNearestNeighborExtrapolator(True)
            displacement = tool.Execute(*pair, resampler.Execute(displacement))
    seconds = time.perf_counter() - started
    converter = sitk.TransformToDisplacementFieldFilter()
    converter.SetReferenceImage(fixed_image)
    # A composite applies its last transform first.
    whole = sitk.CompositeTransform([linear, sitk.DisplacementFieldTransform(displacement)])
    return Found(_from_sitk(converter.Execute(whole)), seconds)


def _linear_by_mutual_information(fixed_image, moving_image, init):
    """The affine transform of two SimpleITK images: a rigid one first, both over three levels."""
    import SimpleITK as sitk

    rigid = sitk.Euler3DTransform()
    if init == "header":
        rigid.SetCenter(
            fixed_image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed_image.GetSize()])
        )
    else:
        kind = sitk.CenteredTransformInitializerFilter
        kind = kind.MOMENTS if init == "moments" else kind.GEOMETRY
        rigid = sitk.Euler3DTransform(sitk.CenteredTransformInitializer(fixed_image, moving_image, rigid, kind))
    for transform in (rigid, sitk.AffineTransform(3)):
        if transform is not rigid:
            transform.SetCenter(rigid.GetCenter())
            transform.SetMatrix(rigid.GetMatrix())
            transform.SetTranslation(rigid.GetTranslation())
        tool = sitk.ImageRegistrationMethod()
        tool.SetMetricAsMattesMutualInformation(32)
        tool.SetMetricSamplingStrategy(tool.REGULAR)
        tool.SetMetricSamplingPercentagePerLevel([1.0, 0.5, 0.1], seed=1)
        tool.SetInterpolator(sitk.sitkLinear)
        tool.SetOptimizerAsGradientDescent(1.0, 100, estimateLearningRate=tool.EachIteration)
        tool.SetOptimizerScalesFromPhysicalShift()
        tool.SetShrinkFactorsPerLevel([2, 2, 1])
        tool.SetSmoothingSigmasPerLevel([2, 1, 0])
        tool.SetInitialTransform(transform, inPlace=True)
        tool.Execute(fixed_image, moving_image)
    return transform


def _shrunk(image, factor):
    """A SimpleITK image, smoothed and coarsened along every axis that keeps eight voxels."""
    import SimpleITK as sitk

    factors = [factor if n >= 8 * factor else 1 for n in image.GetSize()]
    sigmas_mm = [(f > 1) * f / 2 * spacing for f, spacing in zip(factors, image.GetSpacing(), strict=True)]
    return sitk.Shrink(sitk.DiscreteGaussian(image, np.square(sigmas_mm).tolist()), factors) if factor > 1 else image


def tfreg(fixed, moving, data_set, preset):
    """tfreg: refinement from the identity, without a network."""
    from tfreg import register

    started = time.perf_counter()
    result = register(fixed, moving, refine=True, preset=preset, init=data_set.init)
    seconds = time.perf_counter() - started
    return Found(result.displacement_mm, seconds, result.report["certificate"], result.transform)


def _itk_place(volume):
    """Origin, spacing and direction of a volume in ITK's LPS+ mm."""
    affine = LPS_TO_RAS @ volume.affine
    return affine[:3, 3].tolist(), volume.spacing.tolist(), affine[:3, :3] / volume.spacing


def _from_sitk(image):
    """The displacement `(i, j, k, 3)` of a SimpleITK vector image, RAS+ mm."""
    import SimpleITK as sitk

    return _to_ras(sitk.GetArrayViewFromImage(image).transpose(2, 1, 0, 3))


def _to_ras(displacement_lps):
    """`(i, j, k, 3)` float32, RAS+ mm."""
    return np.ascontiguousarray(displacement_lps * np.array([-1, -1, 1]), np.float32)


METHODS = {
    "headers": headers,
    "initial": initial,
    "greedy_r4": functools.partial(greedy, radius=4),
    "greedy_r2": functools.partial(greedy, radius=2),
    "syn": syn,
    "elastix": elastix,
    "demons": demons,
    "tfreg_fast": functools.partial(tfreg, preset="fast"),
    "tfreg_quality": functools.partial(tfreg, preset="quality"),
}

# The package that a method needs besides tfreg.
PACKAGES = {
    "greedy_r4": "picsl_greedy",
    "greedy_r2": "picsl_greedy",
    "syn": "antspyx",
    "elastix": "itk-elastix",
    "demons": "SimpleITK",
}
