"""`Registration`: the result of a registration, and the folder that holds it."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tfreg.io.folders.result_folder import Kind
from tfreg.io.formats import write_volume
from tfreg.io.itk_transforms import write_composite, write_displacement, write_linear
from tfreg.io.transform_archive import save_transform
from tfreg.registration.agreement import Agreement
from tfreg.registration.expected_error import ExpectedError
from tfreg.registration.image_pair import ImagePair
from tfreg.registration.registration_report import RegistrationReport, Residual
from tfreg.registration.views import VIEWS, save_views
from tfreg.report.drawing import optional_picture
from tfreg.runtime.threads import in_context, thread_count
from tfreg.transforms.jacobian import volume_change_percent
from tfreg.transforms.transform import Transform
from tfreg.volumes.padding import filled
from tfreg.volumes.volume import Volume

REPORT, PICTURE = "report.json", "report.png"
REGISTRATION = Kind(
    "a registration",
    REPORT,
    (
        r"(warped|(inverse_)?displacement|jacobian|volume_change|expected_error)\.nii\.gz",
        r"linear\.tfm|transform\.(h5|npz)|views\.npz|report\.(png|html)",
    ),
)


@dataclass(eq=False)
class Registration:
    """The result of a registration.

    Args:
        pair: The `ImagePair`.
        transform: The `Transform`, fixed world to moving world.
        displacement_mm: `(i, j, k, 3)` float32 on the fixed lattice, RAS+ mm, the whole transform.
        log_jacobian: `(i, j, k)` float32 on the fixed lattice.
        stages: What the three stages of the pair show, an `Agreement`.
        report: What report.json says.
        expected_error: How far from the truth a network expects its transform to be, an `ExpectedError`, or None.

    Example:
        >>> registration = tfreg.register("exhale.nii.gz", "inhale.nii.gz", model="run")
        >>> registration.displacement_mm.shape, registration.log_jacobian.shape
        ((17, 16, 18, 3), (17, 16, 18))
        >>> registration.save("registered")
        >>> transform, fixed, moving = tfreg.load_transform("registered")
    """

    pair: ImagePair
    transform: Transform
    displacement_mm: np.ndarray
    log_jacobian: np.ndarray
    stages: Agreement
    report: RegistrationReport
    expected_error: ExpectedError | None = None

    @property
    def warped(self) -> Volume:
        """The moving image on the fixed lattice, a `Volume`."""
        return self.stages.warped

    @cached_property
    def expected_error_mm(self) -> np.ndarray | None:
        """`expected_error` on the fixed lattice, `(i, j, k)` float32, or None."""
        return None if self.expected_error is None else self.expected_error.on(self.pair.fixed.lattice)

    def save(self, folder: str | Path, started: float | None = None) -> None:
        """Writes the registration's files.

        Args:
            folder: Their folder, made if it is not there.
            started: `time.perf_counter()` at the start, for the total time in report.json, or None.
        """
        folder = Path(folder)
        folder.mkdir(exist_ok=True)
        fixed, moving, fixed_labels = self.pair.fixed, self.pair.moving, self.pair.fixed_labels
        warnings: list[str] = []
        with ThreadPoolExecutor(thread_count()) as pool:
            # Compression leaves Python's lock: files are written while the inverse and the picture are made.
            files = [pool.submit(in_context(write), folder / name, *content) for name, write, *content in self._files()]
            residual = pool.submit(
                in_context(_write_inverse), folder / "inverse_displacement.nii.gz", self.transform, moving
            )
            before, after = self.stages.seen_before, self.stages.seen_after
            filled_fixed = Volume(filled(fixed.array)[0], fixed.affine)
            files.append(pool.submit(in_context(save_views), folder / VIEWS, filled_fixed, before, after, fixed_labels))
            with optional_picture(folder / PICTURE, warnings.append):
                from tfreg.report.registration_figure import registration_figure

                figure = registration_figure(filled_fixed, before, after, self.displacement_mm)
                figure.savefig(folder / PICTURE, dpi=110)
            for file in files:
                file.result()
            seconds = self.report.seconds
            if started is not None:
                seconds = seconds | {"total": round(time.perf_counter() - started, 3)}
            self.report = self.report.changed(
                inverse_residual_voxels=residual.result(),
                seconds=seconds,
                warnings=(*self.report.warnings, *warnings),
            )
            (folder / REPORT).write_text(self.report.text(), encoding="utf-8")

    def _files(self):
        """What is written side by side: each file's name, the function that writes it, and what it is given."""
        fixed, moving = self.pair.fixed, self.pair.moving
        frames = (fixed.frame, moving.frame)
        yield "displacement.nii.gz", write_displacement, self.displacement_mm, fixed.affine, fixed.frame
        yield "transform.npz", save_transform, self.transform, fixed.lattice, moving.lattice, frames
        yield "transform.h5", write_composite, self.displacement_mm, fixed.affine
        yield "warped.nii.gz", write_volume, Volume(self.warped.array, fixed.affine, frame=fixed.frame)
        yield "jacobian.nii.gz", write_volume, Volume(self.log_jacobian, fixed.affine, frame=fixed.frame)
        yield "linear.tfm", write_linear, self.transform.linear_world
        if self.expected_error_mm is not None:
            expected = Volume(self.expected_error_mm, fixed.affine, frame=fixed.frame)
            yield "expected_error.nii.gz", write_volume, expected
        if self.pair.fixed_labels is not None:
            change = volume_change_percent(self.log_jacobian, self.pair.fixed_labels.array)
            yield "volume_change.nii.gz", write_volume, Volume(change, fixed.affine, frame=fixed.frame)


def _write_inverse(file, transform, moving):
    """Writes the inverse displacement on the moving grid; gives its residual where the inverse is not exact."""
    inverse = transform.inverse()
    inverse_mm = inverse.displacement_mm(moving.lattice)
    write_displacement(file, inverse_mm, moving.affine, moving.frame)
    if transform.deformation is None or transform.deformation.is_exactly_invertible:
        return None
    places = moving.lattice.points()
    residual = inverse.residual_voxels(places, places + inverse_mm)
    return Residual(mean=float(residual.mean()), max=float(residual.max()))
