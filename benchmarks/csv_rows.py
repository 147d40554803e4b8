"""Rows of results in CSV files."""

import csv


def read_csv(path, texts):
    """A CSV file's rows, as dictionaries.

    Args:
        path: The file; it need not exist.
        texts: The columns that hold text; the others hold numbers, or None where nothing stands.

    Returns:
        A list, empty where there is no file.
    """
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {key: text if key in texts else float(text) if text else None for key, text in row.items()}
            for row in csv.DictReader(file)
        ]
