"""The pairs of an evaluation: made of subjects or listed, one experiment each."""

from pathlib import Path

import numpy as np

from tfreg.config import EvaluationOptions
from tfreg.errors import UserError
from tfreg.io.tables.manifest import PairFiles, lists_pairs, of_split, pairs_from_subjects, read_pairs, read_subjects


def plan_segmentations(
    data: Path, experiments: dict[str, list[PairFiles]], options: EvaluationOptions, seed: int | None
) -> dict[tuple[str, str], dict[str, PairFiles]]:
    """The same pairs with the segmentations of the columns beside the first.

    Args:
        data, options, seed: See `plan_experiments`.
        experiments: What that gives.

    Returns:
        Dictionary of experiment and pair to a dictionary of column to `PairFiles`.
    """
    pairs = {(name, pair.id): {} for name, made in experiments.items() for pair in made}
    for column in options.labels[1:]:
        for name, made in plan_experiments(data, options.model_copy(update={"labels": (column,)}), seed).items():
            for pair in made:
                pairs[name, pair.id][column] = pair
    return pairs


def plan_experiments(data: Path, options: EvaluationOptions, seed: int | None) -> dict[str, list[PairFiles]]:
    """The pairs of each experiment.

    Args:
        data: Manifest of pairs or of subjects.
        options: Their `pairs` say how pairs are made of subjects, one experiment each: "ED:ES" (within each subject,
            moving and fixed phase), "all" or "all:ED" (every ordered pair of different subjects, of a phase), "images"
            (every ordered pair of different images). And `split`, `count` and the first of
            `labels`.
        seed: Of the choice of `count` pairs.

    Returns:
        Dictionary of name to list of `PairFiles`.

    Raises:
        UserError: If the manifest is bad or no pair can be made.
    """
    if lists_pairs(data):
        if options.split is not None:
            raise UserError(f"--split {options.split}: {data} lists pairs, which have no split; leave the option out")
        experiments = {"pairs": read_pairs(data, options.labels[0], must_exist=False)}
    else:
        experiments = _of_subjects(data, options)
    if options.count is not None:
        rng = np.random.default_rng(seed)
        experiments = {
            name: [pairs[i] for i in rng.permutation(len(pairs))[: options.count]]
            for name, pairs in experiments.items()
        }
    return experiments


def _of_subjects(data, options):
    """The pairs of each experiment, made of a manifest of subjects."""
    subjects = of_split(read_subjects(data, options.labels[0], must_exist=False), options.split, data)
    experiments = {}
    for text in options.pairs:
        first, colon, second = text.partition(":")
        if first in ("all", "images") and bool(colon) == bool(second):
            name = "all combinations" + (f", {second}" if second else "")
            name = name if first == "all" else name.replace("all", "all images'")
            experiments[name] = pairs_from_subjects(
                subjects, phase=second or None, same_subject=first == "images", source=data
            )
        elif first and second:
            name = f"within subjects, {first} to {second}"
            experiments[name] = pairs_from_subjects(subjects, first, second, source=data)
        else:
            raise UserError(f"--pairs {text}: give MOVING:FIXED phases such as ED:ES, all, all:PHASE or images")
    return experiments
