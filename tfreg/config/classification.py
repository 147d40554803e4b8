"""The schema of a classifier, and the options of what is done with it."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tfreg.config.options import words
from tfreg.config.refinement import PRESETS
from tfreg.config.registration import RegistrationOptions, Start
from tfreg.config.sections import Count, Positive, Section, Seed, Share, not_a_truth_value, three_letters
from tfreg.config.training_run import PhasePair


class PairRegistration(RegistrationOptions):
    """How a classifier's pairs are registered: the options of `tfreg register`, with defaults of their own."""

    refine: bool = True
    preset: Annotated[str, words(*PRESETS)] = "fast"
    init: Start = "header"
    model: str | None = None  # a run's folder

    @model_validator(mode="before")
    @classmethod
    def _earlier_name(cls, content):
        """Files of before call `parts` `transform`."""
        if not isinstance(content, dict) or "transform" not in content:
            return content
        if "parts" in content:
            raise ValueError("`transform` is the earlier name of `parts`; give one of them")
        return {"parts" if name == "transform" else name: value for name, value in content.items()}

    @model_validator(mode="after")
    def _takes_effect(self):
        if self.model is None and not self.refine:
            raise ValueError("name a `model`, or say `refine: true`")
        if self.model is None and self.passes is not None:
            raise ValueError("`passes` are of a `model`; name one, or leave them out")
        if not self.refine and (self.similarity, self.smoothness) != (None, None):
            raise ValueError(
                "`similarity` and `smoothness` are of the refinement; say `refine: true`, or leave them out"
            )
        if (self.interpolation, self.background) != ("linear", None):
            raise ValueError("`interpolation` and `background` are of warped images; leave them out, none are made")
        return self

    def options(self) -> RegistrationOptions:
        """The same without the model."""
        return RegistrationOptions(**self.model_dump(exclude={"model"}))


class SubjectOptions(Section):
    """Which subjects of a table are taken."""

    split: str | None = Field(None, description="Only subjects of this split.")


class PredictionOptions(SubjectOptions):
    """To whom a trained classifier is applied."""

    model: str | None = Field(None, description="The registration network, if it does not lie where it did.")


class JudgementOptions(PredictionOptions):
    """By whom a classifier is judged."""

    shuffled: bool = Field(False, description="Control: shuffle the groups among subjects.")


class ResidualGrid(Section):
    """The lattice on which all deformations are compared, along each fixed volume's own axes."""

    orientation: str = "RAS"
    spacing: Positive | tuple[Positive, Positive, Positive] = 6.0  # mm
    shape: tuple[Count, Count, Count] = (32, 32, 32)  # voxels
    centre: Literal["image", "labels"] = "image"  # of the fixed field of view, or of its segmentation

    _three_axes = field_validator("orientation")(three_letters)


class ClassifierNetwork(Section):
    """The paper's classifier, section 3.3. It leaves open filters, epochs, batch size and the balance of the groups."""

    filters: Count = 8  # a cohort of tens of people feeds few: 8 make 1.6 million weights of 32x32x32 voxels
    hidden_units: Count = 100
    epochs: Count = 100  # two halvings of the rate; the loss of 40 people has long settled
    batch_size: Annotated[int, Field(gt=1), BeforeValidator(not_a_truth_value)] = 8  # batch normalisation needs some
    learning_rate: Positive = 1e-4
    halve_after: Count = 50  # epochs
    balanced: bool = True  # both groups weigh the same, so that 0.5 lies between them


class Classification(Section):
    """A classifier of healthy and ill by residual deformations."""

    pairs: PhasePair
    healthy: Annotated[tuple[str, ...], Field(min_length=1)]  # values of the manifest's column `group`
    ill: tuple[str, ...] | None = None  # None: all others
    registration: PairRegistration = PairRegistration()
    grid: ResidualGrid = ResidualGrid()
    inputs: Annotated[tuple[Literal["displacement", "log_jacobian"], ...], Field(min_length=1)] = (
        "displacement",  # the paper's; the first one predicts, the others are compared with it
        "log_jacobian",
    )
    network: ClassifierNetwork = ClassifierNetwork()
    folds: Annotated[int, Field(gt=1), BeforeValidator(not_a_truth_value)] = 5  # as many networks are averaged
    threshold: Share = 0.5
    seed: Seed = 0

    @model_validator(mode="after")
    def _two_groups(self):
        both = set(self.healthy) & set(self.ill or ())
        if both:
            raise ValueError(f"{sorted(both)[0]} is in `healthy` and in `ill`")
        return self
