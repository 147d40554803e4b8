"""The options of random pairs of which the true transform is known, and of the training on them.

Lengths are in voxels of the largest side; smaller sides show the same things, smaller.
"""

from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tfreg.config.sections import BelowOne, Count, NotNegative, Positive, Section, not_a_truth_value

# Of all pairs, or of the field of view.
Part = Annotated[float, Field(ge=0, le=1), BeforeValidator(not_a_truth_value)]
Side = Annotated[int, Field(ge=16), BeforeValidator(not_a_truth_value)]
Slope = Annotated[float, Field(gt=0, le=0.8), BeforeValidator(not_a_truth_value)]


def _rising(values):
    """Refuses a range whose first number is the larger."""
    if values[0] > values[1]:
        raise ValueError("give two rising numbers")
    return values


class RandomShapes(Section):
    """What there is to see: regions of tissue, tubes through them, a body around them."""

    tissues: tuple[Count, Count] = (3, 12)  # fewest and most kinds of region
    spacings: Annotated[tuple[Positive, ...], Field(min_length=1)] = (32.0, 11.0, 4.5)  # scales of regions, voxels
    tubes: Part = 0.6  # share of pairs with each of two kinds of tube
    tube_width: tuple[Positive, Positive] = (0.03, 0.22)  # range, in units of the noise whose zeros are tubes
    body: Part = 0.5  # share of pairs with an outline and emptiness around it
    texture: NotNegative = 0.25  # largest amplitude; intensities lie in [0, 1]
    texture_spacing: Positive = 2.5  # scale of the finer of two textures, voxels; the other mixes about it and twice it
    blobs: Part = 0.4  # share of pairs in which one image has up to three blobs that the other lacks
    blob_radii: tuple[Positive, Positive] = (2.0, 9.0)  # range, voxels

    _ranges = field_validator("tissues", "tube_width", "blob_radii")(_rising)


class RandomContrasts(Section):
    """How the intensities of the two images go together, as shares of the pairs."""

    same: Part = 0.55
    inverted: Part = 0.15
    unrelated: Part = 0.3

    @model_validator(mode="after")
    def _everything(self):
        if abs(self.same + self.inverted + self.unrelated - 1) > 1e-6:
            raise ValueError("`same`, `inverted` and `unrelated` must add up to 1")
        return self


class RandomDisplacements(Section):
    """How far a place moves: an affine map and smooth noise of several scales, times a random amount."""

    rotation_degrees: NotNegative = 6.0  # standard deviation about each axis
    scale: NotNegative = 0.07  # standard deviation, as a whole and along each axis
    shear: NotNegative = 0.03  # standard deviation
    translation: NotNegative = 6.4  # largest along each axis, voxels
    spacings: tuple[Positive, ...] = (32.0, 16.0, 7.5)  # scales of the noise, voxels
    amplitudes: tuple[NotNegative, ...] = (3.2, 2.6, 1.1)  # largest standard deviation at each scale, voxels
    amount: tuple[NotNegative, NotNegative] = (0.0, 1.0)  # range of the factor of everything
    max_slope: Slope = 0.7  # voxels per voxel; a displacement that is steeper is made smaller as a whole

    _range = field_validator("amount")(_rising)

    @model_validator(mode="after")
    def _same_length(self):
        if len(self.spacings) != len(self.amplitudes):
            raise ValueError("`spacings` and `amplitudes` must have the same length")
        return self


class RandomScanner(Section):
    """What a scanner makes of it; for each of the two images by itself."""

    blur: NotNegative = 1.1  # largest standard deviation, voxels
    thick_slices: Part = 0.3  # share of images
    slice_blur: NotNegative = 2.0  # further blur across thick slices, largest standard deviation, voxels
    bias: NotNegative = 0.25  # largest standard deviation of the logarithm of the bias field
    noise: NotNegative = 0.08  # largest standard deviation; intensities lie in [0, 1]
    exponent: NotNegative = 0.25  # standard deviation of the logarithm of gamma, the power of intensities
    window: tuple[Part, Part] | None = (0.005, 0.995)  # shares of voxels between which intensities become [0, 1]
    not_scanned: Part = 0.25  # share of images that lack a slab at a border
    slab: BelowOne = 0.25  # its largest thickness, as a share of the side


class Supervision(Section):
    """Loss and schedule where the true place is known; learning rate and epochs are those of `training`."""

    slopes: NotNegative = 0.7  # weight of the error of differences between neighbours
    expected_error: NotNegative = 0.03  # weight of the likelihood that teaches the expected error
    unseen: Part = 0.1  # weight of places that one of the images does not show
    warmup_steps: Count = 100  # then the learning rate falls to zero along a cosine
    clip_norm: Positive = 5.0  # largest norm of all gradients together
    averaging: BelowOne = 0.998  # what an average of the weights keeps in a step; the result is the average


class SimulatedPairs(Section):
    """Endless random pairs: steps take the sides in turn."""

    sides: Annotated[tuple[Side, ...], Field(min_length=1)] = (64, 32)  # of cubes, voxels, each once
    batch_sizes: tuple[Count, ...] = (16, 32)  # pairs a step, one number a side
    margin: Part = 0.25  # what is simulated beyond each border, as a share of the side
    shapes: RandomShapes = RandomShapes()
    contrasts: RandomContrasts = RandomContrasts()
    displacements: RandomDisplacements = RandomDisplacements()
    scanner: RandomScanner = RandomScanner()
    supervision: Supervision = Supervision()

    @model_validator(mode="after")
    def _one_batch_a_side(self):
        if len(self.sides) != len(self.batch_sizes):
            raise ValueError("`sides` and `batch_sizes` must have the same length")
        if len(set(self.sides)) != len(self.sides):
            raise ValueError("`sides` names one of them twice")
        return self
