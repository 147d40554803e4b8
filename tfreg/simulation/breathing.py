"""The exact deformation of the simulated chest: from full inhale to full exhale and back.

Chest coordinates are millimetres of an adult: x to the patient's right, y forward, z up. The map
from inhale to exhale moves z, then y, then x. Each step moves one coordinate only, by a function of
that coordinate whose slope is positive everywhere. Such a step is a diffeomorphism, and so is their
composition: the Jacobian determinant is the product of the three slopes, and the inverse is three
searches of an increasing function.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tfreg.simulation.shapes import Diaphragm

BASAL_SHARE = 0.45  # of the height of the lung: what severity stiffens
CORNER = 0.1  # half width of the rounded corners, share of a ramp's length
ABDOMEN_MM = 240.0  # below the diaphragm, the depth over which its motion dies out
SPINE_Y = -75.0  # the rib cage moves forward from here
ABDOMEN_GAP_MM = 15.0


def soft_ramp(t: np.ndarray, width: float = CORNER) -> tuple[np.ndarray, np.ndarray]:
    """max(t, 0) with its corner rounded between -width and width; twice continuously differentiable.

    Args:
        t: Any shape.
        width: Half width of the corner, in the unit of t.

    Returns:
        The ramp and its slope, which lies in [0, 1] and never falls; both of t's shape.
    """
    u = np.clip(t * (1 / width), -1, 1)
    square = (u + 1) * (u + 1)
    return width / 16 * square * (u + 1) * (3 - u) + np.maximum(t - width, 0), square * (2 - u) / 4


def invert_increasing(
    function: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    values: np.ndarray,
    lowest: ArrayLike,
    highest: ArrayLike,
    tolerance: float = 1e-11,
) -> np.ndarray:
    """Solves function(t) = values for an increasing function of each element, by guarded Newton steps.

    Args:
        function: Maps t to the function's values and slopes, elementwise.
        values: `(n,)`.
        lowest: Lower bound of values - t, one number.
        highest: Upper bound of values - t, one number.
        tolerance: Largest residual accepted.

    Returns:
        `(n,)`, t.

    Raises:
        ArithmeticError: If a residual stays above the tolerance.
    """
    low, high = values - highest, values - lowest
    t = np.clip(values, low, high)
    for _ in range(100):
        value, slope = function(t)
        residual = value - values
        if np.abs(residual).max(initial=0) <= tolerance:
            return t
        low, high = np.where(residual < 0, t, low), np.where(residual > 0, t, high)
        step = t - residual / slope
        t = np.where((step < low) | (step > high), (low + high) / 2, step)
    raise ArithmeticError(f"No solution within the bounds. Received: lowest={lowest}, highest={highest}")


@dataclass(frozen=True)
class Breathing:
    """From inhale to exhale in chest coordinates.

    Args:
        diaphragm: The diaphragm at inhale.
        top: z of the lungs' apex, where the motion dies out, mm.
        half_axes: x and y half axes of the rib cage, mm: the motion of the diaphragm dies out there.
        basal_compression: Share of its height that the basal lung loses, in [0, 0.6].
        upper_compression: The same for the rest of the lung.
        forward_mm: How far the front of the rib cage moves back.
        lateral_mm: How far each side moves in.

    Raises:
        ValueError: If a compression or a motion is outside the range for which the map is proved invertible.
    """

    diaphragm: Diaphragm
    top: float
    half_axes: tuple[float, float]
    basal_compression: float
    upper_compression: float
    forward_mm: float
    lateral_mm: float

    def __post_init__(self):
        for name, limit in (
            ("basal_compression", 0.6),
            ("upper_compression", 0.6),
            ("forward_mm", 40),
            ("lateral_mm", 30),
        ):
            if not 0 <= getattr(self, name) <= limit:
                raise ValueError(f"`{name}` must lie in [0, {limit}]. Received: {name}={getattr(self, name)}")

    def to_exhale(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Maps inhale points to exhale points, both `(n, 3)` chest mm.

        Returns:
            The points, and the Jacobian determinant `(n,)`: exhale volume per inhale volume.
        """
        x, y, z = points.T
        z, slope_z = self._vertical(z, *self._column(x, y))
        forward, lateral = self._cage(z)
        y, slope_y = _pulled_back(y, forward)
        x, slope_x = _pulled_in(x, lateral, self.half_axes[0])
        return np.stack([x, y, z], axis=1), slope_x * slope_y * slope_z

    def to_inhale(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Maps exhale points to inhale points, both `(n, 3)` chest mm, to 1e-10 mm.

        Returns:
            The points, and the Jacobian determinant of `to_exhale` there, `(n,)`.
        """
        x, y, z = points.T
        forward, lateral = self._cage(z)
        half_width = self.half_axes[0]
        x = invert_increasing(lambda t: _pulled_in(t, lateral, half_width), x, -self.lateral_mm, self.lateral_mm)
        y = invert_increasing(lambda t: _pulled_back(t, forward), y, -self.forward_mm, 0)
        column = self._column(x, y)
        highest = max(self.basal_compression, self.upper_compression) * (self.top - self.diaphragm.floor)
        z = invert_increasing(lambda t: self._vertical(t, *column), z, 0, highest)
        inhale = np.stack([x, y, z], axis=1)
        slopes = self._vertical(z, *column)[1] * _pulled_back(y, forward)[1] * _pulled_in(x, lateral, half_width)[1]
        return inhale, slopes

    def _column(self, x, y):
        """Diaphragm height and share of the full motion over each (x, y)."""
        a, b = self.half_axes
        radius = np.sqrt((x / a) ** 2 + ((y + 5) / b) ** 2)
        inside = np.clip((1.18 - radius) / 0.3, 0, 1)
        share = inside * inside * (3 - 2 * inside)
        share *= 1 - 0.45 * np.exp(-(((x + 8) / 40) ** 2))
        share *= 1 - 0.95 * np.exp(-((x / 34) ** 2) - ((y - SPINE_Y + 15) / 42) ** 2)
        return self.diaphragm.height(x, y), share

    def _vertical(self, z, floor, share):
        """z at exhale and its slope, which is at least 1 - 0.6: the three ramps' slopes never fall.

        The lung between the diaphragm and the apex is compressed, the basal part and the rest each by
        its own share; below the diaphragm the motion dies out.
        """
        height = self.top - floor
        u = (z - floor) / height
        (r0, s0), (rb, sb), (r1, s1) = (soft_ramp(u - start) for start in (0, BASAL_SHARE, 1))
        basal, upper = self.basal_compression, self.upper_compression
        lift = height * share
        full = lift * (basal * BASAL_SHARE + upper * (1 - BASAL_SHARE))
        moved = lift * (basal * (BASAL_SHARE - r0 + rb) + upper * (1 - BASAL_SHARE - rb + r1))
        start = (z - floor) / ABDOMEN_MM + (ABDOMEN_MM + ABDOMEN_GAP_MM) / ABDOMEN_MM
        (low, low_slope), (high, high_slope) = soft_ramp(start), soft_ramp(start - 1)
        slope = 1 - share * (basal * (s0 - sb) + upper * (sb - s1)) + full / ABDOMEN_MM * (low_slope - high_slope)
        return z + moved - full * (1 - low + high), slope

    def _cage(self, z):
        """Motion of the front and of the sides at height z of the exhale state, mm."""
        lower = 0.5 - 0.5 * np.tanh((z - 40) / 90)
        return self.forward_mm * (0.3 + 0.7 * lower), self.lateral_mm * (0.2 + 0.8 * lower)


def _pulled_back(y, forward, length=190.0):
    """y moved back by up to `forward`, nothing at the spine; slope at least 1 - forward / length."""
    (r0, s0), (r1, s1) = (soft_ramp((y - SPINE_Y) / length - start) for start in (0, 1))
    return y - forward * (r0 - r1), 1 - forward / length * (s0 - s1)


def _pulled_in(x, lateral, half_width):
    """x moved to the middle by up to `lateral`; slope at least 1 - lateral / half_width."""
    (r0, s0), (r1, s1) = (soft_ramp((x + half_width) / (2 * half_width) - start) for start in (0, 1))
    return x - lateral * (2 * (r0 - r1) - 1), 1 - lateral / half_width * (s0 - s1)


@dataclass(frozen=True)
class WorldBreathing:
    """The exact deformation of one simulated subject in world coordinates.

    Args:
        breathing: In chest coordinates.
        pose: `(4, 4)`, chest mm to world RAS+ mm: a rotation, one positive scale, a translation.
    """

    breathing: Breathing
    pose: np.ndarray

    def to_exhale(self, points_world: np.ndarray) -> np.ndarray:
        """Where inhale points `(n, 3)` (world RAS+ mm) are at exhale, `(n, 3)` world RAS+ mm."""
        return self._through(self.breathing.to_exhale, points_world)[0]

    def to_inhale(self, points_world: np.ndarray) -> np.ndarray:
        """Where exhale points `(n, 3)` (world RAS+ mm) are at inhale, `(n, 3)` world RAS+ mm.

        This is the pull-back transform for fixed = exhale, moving = inhale.
        """
        return self._through(self.breathing.to_inhale, points_world)[0]

    def log_jacobian_at_inhale(self, points_world: np.ndarray) -> np.ndarray:
        """Log of exhale volume per inhale volume at inhale points `(n, 3)` (world RAS+ mm), `(n,)`."""
        return np.log(self._through(self.breathing.to_exhale, points_world)[1])

    def log_jacobian_at_exhale(self, points_world: np.ndarray) -> np.ndarray:
        """Log of inhale volume per exhale volume, that of `to_inhale`, at exhale points `(n, 3)`, `(n,)`."""
        return -np.log(self._through(self.breathing.to_inhale, points_world)[1])

    def _through(self, chest_map, points_world):
        linear, shift = self.pose[:3, :3], self.pose[:3, 3]
        chest = (np.asarray(points_world, dtype=np.float64) - shift) @ np.linalg.inv(linear).T
        moved, jacobian = chest_map(chest)
        return moved @ linear.T + shift, jacobian
