"""The options of an evaluation."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from tfreg.config.models import NO_NETWORK
from tfreg.config.options import words
from tfreg.config.refinement import LINEARS, PRESETS, SEARCHES, check_linear_stage, check_refinement_options
from tfreg.config.registration import Parts, Start
from tfreg.config.sections import Count, NotNegative, Section, Similarity


def _split(values: Any) -> Any:
    """Names of which several may stand in one text, with commas."""
    values = (values,) if isinstance(values, str) else values
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        return values
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


Names = BeforeValidator(_split)


class EvaluationOptions(Section):
    """What `tfreg evaluate` compares, and on which pairs.

    Example:
        >>> options = tfreg.EvaluationOptions(models=["run", "none"], pairs=["inhale:exhale"])
        >>> options.refines_from_nothing
        True
    """

    models: tuple[Path, ...] = Field(
        (),
        description="A run folder, weights: those that ship, or none: the refinement alone; may be repeated.",
    )
    refine: bool | None = Field(None, description="Add the refinement from nothing; with --model none, by itself.")
    refine_models: bool = Field(False, description="Add the refinement from each model's prediction.")
    parts: Annotated[tuple[Parts, ...], Names] = Field(
        ("both",), description="Parts to compare: linear,deformable,both."
    )
    baselines: Annotated[tuple[str, ...], Names] = Field(
        (),
        description="Classical tools: syn,greedy,greedy_r4,elastix,demons; headers: no registration; whole commands: "
        "tfreg_command,greedy_command.",
    )
    preset: Annotated[tuple[Annotated[str, words(*PRESETS)], ...], Names] = Field(
        ("quality",), description="fast or quality, of the refinement; fast,quality compares both."
    )
    similarity: Similarity | None = Field(None, description="Of the refinement, as in `tfreg register`.")
    smoothness: NotNegative | None = Field(None, description="Of the refinement, as in `tfreg register`.")
    search: Annotated[str, words(*SEARCHES)] = Field("none", description="Of the refinement, as in `tfreg register`.")
    linear: Annotated[str, words(*LINEARS)] = Field("affine", description="Of the refinement, as in `tfreg register`.")
    init: Start | None = Field(
        None, description="header, centre, moments or best for all methods; without it, the model's."
    )
    pairs: tuple[str, ...] = Field(
        ("all",),
        description="Pairs made of subjects: MOVING:FIXED phases, all, all:PHASE or images; may be repeated.",
    )
    split: str | None = Field(None, description="Only subjects of this split.")
    count: Count | None = Field(None, description="Only so many random pairs of each kind.")
    labels: Annotated[tuple[str, ...], Names] = Field(
        ("labels",), description="Column of the manifest with the segmentations; more are measured beside the first."
    )
    reference: str | None = Field(None, description="The method that the others are compared with.")
    isolate: bool = Field(False, description="Each method in its own processes: measures memory and first call.")

    @property
    def networks(self) -> tuple[Path, ...]:
        """The models that are networks."""
        return tuple(model for model in self.models if str(model) != NO_NETWORK)

    @property
    def refines_from_nothing(self) -> bool:
        """Whether the refinement from nothing is one of the methods."""
        return Path(NO_NETWORK) in self.models if self.refine is None else self.refine

    @model_validator(mode="after")
    def _takes_effect(self):
        if not self.parts:
            raise ValueError("--parts: choose some of linear, deformable, both")
        if not self.preset:
            raise ValueError("--preset: choose some of fast, quality")
        if not self.labels:
            raise ValueError("--labels: name a column of the manifest")
        if not (self.refines_from_nothing or (self.refine_models and self.networks)):
            check_refinement_options(self)
        check_linear_stage(self.linear, self.parts)
        return self
