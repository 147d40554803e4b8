"""ANTs, by its Python package."""

import os
import tempfile
import time

from tfreg.io.itk_images import itk_place
from tfreg.io.itk_transforms import to_ras


def syn(fixed, moving, init, threads):
    """ANTs: `ants.registration` as it comes, which starts from the centres of mass."""
    import ants

    images = [ants.from_numpy(volume.array, *itk_place(volume.affine)) for volume in (fixed, moving)]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        result = ants.registration(*images, "SyN", outprefix=os.path.join(folder, ""))
        seconds = time.perf_counter() - started
        file = ants.apply_transforms(*images, result["fwdtransforms"], compose=os.path.join(folder, "whole"))
        return to_ras(ants.image_read(file).numpy()), seconds
