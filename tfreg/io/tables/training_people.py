"""The people that a run was trained on: recorded in its folder, and recognised by their images."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

from tfreg.errors import InputWarning
from tfreg.io.digests import voxels_digest
from tfreg.io.folders.whole_file import whole_file
from tfreg.io.json_files import Record
from tfreg.io.tables.manifest import PairFiles
from tfreg.spelling import some_of

FILE = "subjects.json"
TRAIN, VALIDATION = "train", "validation"


class TrainingPeople(Record):
    """Who a run was trained on: subjects.json.

    Args:
        train, validation: Dictionary of a person's name to the digests of the images.
    """

    CURE: ClassVar[str] = "delete it, and it is not known who was trained on"

    train: dict[str, list[str]]
    validation: dict[str, list[str]]

    @classmethod
    def of_pairs(cls, train_pairs: Iterable[PairFiles], validation_pairs: Iterable[PairFiles]) -> Self:
        """Those of a training's pairs."""
        splits = {}
        for split, pairs in ((TRAIN, train_pairs), (VALIDATION, validation_pairs)):
            people: dict[str, set[str | None]] = {}
            for pair in pairs:
                for person, image in people_of(pair):
                    people.setdefault(person, set()).add(voxels_digest(image))
            splits[split] = {
                person: sorted(digest for digest in digests if digest is not None)
                for person, digests in sorted(people.items())
            }
        return cls(**splits)

    def save(self, run: Path) -> None:
        """Keeps them in a run's folder."""
        with whole_file(run / FILE) as partial:
            partial.write_text(self.text(), encoding="utf-8")

    @classmethod
    def of_run(cls, run: str | Path) -> Self | None:
        """Those of a run.

        Args:
            run: Its folder, or the model's file in it.

        Returns:
            A `TrainingPeople`, or None where the run does not say.

        Raises:
            UserError: If the record is damaged.
        """
        run = Path(run)
        file = (run if run.is_dir() else run.parent) / FILE
        return cls.read(file) if file.is_file() else None

    def among(self, pairs: Iterable[PairFiles]) -> dict[str, str]:
        """Which people of some pairs the run has seen: anybody of whom it has seen an image, whatever it is called.

        Args:
            pairs: The pairs' files.

        Returns:
            Dictionary of a person to "train", or to "validation" for those on whom the best epoch was chosen.
        """
        split_of = {
            digest: split
            for split in (VALIDATION, TRAIN)
            for digests in getattr(self, split).values()
            for digest in digests
        }
        seen: dict[str, str] = {}
        for pair in pairs:
            for person, image in people_of(pair):
                split = split_of.get(voxels_digest(image))
                if split is not None and seen.get(person) != TRAIN:
                    seen[person] = split
        return seen

    def namesakes(self, pairs: Sequence[PairFiles]) -> list[str]:
        """People of some pairs who have the name of one that the run has seen, but none of the images."""
        names = {*self.train, *self.validation}
        seen = self.among(pairs)
        people = {person for pair in pairs for person in (pair.fixed_subject, pair.moving_subject) if person}
        return sorted((people & names) - set(seen))


def people_of(pair: PairFiles) -> Iterator[tuple[str, Path]]:
    """(person, image) of a pair's two sides; where the person is not known, the pair and the side stand for it."""
    yield pair.fixed_subject or f"{pair.id} (fixed)", pair.fixed
    yield pair.moving_subject or f"{pair.id} (moving)", pair.moving


def seen_in(people: Mapping[str, str] | None, pair: PairFiles) -> dict[str, str] | None:
    """What a row says of a pair.

    Args:
        people: What `TrainingPeople.among` finds, or None.
        pair: The pair's files.

    Returns:
        The part of `people` that is in the pair; None where nothing is known.
    """
    return None if people is None else {person: people[person] for person, _ in people_of(pair) if person in people}


def seen_by(models: Mapping[str, str | Path], pairs: Sequence[PairFiles]) -> dict[str, dict[str, str] | None]:
    """Which people the networks have seen; what is known of it is told as an `InputWarning`.

    Args:
        models: Dictionary of a network's name to its file or run folder.
        pairs: The pairs' files, all that it is measured on.

    Returns:
        Dictionary of the name to what `TrainingPeople.among` finds, or to None where the run does not say.
    """
    people = {person for pair in pairs for person, _ in people_of(pair)}
    seen: dict[str, dict[str, str] | None] = {}
    for name, model in models.items():
        record = TrainingPeople.of_run(model)
        if record is None:
            seen[name] = None
            continue
        seen[name] = splits = record.among(pairs)
        for split, words in ((TRAIN, "was trained on"), (VALIDATION, "had its best epoch chosen on")):
            those = sorted(person for person, where in splits.items() if where == split)
            if those:
                warnings.warn(
                    f"{name} {words} {len(those)} of the {len(people)} people here: {some_of(those)}; its figures are "
                    "not those of people that it has not seen.",
                    InputWarning,
                    stacklevel=3,
                )
        if namesakes := record.namesakes(pairs):
            warnings.warn(
                f"{name} was trained on people of the same names, but on other images: {some_of(namesakes)}; if they "
                "are the same people, its figures are too good.",
                InputWarning,
                stacklevel=3,
            )
    return seen
