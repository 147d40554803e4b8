"""What a classifier sees of a deformation."""

from dataclasses import dataclass

import numpy as np

from tfreg.errors import UserError
from tfreg.preprocessing.network_grid import network_grid
from tfreg.transforms.jacobian import log_jacobian
from tfreg.volumes.lattice import Lattice

FIGURES = ("mean", "sd")


@dataclass(frozen=True, eq=False)
class Deformations:
    """What classifiers see of many subjects.

    Args:
        inputs: Dictionary of kind, "displacement" or "log_jacobian", to `(n, i, j, k, channels)` float32.
        features: `(n, features)`, see `jacobian_features`.
        names: What the features are called.
    """

    inputs: dict
    features: np.ndarray
    names: tuple[str, ...]

    def subset(self, chosen):
        """Those subjects for whom `chosen` `(n,)` is True."""
        inputs = {kind: array[chosen] for kind, array in self.inputs.items()}
        return Deformations(inputs, self.features[chosen], self.names)


def deformations_of(registered, kinds, grid, names=None):
    """The residual deformations of many subjects on lattices of one shape, and the regression's features.

    Args:
        registered: List of `tfreg.registration.cohort.Registered`.
        kinds: "displacement" or "log_jacobian" or both.
        grid: A `tfreg.config.ResidualGrid`.
        names: The features wanted; None takes those of all labels that occur.

    Returns:
        A `Deformations`.

    Raises:
        UserError: If the lattice is to be centred on labels and a subject has none.
    """
    residuals = [_on_grid(subject, grid) for subject in registered]
    inputs = {kind: np.stack([MEASURES[kind](*residual) for residual in residuals]) for kind in kinds}
    return Deformations(inputs, *jacobian_features(registered, names))


def residual_displacement(residual_mm, lattice):
    """The paper's G - G_I: a residual in voxels along a lattice's own axes, whatever way the scanner stood.

    Args:
        residual_mm: `(i, j, k, 3)`, RAS+ mm.
        lattice: Its `Lattice`.

    Returns:
        `(i, j, k, 3)` float32.

    Reference:
        Christodoulidis et al. 2018, section 3.3.
    """
    return (residual_mm @ np.linalg.inv(lattice.affine[:3, :3]).T).astype(np.float32)


def residual_log_jacobian(residual_mm, lattice):
    """The log Jacobian of a residual, `(i, j, k, 1)` float32; arguments as in `residual_displacement`."""
    return log_jacobian(residual_mm, lattice.affine)[..., None]


def residual_mm(transform, initial, lattice):
    """What a transform adds to the initial alignment, which tells of the scanner and not of the person.

    Args:
        transform: A `Transform`, fixed to moving world.
        initial: `(4, 4)`, the initial alignment, fixed world to moving world.
        lattice: A `Lattice` in fixed world coordinates.

    Returns:
        `(i, j, k, 3)` float64, fixed world RAS+ mm: initial⁻¹(T(p)) - p.
    """
    points = lattice.points()
    back = np.linalg.inv(initial)
    return transform(points) @ back[:3, :3].T + back[:3, 3] - points


def jacobian_features(registered, names=None):
    """The figures that a regression is given: mean and SD of the log Jacobian inside each label.

    Args:
        registered: List of `tfreg.registration.cohort.Registered`.
        names: The features wanted, such as "2 sd"; None takes those of all labels that occur, or of the whole field
            of view where there are no labels.

    Returns:
        `(n, features)` float64, NaN where a subject lacks a label, and the features' names.
    """
    found = [subject.record["log_jacobian"] for subject in registered]
    if names is None:
        regions = sorted({region for one in found for region in one} - {"all", "labels"}) or ["all"]
        names = [f"{region} {figure}" for region in regions for figure in FIGURES]
    rows = [[one.get(region, {}).get(figure, np.nan) for region, figure in map(str.split, names)] for one in found]
    return np.array(rows, np.float64), tuple(names)


MEASURES = {"displacement": residual_displacement, "log_jacobian": residual_log_jacobian}


def _on_grid(subject, grid):
    """A subject's residual in mm on its lattice of the common shape, and that lattice."""
    transform, fixed = subject.transform()
    lattice = network_grid(fixed, grid.orientation, grid.spacing, grid.shape)
    if grid.centre == "labels":
        centre = subject.record["labels_centre"]
        if centre is None:
            raise UserError(f"{subject.subject}: has no labels; set grid.centre=image, or give labels of both phases")
        affine = np.array(lattice.affine)
        affine[:3, 3] += np.array(centre) - lattice.centre_world
        lattice = Lattice(lattice.shape, affine)
    return residual_mm(transform, np.array(subject.record["initial"]), lattice), lattice
