"""`Cohort`: the subjects of a table, healthy and ill, whose deformations are there."""

import warnings
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tfreg.config import Classification
from tfreg.errors import InputWarning, UserError, WorkError
from tfreg.io.digests import voxels_digest
from tfreg.io.tables.manifest import of_split, read_subjects
from tfreg.io.tables.same_files import check_subjects
from tfreg.registration.cohort import Registered, register_subjects
from tfreg.runtime.progress import NO_PROGRESS, Progress
from tfreg.runtime.resources import Resources
from tfreg.spelling import is_meant, misspelt, plain_spelling, some_of


@dataclass(frozen=True, eq=False)
class Cohort:
    """The subjects of a table whose deformations are there.

    Args:
        registered: The subjects.
        targets: `(n,)`, 0 healthy, 1 ill, -1 where the group is neither.
        failures: Subject to what went wrong.
    """

    registered: list[Registered]
    targets: np.ndarray
    failures: dict[str, str]

    @property
    def keys(self) -> list[str]:
        """What tells each subject's images from all others: the names of the deformations' folders."""
        return [subject.folder.name for subject in self.registered]

    @property
    def images(self) -> list[set[str | None]]:
        """Each subject's images by their content, a list of sets of digests."""
        return [
            {voxels_digest(path) for path in (subject.pair.fixed, subject.pair.moving)} for subject in self.registered
        ]

    def seen(self, keys: Set[str], images: Set[str]) -> list[str]:
        """Names of the subjects with one of those keys, or with an image of those digests."""
        return [
            subject.subject
            for subject, key, own in zip(self.registered, self.keys, self.images, strict=True)
            if key in keys or own & images
        ]

    def without(self, subjects: Sequence[str]) -> "Cohort":
        """The `Cohort` without the subjects of those names."""
        stays = np.array([subject.subject not in subjects for subject in self.registered])
        registered = [subject for subject, stay in zip(self.registered, stays, strict=True) if stay]
        return Cohort(registered, self.targets[stays], self.failures)

    @property
    def to_review(self) -> list[str]:
        """Names of the subjects whose registration should not be trusted unseen."""
        return [subject.subject for subject in self.registered if subject.record.verdict != "pass"]


def read_cohort(
    config: Classification,
    data: str | Path,
    cache: str | Path,
    split: str | None = None,
    min_size: int = 1,
    resources: Resources | None = None,
    progress: Progress = NO_PROGRESS,
) -> Cohort:
    """Registers a whole table of subjects to deformations, those apart that are cached already.

    Args:
        config: Which pairs, how they are registered, and which groups are healthy and ill.
        data: Subjects manifest (CSV).
        cache: Folder where deformations are kept by the content of their images.
        split: Only subjects of this split, or None.
        min_size: How many healthy and how many ill subjects there must be, others being left out; 0 takes all
            subjects, whatever their group.
        resources: For the registrations; the seed is the config's. None for the defaults.
        progress: Whom it tells how far it is.

    Returns:
        The subjects whose registration succeeded, and why the others' did not.

    Raises:
        UserError: If the manifest does not fit the config, or groups are too small.
        WorkError: If no registration succeeds.
    """
    resources = replace(resources or Resources(), seed=config.seed)
    subjects = of_split(read_subjects(data, must_exist=False), split, data)
    check_subjects(data, subjects)
    groups = _groups(subjects, data)
    if min_size:
        _check_groups(groups, config, data)
        subjects = [subject for subject in subjects if _target(subject.group, config) >= 0]
        # Before the registrations, which take their time, and after them, because some may fail.
        _check_size([_target(groups[name], config) for name in {s.subject for s in subjects}], min_size, config, data)
    registered = register_subjects(subjects, config.pairs, config.registration, cache, resources, progress)
    usable = [subject for subject in registered if subject.error is None]
    failures = {subject.subject: subject.error for subject in registered if subject.error is not None}
    if not usable:
        raise WorkError(f"{data}: no pair could be registered; the first: {next(iter(failures.values()))}")
    targets = np.array([_target(subject.group, config) for subject in usable])
    _check_size(targets, min_size, config, data)
    return Cohort(usable, targets, failures)


def _groups(subjects, data):
    """{subject: group}; both phases of a person must say the same."""
    groups = {}
    for subject in subjects:
        if groups.setdefault(subject.subject, subject.group) != subject.group:
            raise UserError(f"{data}: subject {subject.subject} has two groups; give all its rows the same one")
    return groups


def _check_groups(groups, config, data):
    """Refuses groups that are spelled otherwise in the config, and warns of those that are left out."""
    named, there = (*config.healthy, *(config.ill or ())), sorted(set(groups.values()) - {None})
    for name in named:
        if name not in there:
            those = ", ".join(there) or "none"
            raise UserError(f"{data}: no subject has group {name!r}{is_meant(name, there)}; there are {those}")
    for name in (name for name in there if name not in named):
        meant = misspelt(name, named)
        if meant is not None and plain_spelling(meant) == plain_spelling(name):
            raise UserError(f"{data}: group {name!r} is {meant!r} in the config; write both in one way")
        if meant is not None:
            fate = "counts as ill" if config.ill is None else "is left out"
            text = f"{data}: group {name!r} is not in the config (is `{meant}` meant?), and {fate}."
            warnings.warn(text, InputWarning, stacklevel=3)
    without = sorted(name for name, group in groups.items() if group is None)
    if without:
        warnings.warn(f"{data}: without a group, and left out: {some_of(without)}.", InputWarning, stacklevel=3)


def _check_size(targets, min_size, config, data):
    """Refuses groups that are too small to be divided."""
    for target, name in enumerate(("healthy", "ill")):
        count = int((np.asarray(targets) == target).sum())
        if count < min_size:
            names = ", ".join(config.healthy if target == 0 else config.ill or ("all others",))
            raise UserError(
                f"{data}: {count} {name} subjects ({names}), and {min_size} are needed; add some, or set folds"
            )


def _target(group, config):
    """0 for a healthy group, 1 for an ill one, -1 for neither."""
    if group in config.healthy:
        return 0
    return 1 if group is not None and (config.ill is None or group in config.ill) else -1
