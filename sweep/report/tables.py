"""How all tables look: no lines, bold headings, one space between columns. Text folds where there is no room for it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

NAME_WIDTH = 26


def plain_table(headers: Sequence[str], *, left: Collection[str] = ("row", "policy")) -> Table:
    """An empty table. Numbers are flush right, the columns named in `left` are not; the first one may fold."""
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    for place, header in enumerate(headers):
        table.add_column(
            header,
            justify="left" if header in left else "right",
            overflow="fold",
            max_width=NAME_WIDTH if place == 0 else None,
        )
    return table


def titled(title: str, *parts: RenderableType) -> Group:
    """A table under its title, which folds at the terminal's width and not at the table's."""
    return Group(Text(title, style="italic"), *parts)


def labelled(rows: Sequence[tuple[str, str]]) -> Table:
    """Two columns: what it is, and the text, in which nothing is taken for markup."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in rows:
        table.add_row(Text(label), Text(text))
    return table
