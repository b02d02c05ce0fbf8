"""One table for notebook, terminal and data frame, so that the three cannot disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import rich.table

_STYLE = (
    "border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.4em 0",
    "text-align:left;padding:.25em .9em .25em 0;border-bottom:1px solid currentColor",
    "text-align:left;padding:.2em .9em .2em 0",
    "opacity:.75;font-size:.9em;margin:.2em 0",
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under named columns, with a title, a note (of lines), and a word for 'nothing'.

    Example:
        >>> print(Table(title="Nodes", columns=("site",), rows=(("gr",),), empty="No node."))
        Nodes
        site
        ────
        gr
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    empty: str
    note: str = ""

    def html(self) -> str:
        """Return the table as HTML that follows the page's colours, light or dark."""
        table, head, cell, note = _STYLE
        parts = [f"<div><strong>{escape(self.title)}</strong>"]
        if self.rows:
            parts.append(f'<table style="{table}"><thead><tr>')
            parts.extend(f'<th scope="col" style="{head}">{escape(column)}</th>' for column in self.columns)
            parts.append("</tr></thead><tbody>")
            for row in self.rows:
                cells = "".join(f'<td style="{cell}">{escape(_text(value))}</td>' for value in row)
                parts.append(f"<tr>{cells}</tr>")
            parts.append("</tbody></table>")
        else:
            parts.append(f'<div style="{note}">{escape(self.empty)}</div>')
        parts.extend(f'<div style="{note}">{escape(line)}</div>' for line in self.note.splitlines())
        parts.append("</div>")
        return "".join(parts)

    def rich(self) -> rich.table.Table:
        """Return the table for a rich console."""
        import rich.box
        import rich.table

        table = rich.table.Table(
            title=self.title,
            caption=self.note or None,
            box=rich.box.SIMPLE_HEAD,
            title_justify="left",
            caption_justify="left",
            min_width=len(self.title),
        )
        for column in self.columns:
            table.add_column(column)
        for row in self.rows:
            table.add_row(*map(_text, row))
        if not self.rows:
            table.add_row(self.empty)
        return table

    def frame(self) -> pd.DataFrame:
        """Return the rows as a pandas data frame.

        Raises:
            ConfigurationError: pandas is not installed.
        """
        from unica_sdk.errors import ConfigurationError

        try:
            import pandas as pd
        except ImportError as err:
            raise ConfigurationError("pandas is not installed.", hint="pip install pandas") from err
        return pd.DataFrame(list(self.rows), columns=list(self.columns))

    def __str__(self) -> str:
        lines = [self.title]
        if self.rows:
            texts = [tuple(map(_text, row)) for row in self.rows]
            widths = [max(len(row[i]) for row in (self.columns, *texts)) for i in range(len(self.columns))]
            lines.append(_line(self.columns, widths))
            lines.append("  ".join("─" * width for width in widths))
            lines.extend(_line(row, widths) for row in texts)
        else:
            lines.append(self.empty)
        if self.note:
            lines.append(self.note)
        return "\n".join(lines)


class Shown:
    """Anything that shows itself as one table: in a notebook, in a terminal and as a frame."""

    def _table(self) -> Table:
        raise AssertionError(f"{type(self).__name__} has no table")

    def to_frame(self) -> pd.DataFrame:
        """Return what is shown as a pandas data frame."""
        return self._table().frame()

    def _repr_html_(self) -> str:
        return self._table().html()

    def __rich__(self) -> rich.table.Table:
        return self._table().rich()

    def __repr__(self) -> str:
        return str(self._table())

    def __str__(self) -> str:
        return repr(self)


def figure(value: float, low: float, high: float) -> str:
    """Return a figure with its 95 % interval.

    Example:
        >>> figure(0.9123, 0.8801, 0.9404)
        '0.912 (0.880–0.940)'
    """
    return f"{value:.3f} ({low:.3f}–{high:.3f})"


def joined(words: Sequence[str]) -> str:
    """Return words in a row, or a dash for none."""
    return ", ".join(words) or "–"


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
