"""What a classifier sees of a deformation."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tfreg.config import ResidualGrid
from tfreg.errors import UserError
from tfreg.preprocessing.network_grid import network_grid
from tfreg.registration.cohort import Registered
from tfreg.transforms.jacobian import log_jacobian
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

METRICS = ("mean", "sd")


@dataclass(frozen=True, eq=False)
class Deformations:
    """What classifiers see of many subjects.

    Args:
        inputs: Kind, "displacement" or "log_jacobian", to `(n, i, j, k, channels)` float32.
        features: `(n, features)`, see `jacobian_features`.
        names: What the features are called.
    """

    inputs: dict[str, np.ndarray]
    features: np.ndarray
    names: tuple[str, ...]

    def subset(self, chosen: np.ndarray) -> "Deformations":
        """Those subjects for whom `chosen` `(n,)` is True."""
        inputs = {kind: array[chosen] for kind, array in self.inputs.items()}
        return Deformations(inputs, self.features[chosen], self.names)


def deformations_of(
    registered: Sequence[Registered], kinds: Iterable[str], grid: ResidualGrid, names: Sequence[str] | None = None
) -> Deformations:
    """The residual deformations of many subjects on lattices of one shape, and the regression's features.

    Args:
        registered: Subjects whose registration succeeded.
        kinds: "displacement" or "log_jacobian" or both.
        grid: Of all lattices.
        names: The features wanted; None takes those of all labels that occur.

    Returns:
        What classifiers see.

    Raises:
        UserError: If the lattice is to be centred on labels and a subject has none.
    """
    residuals = [_on_grid(subject, grid) for subject in registered]
    inputs = {kind: np.stack([INPUTS[kind](*residual) for residual in residuals]) for kind in kinds}
    return Deformations(inputs, *jacobian_features(registered, names))


def residual_displacement(residual_mm: np.ndarray, lattice: Lattice) -> np.ndarray:
    """The paper's G - G_I: a residual in voxels along a lattice's own axes, however the scanner stood.

    Args:
        residual_mm: `(i, j, k, 3)`, RAS+ mm.
        lattice: Of the residual.

    Returns:
        `(i, j, k, 3)` float32.

    Reference:
        Christodoulidis et al. 2018, section 3.3.
    """
    return (residual_mm @ np.linalg.inv(lattice.affine[:3, :3]).T).astype(np.float32)


def residual_log_jacobian(residual_mm: np.ndarray, lattice: Lattice) -> np.ndarray:
    """The log Jacobian of a residual, `(i, j, k, 1)` float32; arguments as in `residual_displacement`."""
    return log_jacobian(residual_mm, lattice.affine)[..., None]


def residual_mm(transform: Transform, initial: np.ndarray, lattice: Lattice) -> np.ndarray:
    """What a transform adds to the initial alignment, which tells of the scanner and not of the person.

    Args:
        transform: Fixed to moving world.
        initial: `(4, 4)`, the initial alignment, fixed world to moving world.
        lattice: In fixed world coordinates.

    Returns:
        `(i, j, k, 3)` float64, fixed world RAS+ mm: initial⁻¹(T(p)) - p.
    """
    points = lattice.points()
    back = np.linalg.inv(initial)
    return transform(points) @ back[:3, :3].T + back[:3, 3] - points


def jacobian_features(
    registered: Sequence[Registered], names: Sequence[str] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The metrics that a regression is given: mean and SD of the log Jacobian inside each label.

    Args:
        registered: Subjects whose registration succeeded.
        names: The features wanted, such as "2 sd"; None takes those of all labels that occur, or of the whole field
            of view where there are no labels.

    Returns:
        `(n, features)` float64, NaN where a subject lacks a label, and the features' names.
    """
    changes = [subject.record.log_jacobian for subject in registered]
    if names is None:
        regions = sorted({region for one in changes for region in one} - {"all", "labels"}) or ["all"]
        names = [f"{region} {metric}" for region in regions for metric in METRICS]
    rows = [[_metric(one, *name.split()) for name in names] for one in changes]
    return np.array(rows, np.float64), tuple(names)


def _metric(changes, region, metric):
    """A metric of one region, NaN where a subject lacks the region."""
    return getattr(changes[region], metric) if region in changes else np.nan


INPUTS = {"displacement": residual_displacement, "log_jacobian": residual_log_jacobian}


def _on_grid(subject, grid):
    """A subject's residual in mm on its lattice of the common shape, and that lattice."""
    transform, fixed = subject.transform()
    lattice = network_grid(fixed, grid.orientation, grid.spacing, grid.shape)
    if grid.centre == "labels":
        centre = subject.record.labels_centre
        if centre is None:
            raise UserError(f"{subject.subject}: has no labels; set grid.centre=image, or give labels of both phases")
        affine = np.array(lattice.affine)
        affine[:3, 3] += np.array(centre) - lattice.centre_world
        lattice = Lattice(lattice.shape, affine)
    return residual_mm(transform, np.array(subject.record.initial), lattice), lattice
