"""elastix, by its Python package."""

import tempfile
import time

import numpy as np

from tfreg.io.itk_images import itk_place
from tfreg.io.itk_transforms import to_ras

ELASTIX_LEVELS = 3


def elastix(fixed, moving, init, threads):
    """elastix: its default affine and B-spline parameter maps over three levels, started from `init`."""
    import itk

    images = []
    for volume in (fixed, moving):
        image = itk.image_from_array(np.ascontiguousarray(volume.array.T))
        origin, spacing, direction = itk_place(volume.affine)
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
    return to_ras(itk.array_from_image(whole).transpose(2, 1, 0, 3)), seconds
