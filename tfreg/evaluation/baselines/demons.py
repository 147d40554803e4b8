"""Demons, by SimpleITK."""

import time

import numpy as np

from tfreg.io.itk_images import to_itk
from tfreg.io.itk_transforms import from_itk_displacement

# Demons from coarse to fine; the smoothing of the displacement is in voxels.
DEMONS_SHRINK = (4, 2, 1)
DEMONS_ITERATIONS = 50
DEMONS_SIGMA = 1.5


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
    return from_itk_displacement(converter.Execute(whole)), seconds


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
