"""The options of the refinement, and its presets."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from tfreg.config.files import parse_section
from tfreg.config.options import words
from tfreg.config.sections import Count, NotNegative, Positive, Section, Similarity
from tfreg.errors import UserError

SEARCHES = ("none", "normal", "wide")
# The options of a registration that only a refinement uses, beside its preset.
OF_REFINEMENT = ("similarity", "smoothness", "search", "linear")
# What the linear stage may change, beside turning and shifting: nothing, one size, or all twelve parameters.
LINEARS = ("rigid", "similarity", "affine")


class Refinement(Section):
    """Optimisation for one pair of similarity + smoothness times the mean squared slope of the displacement."""

    similarity: Similarity = "lncc"  # of the linear stage and the finest level
    coarse_similarity: Similarity = "lncc+30*mind"  # of the levels before it
    window: Count = 7  # side of the window of lncc, voxels, odd, of the finest level
    coarse_window: Count = 9  # of the levels before it
    smoothness: NotNegative = 0.35
    steps: Annotated[tuple[Count, ...], Field(min_length=1)] = (20, 15, 14)  # most steps, coarse to fine
    detail_steps: Annotated[int, Field(ge=0)] = 40  # most steps more at the finest level, where it has gained much
    learning_rate: Positive = 0.3  # voxels a step
    tolerance: NotNegative = 2e-5  # a level stops when a step improves the loss by less
    search: Annotated[str, words(*SEARCHES)] = "none"  # for where to begin, beside the linear stage
    linear: Annotated[str, words(*LINEARS)] = "affine"  # what the linear stage may change
    most_voxels: Count = 4_000_000  # beyond, the finest level is coarser than the fixed image


# Trade-offs of time and accuracy, by name.
PRESETS = {"quality": Refinement(), "fast": Refinement(steps=(20, 15, 6), detail_steps=0)}


def check_refinement_options(options: Section) -> None:
    """Refuses what only a refinement uses.

    Args:
        options: Of a registration or an evaluation that refines nothing.

    Raises:
        ValueError: If one of them is not its default.
    """
    for name in OF_REFINEMENT:
        if getattr(options, name) != type(options).model_fields[name].default:
            raise ValueError(f"--{name}: is of the refinement, which is not asked for; add --refine, or leave it out")


def check_linear_stage(linear: str, parts: Sequence[str]) -> None:
    """Refuses a kind of linear part where none is searched.

    Args:
        linear: One of `LINEARS`.
        parts: "linear", "deformable" or "both", what registrations are to use.

    Raises:
        ValueError: If there is no linear stage.
    """
    if linear != "affine" and set(parts) == {"deformable"}:
        raise ValueError(f"--linear {linear}: nothing linear is searched with --parts deformable; leave one out")


def refinement_settings(
    preset: str,
    similarity: str | None = None,
    smoothness: float | None = None,
    search: str = "none",
    linear: str = "affine",
) -> Refinement:
    """A preset of the refinement with what was asked for otherwise.

    Args:
        preset: A name in `PRESETS`.
        similarity, smoothness: What replaces the preset's at every level; None keeps it.
        search: "none", "normal" or "wide".
        linear: "rigid", "similarity" or "affine".

    Returns:
        A `Refinement`.

    Raises:
        UserError: If a value does not fit; names the option.
    """
    if preset not in PRESETS:
        raise UserError(f"--preset {preset}: choose {' or '.join(PRESETS)}")
    changes = {"similarity": similarity, "coarse_similarity": similarity, "smoothness": smoothness}
    changes |= {"search": search, "linear": linear}
    content = PRESETS[preset].model_dump() | {name: value for name, value in changes.items() if value is not None}
    return parse_section(Refinement, content, "refinement")
