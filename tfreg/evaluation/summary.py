"""From the rows of an evaluation to the figures of its tables."""

import numpy as np

from tfreg.evaluation.methods import READERS
from tfreg.metrics.statistics import bootstrap_interval, holm, paired_test

# Figures of a pair, by where they stand in its row.
FIGURES = {
    "dice": ("quality", "mean_dice"),
    "hd95_mm": ("quality", "mean_hd95_mm"),
    "surface_mm": ("quality", "mean_surface_mm"),
    "tre_mm": ("quality", "landmarks", "mean_mm"),
    "tre_median_mm": ("quality", "landmarks", "median_mm"),
    "tre_p75_mm": ("quality", "landmarks", "p75_mm"),
    "tre_p95_mm": ("quality", "landmarks", "p95_mm"),
    "tre_max_mm": ("quality", "landmarks", "max_mm"),
    "dx_mm": ("quality", "landmarks", "dx_mm"),
    "dy_mm": ("quality", "landmarks", "dy_mm"),
    "dz_mm": ("quality", "landmarks", "dz_mm"),
    "folding_fraction": ("quality", "folding_fraction"),
    "log_jacobian_mean": ("quality", "log_jacobian", "labels", "mean"),
    "log_jacobian_sd": ("quality", "log_jacobian", "labels", "sd"),
    "volume_change_percent": ("quality", "log_jacobian", "labels", "volume_change_percent"),
    "damping": ("damping",),
    "seconds": ("seconds",),
    "peak_mb": ("peak_mb",),
}
# Figures of each label.
LABEL_FIGURES = {
    "dice": ("quality", "dice", None),
    "hd95_mm": ("quality", "hd95_mm", None),
    "surface_mm": ("quality", "surface_mm", None),
    "log_jacobian_mean": ("quality", "log_jacobian", None, "mean"),
    "log_jacobian_sd": ("quality", "log_jacobian", None, "sd"),
    "volume_ml": ("quality", "log_jacobian", None, "volume_ml"),
    "mapped_volume_ml": ("quality", "log_jacobian", None, "mapped_volume_ml"),
    "volume_change_percent": ("quality", "log_jacobian", None, "volume_change_percent"),
}
COMPARED = ("dice", "hd95_mm", "tre_mm")


def figure(row, path, label=None):
    """A figure of a row, or None where it is not there or not a number."""
    for key in path:
        row = row.get(label if key is None else key) if isinstance(row, dict) else None
    return None if row is None or not np.isfinite(row) else float(row)


def labels_of(row):
    """The labels that were measured in a row, in numerical order."""
    return sorted(row.get("quality", {}).get("dice", {}), key=int)


def lost_labels_of(row):
    """The labels that are missing in a row's fixed or warped segmentation; None where no segmentation was warped."""
    return row.get("quality", {}).get("lost_labels")


def summarise(rows, experiments, methods, reference):
    """The figures of all tables.

    Args:
        rows: A list of rows as `tfreg.evaluation.measure.measure` makes them.
        experiments: Dictionary of an experiment's name to its `PairFiles`s.
        methods: Names, in the tables' order.
        reference: The method that the others are compared with.

    Returns:
        A dictionary of experiment to a dictionary: `pairs`, `subjects` (how many); `methods`, name to
        counts and distributions; `comparisons`, a list of paired differences to the reference. Each distribution and
        difference says over how many `pairs` it is, `of` how many that could have been measured: a pair that a method
        fails on is in none of its means.
    """
    result = {}
    for name, pairs in experiments.items():
        people = {pair.id: pair.subjects for pair in pairs}
        by_method = {
            method: {
                row["pair"]: row
                for row in rows
                if row["experiment"] == name and row["method"] == method and row["pair"] in people
            }
            for method in methods
        }
        by_method = {method: found for method, found in by_method.items() if found}
        result[name] = {
            "pairs": len(pairs),
            "subjects": len({subject for subjects in people.values() for subject in subjects}),
            "methods": {
                # Two readers' landmarks are compared where there are two, the other methods everywhere.
                method: _of_method(
                    found,
                    _measurable(by_method, [pair for pair in pairs if method != READERS or pair.id in found]),
                    people,
                )
                for method, found in by_method.items()
            },
            "comparisons": _comparisons(by_method, reference, people),
        }
    return result


