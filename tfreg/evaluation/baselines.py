"""Classical registration tools, each to a displacement in mm on the fixed image's lattice.

They are packages of the extra `bench`, imported when asked for. Every function takes the fixed and the moving `Volume`,
`init` ("header", "centre" or "moments", where the registration starts) and the number of threads, and returns the
displacement, `(i, j, k, 3)` float32 RAS+ mm, and the seconds from volumes in memory to the tool's own result: turning
that into one displacement is not counted.
"""

import functools
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfreg.io.itk_images import LPS_TO_RAS, to_itk
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.resampling import sample
from tfreg.volumes.volume import Volume

# From this ratio of its spacings on a stack is too thin for greedy's pyramid, and resampled to cubes.
THIN = 3.0

ELASTIX_LEVELS = 3

# Demons from coarse to fine; the smoothing of the displacement is in voxels.
DEMONS_SHRINK = (4, 2, 1)
DEMONS_ITERATIONS = 50
DEMONS_SIGMA = 1.5


def greedy(fixed, moving, init, threads, radius):
    """greedy: affine, then deformable, both with local NCC; thin stacks on cubes, as large as the voxels."""
    from picsl_greedy import Greedy3D

    started = time.perf_counter()
    images = {"fix": fixed, "mov": moving}
    if fixed.spacing.max() >= THIN * fixed.spacing.min():
        cubes_mm = float(np.cbrt(fixed.spacing.prod()))
        images = {name: on_cubes(volume, cubes_mm) for name, volume in images.items()}
    images = {name: to_itk(volume.array, volume.affine) for name, volume in images.items()}
    tool = Greedy3D()
    affine, deformable = greedy_commands("fix", "mov", "aff", "warp", radius, init, threads)
    tool.execute(affine, **images, aff=None)
    tool.execute(deformable, warp=None)
    seconds = time.perf_counter() - started
    lattice = to_itk(fixed.array, fixed.affine)
    tool.execute("-V 0 -rf lattice -wp 0 -r warp aff -rc whole", lattice=lattice, whole=None)
    return _from_sitk(tool["whole"]), seconds


def greedy_commands(fixed, moving, affine, warp, radius, init, threads):
    """greedy's command lines for the affine and for the deformable part.

    Args:
        fixed, moving: Names of the images to read, or their files.
        affine, warp: Names of the results to write, or their files.
        radius: Of the local NCC, voxels.
        init: "header", or anything else to start from the centres.
        threads: How many.

    Returns:
        Two strings.
    """
    start = "-ia-identity" if init == "header" else "-ia-image-centers"
    # -wp 0: greedy would round the warp to tenths of a voxel, and that folds.
    common = f"-V 0 -threads {threads} -m NCC {radius}x{radius}x{radius} -i {fixed} {moving} -n 100x50x10 -wp 0"
    return f"{common} -a -dof 12 {start} -o {affine}", f"{common} -it {affine} -o {warp}"


def on_cubes(volume, side_mm):
    """The volume on cubes that cover its field of view, its border's values repeated."""
    step = side_mm / volume.spacing
    affine = np.array(volume.affine)
    affine[:3, :3] *= step
    affine[:3, 3] = volume.lattice.to_world((step - 1) / 2)
    lattice = Lattice(np.ceil(volume.shape / step - 1e-6).astype(int), affine)
    points = np.clip(volume.lattice.to_voxel(lattice.points()), 0, np.array(volume.shape) - 1)
    return Volume(sample(volume.array, points), affine)


def syn(fixed, moving, init, threads):
    """ANTs: `ants.registration` as it comes, which starts from the centres of mass."""
    import ants

    images = [ants.from_numpy(volume.array, *_itk_place(volume)) for volume in (fixed, moving)]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        result = ants.registration(*images, "SyN", outprefix=os.path.join(folder, ""))
        seconds = time.perf_counter() - started
        file = ants.apply_transforms(*images, result["fwdtransforms"], compose=os.path.join(folder, "whole"))
        return _to_ras(ants.image_read(file).numpy()), seconds


def elastix(fixed, moving, init, threads):
    """elastix: its default affine and B-spline parameter maps over three levels, started from `init`."""
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
    if init != "header":
        affine["AutomaticTransformInitialization"] = ["true"]
        method = "CenterOfGravity" if init == "moments" else "GeometricalCenter"
        affine["AutomaticTransformInitializationMethod"] = [method]
    maps.AddParameterMap(affine)
    maps.AddParameterMap(bspline)
    started = time.perf_counter()
    # Not number_of_threads=2, which crashes (ITKElastix issue 160): the environment limits ITK's threads.
    _, result = itk.elastix_registration_method(*images, parameter_object=maps, log_to_console=False)
    seconds = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:  # which it fills, wanted or not
        whole = itk.transformix_deformation_field(images[1], result, output_directory=folder)
    return _to_ras(itk.array_from_image(whole).transpose(2, 1, 0, 3)), seconds


def demons(fixed, moving, init, threads):
    """SimpleITK: rigid and affine by mutual information, then diffeomorphic demons on matched histograms."""
    import SimpleITK as sitk

    fixed_image, moving_image = (to_itk(volume.array, volume.affine) for volume in (fixed, moving))
    started = time.perf_counter()
    linear = _linear_by_mutual_information(fixed_image, moving_image, init)
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
    return _from_sitk(converter.Execute(whole)), seconds


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


def _itk_place(volume):
    """Origin, spacing and direction of a volume in ITK's LPS+ mm."""
    affine = LPS_TO_RAS @ volume.affine
    return affine[:3, 3].tolist(), volume.spacing.tolist(), affine[:3, :3] / volume.spacing


def read_displacement(file: Path) -> np.ndarray:
    """The displacement `(i, j, k, 3)`, RAS+ mm, in a file that a tool of ITK wrote."""
    import SimpleITK as sitk

    return _from_sitk(sitk.ReadImage(str(file)))


def _from_sitk(image):
    """The displacement `(i, j, k, 3)` of a SimpleITK vector image, RAS+ mm."""
    import SimpleITK as sitk

    return _to_ras(sitk.GetArrayViewFromImage(image).transpose(2, 1, 0, 3))


def _to_ras(displacement_lps):
    """`(i, j, k, 3)` float32, RAS+ mm."""
    return np.ascontiguousarray(displacement_lps * np.array([-1, -1, 1]), np.float32)


@dataclass(frozen=True)
class Baseline:
    """A tool with its settings.

    Args:
        register: One of this module's functions, called with fixed, moving, init and threads.
        module: What it imports.
        package: What installs that.
        settings: One line for people.
    """

    register: Any
    module: str
    package: str
    settings: str


BASELINES = {
    "greedy": Baseline(
        functools.partial(greedy, radius=2),
        "picsl_greedy",
        "picsl_greedy",
        "affine, then deformable, local NCC of radius 2, 100x50x10 steps, warps not rounded",
    ),
    "greedy_r4": Baseline(
        functools.partial(greedy, radius=4), "picsl_greedy", "picsl_greedy", "greedy with local NCC of radius 4"
    ),
    "syn": Baseline(syn, "ants", "antspyx", "`ants.registration(fixed, moving, 'SyN')`, from the centres of mass"),
    "elastix": Baseline(
        elastix,
        "itk",
        "itk-elastix",
        "its default affine and B-spline maps over three levels; control points 10 mm apart, or five voxels",
    ),
    "demons": Baseline(
        demons,
        "SimpleITK",
        "SimpleITK",
        "SimpleITK's rigid and affine registration by mutual information, then diffeomorphic demons over three levels "
        "of 50 steps on matched histograms",
    ),
}
