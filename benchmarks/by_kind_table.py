"""The page of ``by_kind.py``, which ``report.py`` makes."""

from __future__ import annotations

from typing import Any

METRICS = {"pesq_wb": ("PESQ-WB", 2), "stoi": ("STOI", 3), "si_sdr": ("SI-SDR (dB)", 1)}


def page(found: dict[str, Any]) -> str:
    """Markdown: means of every system in every kind, then what the default model is better by."""
    kinds = found["kinds"]
    first = next(iter(kinds.values()))
    name = first["comparisons"][0]["system"]
    sections = [_means(kinds, metric) for metric in METRICS]
    differences = [_differences(kinds, metric) for metric in METRICS]
    noisy = [kind for kind in kinds if kind != "clean"]
    return f"""# Kind of noise by kind

The shipped models and what people use today on the mixtures that steer training: speakers, recordings, tracks and rooms
that training never heard, {found["clips"]} clips of {found["seconds"]:g} s of each kind at −5 to 20 dB SNR
(`python benchmarks/by_kind.py runs/data/open-speech`, data {found["data"]}). Shipped weights were chosen by
a part of these clips, and trained on other recordings of the same collections; what the other tools were trained on is
not known of all. The best of a column is bold.

{chr(10).join(sections)}
## What `{name}` is better by

Paired differences with 95 % intervals; bold where Wilcoxon's signed-rank test, after Holm, says p < 0.05.

{chr(10).join(differences)}
Than the other shipped models, on the clips of all kinds but clean speech, {found["clips"] * len(noisy)} together:

{_together(found["together"])}"""


def _number(value: float, digits: int, *, sign: bool = False) -> str:
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def _means(kinds: dict[str, Any], metric: str) -> str:
    label, digits = METRICS[metric]
    systems = [row["name"] for row in next(iter(kinds.values()))["systems"]]
    values = {
        kind: {row["name"]: row["scores"][metric]["mean"] for row in kinds[kind]["systems"] if metric in row["scores"]}
        for kind in kinds
    }
    lines = [f"## {label}", "", f"| system | {' | '.join(kinds)} |", "| --- " * (len(kinds) + 1) + "|"]
    for system in systems:
        cells = []
        for row in values.values():
            if system not in row:  # of clean speech, untouched, SI-SDR is infinite
                cells.append("")
                continue
            text = _number(row[system], digits)
            best = system != "untouched" and row[system] == max(v for key, v in row.items() if key != "untouched")
            cells.append(f"**{text}**" if best else text)
        lines.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _differences(kinds: dict[str, Any], metric: str) -> str:
    label, digits = METRICS[metric]
    others = [row["against"] for row in next(iter(kinds.values()))["comparisons"] if row["metric"] == metric]
    lines = [f"| {label}, against | {' | '.join(kinds)} |", "| --- " * (len(kinds) + 1) + "|"]
    for other in others:
        cells = []
        for found in kinds.values():
            row = next(
                (row for row in found["comparisons"] if (row["against"], row["metric"]) == (other, metric)), None
            )
            if row is None:
                cells.append("")
                continue
            cells.append(_difference(row, digits))
        lines.append(f"| {other} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _difference(row: dict[str, Any], digits: int) -> str:
    mean, low, high = (_number(row[key], digits, sign=True) for key in ("difference", "low", "high"))
    return f"{f'**{mean}**' if row['p'] < 0.05 else mean} ({low} to {high})"


def _together(rows: list[dict[str, Any]]) -> str:
    """A digit more than kind by kind: these differences are small, and of many clips."""
    lines = [f"| against | {' | '.join(label for label, _ in METRICS.values())} |", "| --- " * (len(METRICS) + 1) + "|"]
    for other in dict.fromkeys(row["against"] for row in rows):
        found = {row["metric"]: row for row in rows if row["against"] == other}
        cells = (_difference(found[metric], digits + 1) for metric, (_, digits) in METRICS.items())
        lines.append(f"| {other} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
