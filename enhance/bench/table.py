"""A summary as a table: for a terminal, as Markdown, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from enhance.bench.records import UNTOUCHED, Summary
from enhance.metrics import METRICS

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

DIGITS = {"stoi": 3, "estoi": 3, "llr": 2, "si_sdr": 1, "snr": 1, "seg_snr": 1, "wss": 1}
NAME_WIDTH = 20  # longer names are folded
COSTS = ("RTF", "params", "MAC/s")
COSTS_WIDTH, COUNT_WIDTH, CELL_WIDTH = 25, 9, 16  # columns of a terminal, with the gap to the next


def digits(metric: str) -> int:
    """Decimals that mean something: of a ratio in dB one, of STOI three, else two."""
    return DIGITS.get(metric, 1 if METRICS[metric].unit == "dB" else 2)


def heading(metric: str) -> str:
    """Label, unit and which way is better: ``PESQ-WB ↑``, ``SI-SDR (dB) ↑``."""
    about = METRICS[metric]
    unit = f" ({about.unit})" if about.unit == "dB" else ""
    return f"{about.label}{unit} {'↑' if about.higher_is_better else '↓'}"


def shown(score: Mapping[str, Any]) -> float:
    """What a table shows of a score: the median over clips where the field reports that, else the mean."""
    return score.get("median", score["mean"])


def best(rows: Sequence[dict[str, Any]], metric: str) -> float | None:
    """The best value of a column, among the systems that have it of as many clips as any: a failure wins nothing."""
    scored = [row for row in rows if metric in row["scores"]]
    counts = [row["scores"][metric]["n"] for row in scored if row["name"] != UNTOUCHED]
    values = [shown(row["scores"][metric]) for row in scored if row["scores"][metric]["n"] >= max(counts, default=0)]
    if len(values) < 2:
        return None
    return max(values) if METRICS[metric].higher_is_better else min(values)


def cost(row: dict[str, Any]) -> list[str]:
    """Real-time factor, parameters and MACs per second, as texts."""
    rtf, parameters, macs = row["rtf"], row["parameters"], row["macs_per_second"]
    return [
        "" if rtf is None else f"{rtf:.4f}" if rtf < 0.01 else f"{rtf:.3f}",
        "" if parameters is None else f"{parameters / 1e6:.2f} M",
        "" if macs is None else f"{macs / 1e9:.2f} G",
    ]


def sections(summary: Summary) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The tables of a summary: all clips, each source, each group."""
    title = f"{summary['data']['name']}: {summary['data']['clips']} clips"
    yield title, summary["systems"]
    for source, rows in summary.get("sources", {}).items():
        yield f"source {source}", rows
    for tag, groups in summary.get("groups", {}).items():
        for value, rows in groups.items():
            yield f"{tag} {value}", rows


DIFFERENCES = ("paired differences", "metric", "n", "difference", "95 %", "p (Wilcoxon, Holm)")


def comparison_tables(summary: Summary) -> Iterator[tuple[tuple[str, ...], list[dict[str, Any]]]]:
    """Headings and rows of paired differences: of all clips, of groups with the group's column first."""
    if summary["comparisons"]:
        yield DIFFERENCES, summary["comparisons"]
    for tag, rows in summary.get("group_comparisons", {}).items():
        if rows:
            yield (tag, *DIFFERENCES), rows


