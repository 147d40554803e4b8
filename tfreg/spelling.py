"""Spelling: which word somebody may have meant, and lists of names in one line."""

import difflib
import unicodedata
from collections.abc import Iterable

# Of difflib's ratio: from where on two spellings are taken for one word, and from where on one is worth a question.
ALIKE, NEAR = 0.8, 0.6
SHORTEST = 3  # letters of what is taken for the beginning of a word


def plain_spelling(word: object) -> str:
    """A word without case, spaces and punctuation, its accents in one encoding."""
    text = unicodedata.normalize("NFKC", str(word)).casefold()
    return "".join(character for character in text if character.isalnum())


def same_name(word: object) -> str:
    """What two spellings of one name share: its letters without case, accents in one encoding, single spaces."""
    return " ".join(unicodedata.normalize("NFC", str(word).casefold()).split())


def misspelt(word: object, choices: Iterable[str]) -> str | None:
    """The known word that another one is but for case, punctuation or a slip, or None.

    Args:
        word: What was written.
        choices: Words. What both begin with up to an underscore, such as "fixed_", makes them no more alike.

    Returns:
        One of `choices`, or None.
    """
    for name in choices:
        if plain_spelling(word) == plain_spelling(name):
            return name
    ratios = {name: _ratio(*_without_common_part(str(word), name)) for name in choices}
    best = max(ratios, key=lambda name: ratios[name], default=None)
    return best if best is not None and ratios[best] >= ALIKE else None


def begun_alike(word: object, choices: Iterable[str]) -> str | None:
    """The known word that another one begins with, or that begins with it, or None."""
    asked = plain_spelling(word)
    for name in choices:
        short, long = sorted((asked, plain_spelling(name).removesuffix("s")), key=len)
        if len(short) >= SHORTEST and long.startswith(short):
            return name
    return None


def nearest_word(word: object, choices: Iterable[str]) -> str | None:
    """The known word that somebody who wrote another one may have meant, or None."""
    choices = list(choices)
    nearest = misspelt(word, choices) or begun_alike(word, choices)
    if nearest is None:
        ratios = {name: _ratio(str(word), name) for name in choices}
        best = max(ratios, key=lambda name: ratios[name], default=None)
        nearest = best if best is not None and ratios[best] >= NEAR else None
    return nearest


def is_meant(word: object, choices: Iterable[str]) -> str:
    """The question that follows an unknown word in a message: " (is `x` meant?)", or "" where no known word is near."""
    nearest = nearest_word(word, choices)
    return "" if nearest is None else f" (is `{nearest}` meant?)"


def some_of(names: Iterable[object], limit: int = 8) -> str:
    """Names in one line, the first ones and how many more there are.

    Args:
        names: Texts.
        limit: How many are named.

    Returns:
        A string.
    """
    texts = [str(name) for name in names]
    more = len(texts) - limit
    return ", ".join(texts[:limit]) + (f" and {more} more" if more > 0 else "")


def _ratio(word, name):
    return difflib.SequenceMatcher(None, plain_spelling(word), plain_spelling(name)).ratio()


def _without_common_part(word, name):
    """Both words without the part up to an underscore that they share."""
    first, mark, rest = name.partition("_")
    if mark and word.casefold().startswith(f"{first}_"):
        return word[len(first) + 1 :], rest
    return word, name
