"""The options of one registration."""

from pydantic import model_validator

from tfreg.config.options import checked, words
from tfreg.config.refinement import PRESETS, refinement_settings
from tfreg.config.sections import NotNegative, Number, Section, Similarity

Parts = words("linear", "deformable", "both")
Start = words("header", "centre", "moments")


class RegistrationOptions(Section):
    """How a pair is registered, from the command line, in Python and through a server alike."""

    refine: bool | None = None  # None: where no network predicts
    preset: words(*PRESETS) = "quality"
    similarity: Similarity | None = None  # of the refinement; None takes the preset's
    smoothness: NotNegative | None = None  # of the refinement; None takes the preset's
    check: bool = False
    init: Start | None = None  # None: the network's own
    transform: Parts = "both"
    interpolation: words("linear", "cubic") = "linear"
    background: Number | None = None

    @model_validator(mode="after")
    def _takes_effect(self):
        unused = [name for name in ("similarity", "smoothness") if getattr(self, name) is not None]
        if self.refine is False and unused:
            raise ValueError(
                f"--{unused[0]}: is of the refinement, which is not asked for; add --refine, or leave it out"
            )
        return self

    def resolved(self, predicted):
        """The same with `refine` decided.

        Args:
            predicted: Whether a network predicts a transform.

        Returns:
            A `RegistrationOptions`.

        Raises:
            UserError: If an option then takes no effect.
        """
        refine = not predicted if self.refine is None else self.refine
        return checked(RegistrationOptions, **dict(self) | {"refine": refine})

    def settings(self):
        """The `Refinement` that they ask for."""
        return refinement_settings(self.preset, self.similarity, self.smoothness)