def comparison_lines(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The group, if there is one, system against which, metric, clips that both have, difference, interval, p."""
    lines = []
    for row in rows:
        metric = row["metric"]
        places = digits(metric)
        interval = "" if row["low"] is None else f"{row['low']:+.{places}f} to {row['high']:+.{places}f}"
        p = "" if row["p"] is None else "< 0.001" if row["p"] < 0.001 else f"{row['p']:.3f}"
        names = f"{row['system']} − {row['against']}"
        group = (row["group"],) if "group" in row else ()
        difference = f"{row['difference']:+.{places}f}"
        lines.append((*group, names, METRICS[metric].label, str(row["n"]), difference, interval, p))
    return lines


def footnotes(summary: Summary) -> list[str]:
    """What the table's numbers are, and what made them."""
    foot = summary["footer"]
    data = summary["data"]
    versions = ", ".join(f"{name} {value}" for name, value in foot.items() if name not in ("device", "jobs", "command"))
    notes = [f"{row['name']}: {row['note']}" for row in summary["systems"] if row.get("note")]
    for row in summary["systems"]:
        if (delay := row.get("delay")) and any(delay.values()):
            low, middle, high = (1000 * delay[part] for part in ("low", "median", "high"))
            spread = f" ({low:.1f} to {high:.1f})" if low < high else ""
            notes.append(f"{row['name']}: {middle:.1f} ms late{spread}, taken out by --align, which looks up to 1 s")
    if medians := [METRICS[metric].label for metric in summary["metrics"] if METRICS[metric].median]:
        what = "the median over seconds, then over clips, and the mean of that over sources; differences are means"
        notes.append(f"{', '.join(medians)}: {what}")
    return [
        *notes,
        *_uneven(summary),
        "n: clips with all of these scores, of all; intervals: 95 % bootstrap over clips; RTF: processor time on "
        f"one thread over duration, {foot['jobs']} job(s) at a time",
        f"data {data['fingerprint']} ({data['path']}), {data['seconds']:.0f} s",
        f"{versions}; {foot['device']}",
        foot["command"],
    ]


def _uneven(summary: Summary) -> list[str]:
    """A line where systems have scores of different clips."""
    found = []
    for metric in summary["metrics"]:
        counts = {row["name"]: row["scores"].get(metric, {}).get("n", 0) for row in summary["systems"]}
        if counts.get(UNTOUCHED) == 0:  # of clean speech, whose SI-SDR is infinite, on purpose
            counts.pop(UNTOUCHED)
        fewer = [f"{name} {count}" for name, count in counts.items() if count < max(counts.values())]
        if fewer:
            found.append(f"{METRICS[metric].label} ({', '.join(fewer)} of {max(counts.values())})")
    if not found:
        return []
    return [
        f"the means are not over the same clips, and those over fewer are never bold: {', '.join(found)}; "
        "the differences are of the clips that both have"
    ]


def rich_tables(summary: Summary, width: int = 100) -> Group:
    """For a terminal of that many columns; metrics that do not fit side by side go below."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    metrics = summary["metrics"]
    names = min(NAME_WIDTH, max(len(row["name"]) for row in summary["systems"]))
    per_table = max(1, (width - names - 2 - COUNT_WIDTH - COSTS_WIDTH) // CELL_WIDTH)
    for position, (title, rows) in enumerate(sections(summary)):
        for start in range(0, len(metrics), per_table):
            costs = position == 0 and start == 0
            parts += [_rich_table(title, rows, metrics[start : start + per_table], names, costs), Text("")]
    for heads, rows in comparison_tables(summary):
        parts += [_rich_comparisons(heads, rows), Text("")]
    parts += [Text(line, style="dim") for line in footnotes(summary)]
    return Group(*parts)


def _rich_table(title: str, rows: Sequence[dict[str, Any]], metrics: Sequence[str], names: int, costs: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="bold", pad_edge=False)
    table.add_column("system", overflow="fold", min_width=names, max_width=names)
    table.add_column("n", justify="right", no_wrap=True)
    for metric in metrics:
        table.add_column(heading(metric), justify="left", no_wrap=True)
    for name in COSTS if costs else ():
        table.add_column(name, justify="right", no_wrap=True)
    tops = {metric: best(rows, metric) for metric in metrics}
    for row in rows:
        cells: list[RenderableType] = [Text(row["name"]), f"{row['scored']}/{row['total']}"]
        for metric in metrics:
            cell = Text()
            if metric in row["scores"]:
                score = row["scores"][metric]
                places = digits(metric)
                cell.append(f"{shown(score):.{places}f}", style="bold" if shown(score) == tops[metric] else "")
                if score["low"] is not None:
                    cell.append(f" {score['low']:.{places}f}–{score['high']:.{places}f}", style="dim")
            cells.append(cell)
        table.add_row(*cells, *(cost(row) if costs else ()), style="italic" if row["name"] == UNTOUCHED else "")
    return table


def _rich_comparisons(heads: Sequence[str], rows: Sequence[dict[str, Any]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    title = "paired differences, p by Wilcoxon's signed-rank test after Holm"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="bold", pad_edge=False)
    short = {"paired differences": "systems", "p (Wilcoxon, Holm)": "p"}
    for place, name in enumerate(heads):
        table.add_column(short.get(name, name), justify="left" if place < len(heads) - 4 else "right")
    for line in comparison_lines(rows):
        table.add_row(*map(Text, line))
    return table


def markdown(summary: Summary, comparisons: bool = True) -> str:
    """The same as Markdown."""
    metrics = summary["metrics"]
    parts = []
    for title, rows in sections(summary):
        tops = {metric: best(rows, metric) for metric in metrics}
        head = ["system", "n", *map(heading, metrics), "RTF", "parameters", "MAC/s"]
        lines = [f"**{title}**", "", _line(head), _line(["---"] * len(head))]
        for row in rows:
            cells = [_markdown_score(row["scores"].get(metric), metric, tops[metric]) for metric in metrics]
            lines.append(_line([row["name"], f"{row['scored']}/{row['total']}", *cells, *cost(row)]))
        parts.append("\n".join(lines))
    for head, rows in comparison_tables(summary) if comparisons else ():
        lines = [_line(head), _line(["---"] * len(head)), *map(_line, comparison_lines(rows))]
        parts.append("\n".join(lines))
    parts.append("\n".join(f"- {line}" for line in footnotes(summary)))
    return "\n\n".join(parts) + "\n"


def _markdown_score(score: dict[str, Any] | None, metric: str, top: float | None) -> str:
    if score is None:
        return ""
    places = digits(metric)
    text = f"{shown(score):.{places}f}"
    if shown(score) == top:
        text = f"**{text}**"
    return text if score["low"] is None else f"{text} ({score['low']:.{places}f}–{score['high']:.{places}f})"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def csv_text(summary: Summary) -> str:
    """A line a system and table, with full precision."""
    metrics = summary["metrics"]
    facts = ("rtf", "parameters", "macs_per_second", "latency_ms", "version", "licence")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = [f"{metric}{part}" for metric in metrics for part in ("", "_low", "_high", "_n")]
    writer.writerow(["table", "system", "kind", "scored", "total", *columns, *facts])
    for title, rows in sections(summary):
        for row in rows:
            scores = [row["scores"].get(metric, {}) for metric in metrics]
            values = [
                value
                for score in scores
                for value in (shown(score) if score else None, *map(score.get, ("low", "high", "n")))
            ]
            writer.writerow([title, row["name"], row["kind"], row["scored"], row["total"], *values,
                             *(row[fact] for fact in facts)])  # fmt: skip
    return out.getvalue()
