"""Tables of words, for Markdown and for pages."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of words.

    Args:
        columns: The heads of the columns after the first.
        rows: Pairs of a row's name and its cells, as many as columns.
        corner: The head of the first column.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    corner: str = ""

    def markdown(self):
        """Lines of Markdown; none for a table without rows."""
        if not self.rows:
            return []
        lines = [("", self.corner, *self.columns, ""), ("", *["---"] * (1 + len(self.columns)), "")]
        lines += [("", name, *cells, "") for name, cells in self.rows]
        return [" | ".join(cells).strip() for cells in lines]
