"""What a registration finds, and the folder that holds it."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from tfreg.io.formats import write_volume
from tfreg.io.itk_transforms import write_composite, write_displacement, write_linear
from tfreg.io.result_folder import Kind
from tfreg.io.transform_archive import save_transform
from tfreg.registration.agreement import Agreement
from tfreg.registration.views import VIEWS, save_views
from tfreg.report.drawing import optional_picture
from tfreg.transforms.jacobian import volume_change_percent
from tfreg.transforms.transform import Transform
from tfreg.volumes.padding import filled
from tfreg.volumes.volume import Volume

REPORT, PICTURE = "report.json", "report.png"
REGISTRATION = Kind(
    "a registration",
    REPORT,
    (
        r"(warped|(inverse_)?displacement|jacobian|volume_change)\.nii\.gz",
        r"linear\.tfm|transform\.(h5|npz)|views\.npz|report\.(png|html)",
    ),
)


@dataclass(eq=False)
class Registration:
    """The result of a registration.

    Args:
        transform: The `Transform`, fixed world to moving world.
        displacement_mm: `(i, j, k, 3)` float32 on the fixed lattice, RAS+ mm, the whole transform.
        warped: The moving image on the fixed lattice, a `Volume`.
        log_jacobian: `(i, j, k)` float32 on the fixed lattice.
        report: What report.json says, a dictionary.
        seen: The `Agreement`, for the pictures.
    """

    transform: Transform
    displacement_mm: np.ndarray
    warped: Volume
    log_jacobian: np.ndarray
    report: dict
    seen: Agreement


def write_result(folder, result, fixed, moving, started, fixed_labels=None):
    """Writes a registration's files.

    Args:
        folder: Their folder, a `Path`, made if it is not there.
        result: A `Registration`.
        fixed, moving: The image `Volume`s.
        started: `time.perf_counter()` at the start, for the total time in report.json.
        fixed_labels: The fixed image's segmentation, a `Volume`, or None.
    """
    transform, displacement_mm = result.transform, result.displacement_mm
    frames = (fixed.frame, moving.frame)
    folder.mkdir(exist_ok=True)
    with ThreadPoolExecutor() as pool:
        # Compression leaves Python's lock: files are written while the inverse and the picture are made.
        files = [
            pool.submit(write, folder / name, *content)
            for name, write, *content in (
                ("displacement.nii.gz", write_displacement, displacement_mm, fixed.affine, fixed.frame),
                ("transform.npz", save_transform, transform, fixed.lattice, moving.lattice, frames),
                ("transform.h5", write_composite, displacement_mm, fixed.affine),
                ("warped.nii.gz", write_volume, Volume(result.warped.array, fixed.affine, frame=fixed.frame)),
                ("jacobian.nii.gz", write_volume, Volume(result.log_jacobian, fixed.affine, frame=fixed.frame)),
                ("linear.tfm", write_linear, transform.linear_world),
            )
        ]
        if fixed_labels is not None:
            change = volume_change_percent(result.log_jacobian, fixed_labels.array)
            change = Volume(change, fixed.affine, frame=fixed.frame)
            files.append(pool.submit(write_volume, folder / "volume_change.nii.gz", change))
        residual = pool.submit(_write_inverse, folder / "inverse_displacement.nii.gz", transform, moving)
        before, after = result.seen.seen_before, result.seen.seen_after
        shown = Volume(filled(fixed.array)[0], fixed.affine)
        files.append(pool.submit(save_views, folder / VIEWS, shown, before, after, fixed_labels))
        with optional_picture(folder / PICTURE, result.report["warnings"].append):
            from tfreg.report.registration_figure import registration_figure

            figure = registration_figure(shown, before, after, displacement_mm)
            figure.savefig(folder / PICTURE, dpi=110)
        for file in files:
            file.result()
        if residual.result() is not None:
            result.report["inverse_residual_voxels"] = residual.result()
        result.report["seconds"]["total"] = round(time.perf_counter() - started, 3)
        (folder / REPORT).write_text(json.dumps(without_nan(result.report), indent=2) + "\n", encoding="utf-8")


def _write_inverse(file, transform, moving):
    """Writes the inverse displacement on the moving grid; gives its residual where the inverse is not exact."""
    inverse = transform.inverse()
    inverse_mm = inverse.displacement_mm(moving.lattice)
    write_displacement(file, inverse_mm, moving.affine, moving.frame)
    if transform.deformation is None or transform.deformation.integration == "composed":
        return None
    places = moving.lattice.points()
    residual = inverse.residual_voxels(places, places + inverse_mm)
    return {"mean": float(residual.mean()), "max": float(residual.max())}


def without_nan(value):
    """What JSON can hold of nested dictionaries and lists: numbers that are not finite become None."""
    if isinstance(value, dict):
        return {key: without_nan(part) for key, part in value.items()}
    if isinstance(value, list):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
