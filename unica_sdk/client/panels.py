"""What a project manager's dashboard shows: pure functions from the released indicators to HTML.

Runs in a dashboard's kernel. May see released aggregates and states. Must never ask anybody anything.

Every text that a site wrote is escaped. Figures are drawn without pyplot, so nothing is kept between calls.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from unica_sdk.errors import DataError
from unica_sdk.schemas.catalogue import DatasetRecord, Indicators, NodeStatus
from unica_sdk.schemas.cohort import CountAnswer, Refused, Released, Suppressed, Unsupported
from unica_sdk.schemas.job import JobState

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def load_indicators(path: str | Path) -> Indicators:
    """Read the indicators that the dashboards' service left for this page.

    Raises:
        DataError: the file is missing or holds something else.
    """
    try:
        return Indicators.model_validate_json(Path(path).read_bytes())
    except (OSError, ValidationError) as err:
        raise DataError("There are no indicators to show.", where=str(path)) from err


def summary(indicators: Indicators) -> str:
    """Return the page's head: the date of the data and, where it is so, that they are synthetic."""
    synthetic = [record for record in indicators.datasets if record.synthetic]
    if not synthetic:
        note = ""
    elif len(synthetic) == len(indicators.datasets):
        note = f"{_tag('synthetic', 'synthetic')} Every dataset shown here is synthetic."
    else:
        note = (
            f"{_tag('synthetic', 'synthetic')} {len(synthetic)} of {len(indicators.datasets)} datasets are."
        )
    return f'<p class="date">State of {_moment(indicators.at)}. {note}</p>'


def nodes_table(indicators: Indicators) -> str:
    """Return the sites with their country and whether they are connected."""
    if not indicators.nodes:
        return _empty("No node has been enrolled yet.")
    online = sum(node.online for node in indicators.nodes)
    return _table(
        caption=f"{online} of {len(indicators.nodes)} nodes online",
        heads=("Node", "Country", "State", "Last seen", "Datasets"),
        rows=(_node_row(node) for node in indicators.nodes),
        numbers=(4,),
    )


def datasets_table(indicators: Indicators) -> str:
    """Return the datasets as their sites describe them, with protected numbers of patients."""
    if not indicators.datasets:
        return _empty("No node has published a dataset yet.")
    return _table(
        caption="As described by the sites; numbers passed each site's disclosure control",
        heads=("Dataset", "Node", "Patients", "Studies", "Modalities", "Published"),
        rows=(_dataset_row(record) for record in indicators.datasets),
        numbers=(2, 3),
    )


def jobs_table(indicators: Indicators) -> str:
    """Return how many jobs stand in each state."""
    found = {state: indicators.jobs.get(state.value, 0) for state in JobState}
    rows = [(escape(state.value), f"{n:,}") for state, n in found.items() if n]
    if not rows:
        return _empty("No job has been submitted yet.")
    total = sum(found.values())
    return _table(caption=_counted(total, "job"), heads=("State", "Jobs"), rows=rows, numbers=(1,))


def cases_text(indicators: Indicators) -> str:
    """Return the number of cases against the goal in one sentence, as a reader without the figure needs it.

    Example:
        >>> from datetime import UTC, datetime
        >>> cases_text(Indicators(at=datetime(2030, 1, 1, tzinfo=UTC), goal_cases=100_000, cases_lower=2300,
        ...     cases_upper=2400, nodes=(), datasets=(), jobs={}, isolation=""))
        'Between 2,300 and 2,400 cases of the 100,000 that are the goal: 2.3 % to 2.4 %.'
    """
    low, high, goal = indicators.cases_lower, indicators.cases_upper, indicators.goal_cases
    of_goal = f"of the {goal:,} that are the goal"
    if high is None:
        return f"At least {low:,} cases {of_goal}; not every node has said how many it has."
    if high == 0:
        return f"No cases yet {of_goal}."
    if low == high:
        return f"{_counted(low, 'case')} {of_goal}: {_share(low, goal)}."
    shares = dict.fromkeys((_share(low, goal), _share(high, goal)))
    return f"Between {low:,} and {high:,} cases {of_goal}: {' to '.join(shares)}."


def cases_figure(indicators: Indicators) -> Figure:
    """Return the bar of cases against the goal: full up to the lower bound, hatched up to the upper one."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import StrMethodFormatter

    low, goal = indicators.cases_lower, indicators.goal_cases
    high = low if indicators.cases_upper is None else indicators.cases_upper
    figure = Figure(figsize=(8.5, 1.5), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(0, goal, color="#e6ebf0", height=0.6)
    axes.barh(0, low, color="#1f5f8b", height=0.6, label="at least")
    axes.barh(0, high - low, left=low, color="#9cc3e0", hatch="///", edgecolor="#1f5f8b", height=0.6)
    axes.set(xlim=(0, max(goal, high, 1)), ylim=(-0.5, 0.5), yticks=(), xlabel="cases")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    return figure


def cases_panel(indicators: Indicators) -> str:
    """Return the figure as an image with its alternative text, and the same sentence below it."""
    text = cases_text(indicators)
    return figure_html(cases_figure(indicators), alt=f"Bar of cases. {text}", caption=text)


def figure_html(figure: Figure, *, alt: str, caption: str) -> str:
    """Return a matplotlib figure as self-contained HTML (SVG in the page, no file beside it)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    image = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img src="data:image/svg+xml;base64,{image}" alt="{escape(alt)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _node_row(node: NodeStatus) -> Sequence[str]:
    state = _tag("on", "online") if node.online else _tag("off", "offline")
    seen = _moment(node.last_seen) if node.last_seen else "never"
    name = f"{escape(node.name)} <small>({escape(node.site)})</small>"
    return (name, escape(node.country), state, seen, str(len(node.datasets)))


def _dataset_row(record: DatasetRecord) -> Sequence[str]:
    synthetic = " " + _tag("synthetic", "synthetic") if record.synthetic else ""
    return (
        f"{escape(record.title)}{synthetic}<br><small>{escape(record.id)}</small>",
        escape(record.site),
        _people(record.patients),
        _people(record.studies),
        escape(", ".join(record.modalities)),
        _moment(record.issued),
    )


def _people(answer: CountAnswer) -> str:
    match answer:
        case Released(n=n, low=low, high=high):
            return f"{n:,} <small>({low:,}–{high:,})</small>"
        case Suppressed(below=below):
            return f"fewer than {below}"
        case Refused() | Unsupported():
            return "not released"
        case _:
            return "not answered"


def _table(
    *, caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()
) -> str:
    """Return a table; the cells are HTML already, the other texts are not."""
    kinds: Mapping[int, str] = dict.fromkeys(numbers, ' class="number"')
    head = "".join(f'<th scope="col"{kinds.get(i, "")}>{escape(text)}</th>' for i, text in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f"<td{kinds.get(i, '')}>{cell}</td>" for i, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _empty(text: str) -> str:
    return f'<p class="empty">{escape(text)}</p>'


def _tag(kind: str, text: str) -> str:
    return f'<span class="tag {kind}">{escape(text)}</span>'


def _moment(moment: datetime) -> str:
    return f'<time datetime="{moment.isoformat()}">{moment:%d %B %Y, %H:%M} {moment.tzname()}</time>'


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def _share(n: int, goal: int) -> str:
    return f"{100 * n / goal:.1f} %" if goal else "–"
