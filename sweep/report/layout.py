"""A table that fits its terminal: of several layouts, richest first, the first one whose numbers are all whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

NAME_WIDTH = 26
LEAST_NAME = 14  # `demonstrations` is whole
GAP = 1


@dataclass(frozen=True)
class Column:
    """Numbers under a heading, one cell per row. Cells may have markup and are never folded."""

    header: str
    cells: Sequence[str]
    right: bool = True

    @property
    def width(self) -> int:
        """Of the widest line in it."""
        lines = [*self.header.splitlines(), *(Text.from_markup(cell).plain for cell in self.cells)]
        return max(map(cell_len, lines))


@dataclass(frozen=True)
class Layout:
    """One way to show a table.

    Attributes:
        columns: beside the names of the rows.
        left_out: what a richer layout has besides, in words.
    """

    columns: Sequence[Column]
    left_out: Sequence[str] = ()

    @property
    def width(self) -> int:
        """Beside the names."""
        return sum(column.width + GAP for column in self.columns)


def fitted(title: str, names: Sequence[str], dim: Sequence[bool], layouts: Iterable[Layout], width: int) -> Group:
    """The first layout that fits, and in words what it leaves out.

    Args:
        title: above the table.
        names: of the rows; folded where that makes a layout fit.
        dim: per row, whether it stands back.
        layouts: richest first, at least one.
        width: of the terminal.
    """
    layout = None
    for layout in layouts:
        if LEAST_NAME + layout.width <= width:
            break
    else:
        needed = LEAST_NAME + layout.width if layout is not None else 0
        left_out = f"Left out at {width} columns: this table, which needs {needed}. It is in evaluation.json."
        return Group(Text(title, style="italic"), Text(left_out))
    parts: list[RenderableType] = [Text(title, style="italic"), _table(layout, names, dim, width)]
    if layout.left_out:
        parts.append(Text(f"Left out at {width} columns: {', '.join(layout.left_out)}.", style="dim"))
    return Group(*parts)


def _table(layout: Layout, names: Sequence[str], dim: Sequence[bool], width: int) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    longest = max((cell_len(Text.from_markup(name).plain) for name in names), default=0)
    table.add_column("row", overflow="fold", width=min(max(longest, LEAST_NAME), NAME_WIDTH, width - layout.width))
    for column in layout.columns:
        table.add_column(column.header, justify="right" if column.right else "left", no_wrap=True)
    for name, is_dim, *cells in zip(names, dim, *(column.cells for column in layout.columns), strict=True):
        table.add_row(name, *cells, style="dim" if is_dim else None)
    return table
