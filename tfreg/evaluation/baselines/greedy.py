"""greedy, by its Python package."""

import time

import numpy as np

from tfreg.io.itk_images import to_itk
from tfreg.io.itk_transforms import from_itk_displacement
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.resampling import sample
from tfreg.volumes.volume import Volume

# From this ratio of its spacings on a stack is too thin for greedy's pyramid, and resampled to cubes.
THIN = 3.0

# Iterations of its levels, each of which halves the voxels of the next.
ITERATIONS = "100x50x10"

# The voxels along an axis that its filters take at least; a level with fewer is left out.
FEWEST = 4


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
    fewest = min(min(image.GetSize()) for image in images.values())
    steps = ITERATIONS.split("x")
    levels = 1 + sum(fewest >> level >= FEWEST for level in range(1, len(steps)))
    iterations = "x".join(steps[:levels])
    affine, deformable = greedy_commands("fix", "mov", "aff", "warp", radius, init, threads, iterations)
    tool.execute(affine, **images, aff=None)
    tool.execute(deformable, warp=None)
    seconds = time.perf_counter() - started
    lattice = to_itk(fixed.array, fixed.affine)
    tool.execute("-V 0 -rf lattice -wp 0 -r warp aff -rc whole", lattice=lattice, whole=None)
    return from_itk_displacement(tool["whole"]), seconds


def greedy_commands(fixed, moving, affine, warp, radius, init, threads, iterations=ITERATIONS):
    """greedy's command lines for the affine and for the deformable part.

    Args:
        fixed, moving: Names of the images to read, or their files.
        affine, warp: Names of the results to write, or their files.
        radius: Of the local NCC, voxels.
        init: "header", or anything else to start from the centres.
        threads: How many.
        iterations: Of each level.

    Returns:
        Two strings.
    """
    start = "-ia-identity" if init == "header" else "-ia-image-centers"
    # -wp 0: greedy would round the warp to tenths of a voxel, and that folds.
    common = f"-V 0 -threads {threads} -m NCC {radius}x{radius}x{radius} -i {fixed} {moving} -n {iterations} -wp 0"
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