def _measurable(by_method, pairs):
    """A function from a figure's place in a row, and a label, to how many pairs it could be measured on."""
    rows = [row for found in by_method.values() for row in found.values()]
    read = {row["pair"] for row in rows if "error" not in row}

    def files(pair, path):
        """Whether a pair that every method failed on has the files for a figure."""
        if path[0] != "quality" or "folding_fraction" in path:
            return True
        return (pair.fixed_points if "landmarks" in path else pair.fixed_labels) is not None

    def count(path, label=None):
        known = {row["pair"] for row in rows if figure(row, path, label) is not None}
        return sum(pair.id in known or (pair.id not in read and label is None and files(pair, path)) for pair in pairs)

    return count


def _of_method(found, measurable, people):
    """Counts and distributions of one method's rows by pair."""
    good = {pair: row for pair, row in found.items() if "error" not in row}
    labels = sorted({label for row in good.values() for label in labels_of(row)}, key=int)
    lost = [label for row in good.values() for label in lost_labels_of(row) or ()]
    warped = any(lost_labels_of(row) is not None for row in good.values())
    return {
        "measured": len(good),
        "failures": {pair: row["error"] for pair, row in found.items() if "error" in row},
        "folding": sum(bool(figure(row, FIGURES["folding_fraction"])) for row in good.values()),
        "certified": _count(good, "certified", True),
        "review": _count(good, "verdict", "review"),
        "structures": sum(len(labels_of(row)) for row in good.values()) if warped else None,
        "lost_structures": len(lost) if warped else None,
        "figures": {name: _distribution(good, measurable, people, path) for name, path in FIGURES.items()},
        "labels": {
            label: {name: _distribution(good, measurable, people, path, label) for name, path in LABEL_FIGURES.items()}
            | {"lost": lost.count(label)}
            for label in labels
        },
    }


def _count(rows, key, value):
    """How many rows say so; None where the method does not tell."""
    told = [row[key] for row in rows.values() if key in row]
    return told.count(value) if told else None


def _distribution(rows, measurable, people, path, label=None):
    """Mean, spread and interval of a figure over pairs; None where no pair has it."""
    values = {pair: figure(row, path, label) for pair, row in rows.items()}
    values = {pair: value for pair, value in values.items() if value is not None}
    if not values:
        return None
    array = np.array(list(values.values()))
    low, high = bootstrap_interval(array, [people[pair] for pair in values])
    return {
        "pairs": len(array),
        "of": measurable(path, label),
        "mean": float(array.mean()),
        "sd": float(array.std(ddof=1)) if len(array) > 1 else None,
        "median": float(np.median(array)),
        "min": float(array.min()),
        "max": float(array.max()),
        "interval": None if np.isnan(low) else [low, high],
    }


def _comparisons(by_method, reference, people):
    """Paired differences of every method to the reference, on the pairs that both registered."""
    found = []
    for name in COMPARED:
        tests = []
        for method, rows in by_method.items():
            if method == reference or reference not in by_method:
                continue
            both = {
                pair: (figure(row, FIGURES[name]), figure(by_method[reference].get(pair, {}), FIGURES[name]))
                for pair, row in rows.items()
            }
            differences = {pair: a - b for pair, (a, b) in both.items() if a is not None and b is not None}
            if not differences:
                continue
            subjects = [people[pair] for pair in differences]
            values = np.array(list(differences.values()))
            low, high = bootstrap_interval(values, subjects)
            tests.append(
                {
                    "figure": name,
                    "method": method,
                    "reference": reference,
                    "pairs": len(values),
                    "of": len(both.keys() | by_method[reference].keys()),
                    "difference": float(values.mean()),
                    "interval": None if np.isnan(low) else [low, high],
                    "p": paired_test(values, subjects),
                }
            )
        for test, adjusted in zip(tests, holm([test["p"] for test in tests]), strict=True):
            found.append(test | {"p_holm": adjusted})
    return found
