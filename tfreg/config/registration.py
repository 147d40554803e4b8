"""The options of one registration."""

from typing import Annotated

from pydantic import Field, model_validator

from tfreg.config.models import BEST
from tfreg.config.options import checked, words
from tfreg.config.refinement import (
    LINEARS,
    PRESETS,
    SEARCHES,
    Refinement,
    check_linear_stage,
    check_refinement_options,
    refinement_settings,
)
from tfreg.config.sections import Count, NotNegative, Number, Section, Similarity
from tfreg.errors import UserError

Parts = Annotated[str, words("linear", "deformable", "both")]
Start = Annotated[str, words("header", "centre", "moments", BEST)]


class RegistrationOptions(Section):
    """How a pair is registered, from the command line, in Python, in files and through a server alike.

    Example:
        >>> options = tfreg.RegistrationOptions(preset="fast", parts="deformable", smoothness=0.5)
        >>> options.preset, options.refine
        ('fast', None)
        >>> options.settings().smoothness
        0.5
    """

    refine: bool | None = Field(
        None, description="Optimise the transform for this pair; without it, where no model predicts."
    )
    preset: Annotated[str, words(*PRESETS)] = Field(
        "quality", description="fast or quality: how much time the refinement may take."
    )
    similarity: Similarity | None = Field(
        None,
        description="Of the refinement: lncc, mse, ncc, mi, dwm, mind, or a sum such as lncc+0.5*mi; without it, lncc, "
        "coarsely with MIND.",
    )
    smoothness: NotNegative | None = Field(None, description="How stiff the refined deformation is; without it, 0.35.")
    search: Annotated[str, words(*SEARCHES)] = Field(
        "none",
        description="none, normal or wide: how far from the initial alignment it is searched for where to begin.",
    )
    linear: Annotated[str, words(*LINEARS)] = Field(
        "affine", description="rigid, similarity or affine: what the refinement's linear part may change."
    )
    passes: Count | None = Field(
        None, description="How often the model is run, coarser grids first; without it, as its config says."
    )
    check: bool = Field(False, description="Register the other way round too, and see whether both agree.")
    parts: Parts = Field("both", description="linear, deformable or both: the parts to use.")
    init: Start | None = Field(
        None,
        description="header, centre or moments: the initial alignment, or best: the one of them that makes the images "
        "most alike; without it, the model's, or the header's.",
    )
    interpolation: Annotated[str, words("linear", "cubic")] = Field(
        "linear", description="linear or cubic, of the warped image."
    )
    background: Number | None = Field(
        None,
        description="Value outside the moving image; without it, its padding or smallest value.",
    )

    @model_validator(mode="after")
    def _takes_effect(self):
        if self.refine is False:
            check_refinement_options(self)
        check_linear_stage(self.linear, (self.parts,))
        return self

    def resolved(self, predicted: bool) -> "RegistrationOptions":
        """The same with `refine` decided.

        Args:
            predicted: Whether a network predicts a transform.

        Returns:
            A `RegistrationOptions`.

        Raises:
            UserError: If an option then takes no effect.
        """
        if self.passes is not None and not predicted:
            raise UserError(f"--passes {self.passes}: there is no model; name one with --model, or leave it out")
        refine = not predicted if self.refine is None else self.refine
        return checked(RegistrationOptions, **dict(self) | {"refine": refine})

    def settings(self) -> Refinement:
        """The `Refinement` that they ask for."""
        return refinement_settings(self.preset, self.similarity, self.smoothness, self.search, self.linear)
