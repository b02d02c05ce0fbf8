"""A quality report as one HTML page that needs nothing else: no script, no font, no address.

Every text in it is escaped, for file names are a stranger's. Bars are plain HTML with their number beside
them, so that a printer and a screen reader have the same report.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from unica_sdk.node.quality.report import QualityReport, RuleResult

SHOWN: Final = 20
"""Examples of a rule on the page; the JSON beside it has a thousand."""

DIMENSIONS: Final = {
    "complete": "Complete",
    "unique": "Unique",
    "consistent": "Consistent",
    "accurate": "Accurate",
    "integrity": "Integrity",
    "privacy": "De-identification",
}

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --bar: #2f7f86; --bad: #b3452f; --soft: #b8860b; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
.sub { opacity: .75; margin: .25rem 0 1rem; overflow-wrap: anywhere; }
.mark { background: #f4d35e; color: #222; padding: .35rem .75rem; border-radius: .3rem; font-weight: 600; }
.figures { display: flex; flex-wrap: wrap; gap: .75rem 2.5rem; margin: 1rem 0; padding: 0; list-style: none; }
.figures b { display: block; font-size: 1.7rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1rem 2.5rem; }
.charts h3 { font-size: .95rem; margin: .5rem 0 .25rem; }
.bars { display: grid; grid-template-columns: minmax(6rem, 11rem) 1fr auto; gap: .2rem .6rem; margin: 0; }
.bars dt { overflow-wrap: anywhere; } .bars dd { margin: 0; align-self: center; }
.bars .n { font-variant-numeric: tabular-nums; text-align: right; }
.track { background: var(--line); height: .8rem; border-radius: .2rem; overflow: hidden; }
.track i { display: block; height: 100%; background: var(--bar); print-color-adjust: exact; }
.track .bad { background: var(--bad); }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th, td { text-align: left; padding: .4rem .6rem .4rem 0; vertical-align: top; }
th, td { border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.good { color: var(--bar); } .hard { color: var(--bad); font-weight: 600; } .soft { color: var(--soft); }
summary { cursor: pointer; } code { font-size: .85em; overflow-wrap: anywhere; }
ul.examples { margin: .4rem 0; padding-left: 1.1rem; } .none { opacity: .75; font-style: italic; }
footer { margin-top: 3rem; font-size: .85rem; opacity: .75; }
"""


def page(report: QualityReport) -> str:
    """Return the report as a page of HTML."""
    title = f"Quality of {report.site}/{report.dataset}"
    synthetic = '<p><span class="mark">SYNTHETIC data: of nobody</span></p>' if report.synthetic else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(title)}</title><style>{_STYLE}</style></head><body>
<h1>{escape(title)}</h1>
<p class="sub">Index version {report.version}, {escape(report.created)},
from <code>{escape(report.folder)}</code></p>
{synthetic}{_figures(report)}
<h2>By dimension</h2>{_dimensions(report)}
<h2>In quarantine</h2>{_quarantine(report)}
<h2>Rules</h2>{_rules(report.rules)}
<h2>Words outside the vocabulary</h2>{_unmapped(report)}
<h2>What was indexed</h2>{_distributions(report)}
<footer>People are named by the site's pseudonyms, files by their path. This page has true numbers: it is
for the site alone. Rules, edition {report.rules_edition}. The JSON file beside it has the same.</footer>
</body></html>
"""


def _figures(report: QualityReport) -> str:
    quarantined = sum(number for _, number in report.reasons)
    soft = sum(rule.failed for rule in report.rules if not rule.hard)
    figures = (
        (report.files, "files in the folder"),
        (report.files - quarantined, "images in the index"),
        (report.patients, "patients"),
        (quarantined, "files in quarantine"),
        (soft, "remarks on the rest"),
    )
    return '<ul class="figures">' + "".join(f"<li><b>{n:,}</b>{words}</li>" for n, words in figures) + "</ul>"


def _dimensions(report: QualityReport) -> str:
    """One bar for each dimension: the part of its checks that passed."""
    lines = []
    for dimension, name in DIMENSIONS.items():
        rules = [rule for rule in report.rules if rule.dimension == dimension]
        checked, failed = sum(r.checked for r in rules), sum(r.failed for r in rules)
        share = 1 - failed / checked if checked else 1.0
        # Never 100 % where something failed.
        words = "nothing to check" if not checked else f"{int(share * 1000) / 10:g} % passed"
        lines.append(_bar(name, share if checked else 0, words, bad=False))
    return f'<dl class="bars">{"".join(lines)}</dl>'


def _quarantine(report: QualityReport) -> str:
    if not report.reasons:
        return '<p class="none">No file: everything in the folder is in the index.</p>'
    most = report.reasons[0][1]
    bars = "".join(_bar(r.replace("_", " "), n / most, f"{n:,}", bad=True) for r, n in report.reasons)
    return (
        f'<dl class="bars">{bars}</dl><p>The files stay in the hospital\'s folder as they are. '
        "Which they are: under the rules below, and in full in the node's quarantine list.</p>"
    )


def _rules(rules: Sequence[RuleResult]) -> str:
    rows = "".join(map(_rule, rules))
    return (
        "<table><thead><tr><th>Rule</th><th>Asks</th><th class=n>Broken</th><th class=n>Of</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _rule(rule: RuleResult) -> str:
    kind = "good" if not rule.failed else "hard" if rule.hard else "soft"
    words = {"good": "✓", "hard": "✕ quarantine", "soft": "! remark"}[kind]
    examples = ""
    if rule.examples:
        shown = "".join(
            f"<li><code>{escape(about)}</code>{': ' if detail else ''}{escape(detail)}</li>"
            for about, detail in rule.examples[:SHOWN]
        )
        more = rule.failed - min(SHOWN, len(rule.examples))
        rest = f"<li>and {more:,} more</li>" if more else ""
        examples = f'<details><summary>Which</summary><ul class="examples">{shown}{rest}</ul></details>'
    return (
        f'<tr><td><code>{escape(rule.id)}</code><br><span class="{kind}">{words}</span></td>'
        f"<td>{escape(rule.text)}{examples}</td>"
        f"<td class=n>{rule.failed:,}</td><td class=n>{rule.checked:,} {rule.unit}</td></tr>"
    )


def _unmapped(report: QualityReport) -> str:
    if not report.unmapped:
        return '<p class="none">None: every word is in the shared vocabulary.</p>'
    rows = "".join(
        f"<tr><td>{escape(field)}</td><td>{escape(word)}</td><td class=n>{number:,}</td></tr>"
        for field, word, number in report.unmapped
    )
    return (
        "<p>They are left empty in the index, never guessed.</p><table><thead><tr><th>Field</th><th>Word</th>"
        f"<th class=n>Times</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _distributions(report: QualityReport) -> str:
    charts = "".join(_chart(title, values) for title, values in report.distributions if values)
    return f'<div class="charts">{charts}</div>' if charts else '<p class="none">No image.</p>'


def _chart(title: str, values: Iterable[tuple[str, int]]) -> str:
    numbers = list(values)
    most = max(number for _, number in numbers)
    bars = "".join(_bar(word, number / most, f"{number:,}", bad=False) for word, number in numbers)
    return f'<section><h3>{escape(title)}</h3><dl class="bars">{bars}</dl></section>'


def _bar(name: str, share: float, words: str, *, bad: bool) -> str:
    kind = ' class="bad"' if bad else ""
    return (
        f'<dt>{escape(name)}</dt><dd class="track"><i{kind} style="width:{100 * share:.1f}%"></i></dd>'
        f'<dd class="n">{escape(words)}</dd>'
    )
