"""What an evaluation says of networks that were trained on the people they are measured on."""

from dataclasses import replace

MARK, ASK = "†", "‡"


def marked(table, parts):
    """A table with marks at the networks that have seen some of the people, or of which it is not known.

    Args:
        table: A `Table` with methods as rows.
        parts: Experiments of the summary.

    Returns:
        A `Table`.
    """
    marks = {}
    for part in parts:
        for name, figures in part["methods"].items():
            seen = figures.get("seen")
            if seen and (seen["train"] or seen["validation"]):
                marks[name] = MARK
            elif seen and seen["unknown"]:
                marks.setdefault(name, ASK)
    return replace(table, marks=marks)


def training_notes(part):
    """What the marks mean in one experiment, sentences.

    Args:
        part: An experiment of the summary.

    Returns:
        A list of texts, empty where no network has seen anybody.
    """
    notes = []
    for name, figures in part["methods"].items():
        seen = figures.get("seen")
        if not seen:
            continue
        told = []
        if seen["train"]:
            told.append(f"was trained on {seen['train']} of the {seen['people']} people measured here")
        if seen["validation"]:
            told.append(f"had its best epoch chosen on {seen['validation']} of the {seen['people']} people")
        if told:
            notes.append(
                f"{MARK} {name} {' and '.join(told)}; its figures are not those of people that it has not seen."
            )
        elif seen["unknown"]:
            notes.append(
                f"{ASK} {name}: its folder holds no subjects.json, so that it is not known whether it was trained on "
                "people measured here."
            )
    return notes
