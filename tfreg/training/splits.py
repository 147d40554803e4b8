"""The pairs that a training learns from, and those that it is measured on."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tfreg.config import Config, PhasePair
from tfreg.errors import InputWarning, UserError
from tfreg.io.tables.manifest import PairFiles, Subject, pairs_from_subjects, read_subjects
from tfreg.io.tables.same_files import check_subjects
from tfreg.spelling import some_of

HELD_OUT = 0.2  # share of subjects kept for validation where the manifest names no splits


def make_pairs(config: Config, subjects: Sequence[Subject], source: str = "subjects") -> list[PairFiles]:
    """The pairs that a config makes of subjects.

    Args:
        config: A `tfreg.config.Config`; its `pairs` and `phase` count.
        subjects: List of `tfreg.io.tables.manifest.Subject`.
        source: What error messages call the subjects.

    Returns:
        List of `tfreg.io.tables.manifest.PairFiles`.
    """
    if isinstance(config.pairs, PhasePair):
        return pairs_from_subjects(subjects, config.pairs.moving, config.pairs.fixed, source=source)
    return pairs_from_subjects(subjects, phase=config.phase, same_subject=config.pairs == "images", source=source)


def pairs_by_split(config: Config, data: str | Path) -> tuple[list[PairFiles], list[PairFiles]]:
    """The pairs that a training learns from, and those that it is measured on.

    Args:
        config: A `tfreg.config.Config`.
        data: Subjects manifest (CSV).

    Returns:
        Two lists of `tfreg.io.tables.manifest.PairFiles`.

    Raises:
        UserError: If the manifest cannot be read, makes no pairs of either kind, or has one image in two splits.
    """
    subjects = read_subjects(data)
    if any(subject.split for subject in subjects):
        training = [subject for subject in subjects if subject.split == "train"]
        validation = [subject for subject in subjects if subject.split == "validation"]
        if not training or not validation:
            raise UserError(f"{data}: column `split` needs subjects in both `train` and `validation`")
        nowhere = [subject.id for subject in subjects if subject.split is None]
        if nowhere:
            warnings.warn(f"{data}: in no split, and left out: {some_of(nowhere)}.", InputWarning, stacklevel=2)
    else:
        names = sorted({subject.subject for subject in subjects})
        if len(names) < 4:
            raise UserError(f"{data}: lists fewer than 4 subjects; fill its column `split` (train, validation)")
        held_out = set(np.random.default_rng(config.seed).permutation(names)[: max(2, int(len(names) * HELD_OUT))])
        training = [subject for subject in subjects if subject.subject not in held_out]
        validation = [subject for subject in subjects if subject.subject in held_out]
        subjects = [replace(s, split="validation" if s.subject in held_out else "train") for s in subjects]
    check_subjects(data, subjects)
    train_pairs = make_pairs(config, training, f"{data}: train")
    validation_pairs = make_pairs(config, validation, f"{data}: validation")
    if len(validation_pairs) > config.training.validation_pairs:
        rng = np.random.default_rng(config.seed)
        chosen = rng.choice(len(validation_pairs), config.training.validation_pairs, replace=False)
        validation_pairs = [validation_pairs[number] for number in sorted(chosen)]
    return train_pairs, validation_pairs
