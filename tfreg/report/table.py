"""Tables of words, for Markdown and for pages."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """A table of words.

    Args:
        columns: The heads of the columns after the first.
        rows: Pairs of a row's name and its cells, as many as columns.
        corner: The head of the first column.
        marks: Dictionary of a row's name to a sign that follows it.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    corner: str = ""
    marks: dict[str, str] = field(default_factory=dict)

    def marked(self, name: str) -> str:
        """A row's name and its mark."""
        return f"{name} {self.marks[name]}" if name in self.marks else name

    def markdown(self) -> list[str]:
        """Lines of Markdown; none for a table without rows."""
        if not self.rows:
            return []
        lines = [("", self.corner, *self.columns, ""), ("", *["---"] * (1 + len(self.columns)), "")]
        lines += [("", self.marked(name), *cells, "") for name, cells in self.rows]
        return [" | ".join(cells).strip() for cells in lines]
