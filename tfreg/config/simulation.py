"""The options of a simulated data set."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tfreg.config.options import words
from tfreg.config.sections import Count, Positive, Section, not_a_truth_value, three_letters

Share = Annotated[float, Field(ge=0, le=1), BeforeValidator(not_a_truth_value)]
Voxels = Annotated[int, Field(ge=16), BeforeValidator(not_a_truth_value)]
WholeNumber = Annotated[int, Field(ge=0), BeforeValidator(not_a_truth_value)]


class SimulationOptions(Section):
    """Simulated people and their images; equal options write equal voxels.

    Example:
        >>> tfreg.SimulationOptions(subjects=3, shape=(24, 20, 24), modality="ct").spacing
        (3.75, 3.75, 3.75)
    """

    subjects: Count = Field(8, description="How many people.")
    shape: tuple[Voxels, Voxels, Voxels] = Field((96, 96, 96), description="Voxels along each axis.")
    spacing: tuple[Positive, Positive, Positive] = Field((3.75, 3.75, 3.75), description="mm along each axis.")
    modality: Annotated[str, words("mr", "ct")] = Field("mr", description="mr or ct.")
    diseased: Share = Field(0.3, description="Share of subjects with stiff lung bases, 0 to 1.")
    severity: tuple[Share, Share] = Field((0.5, 1.0), description="Range of their severity, 0 to 1.")
    orientation: Annotated[str, AfterValidator(three_letters)] = Field(
        "RAS", description="Where the axes point, three letters such as RAS."
    )
    splits: tuple[Share, Share, Share] = Field((0.6, 0.2, 0.2), description="Shares of train, validation and test.")
    circular_fov: bool = Field(False, description="CT only: pad outside a circle.")
    seed: WholeNumber = Field(0, description="Seed of everything random.")

    @model_validator(mode="after")
    def _fits_together(self):
        if self.severity[0] > self.severity[1]:
            raise ValueError(f"--severity {self.severity}: give two rising numbers from 0 to 1")
        if abs(sum(self.splits) - 1) > 1e-6:
            raise ValueError(
                f"--splits {self.splits}: give the shares of train, validation and test, which add up to 1"
            )
        return self
