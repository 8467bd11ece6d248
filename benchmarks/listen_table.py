"""The page of ``listen.py``, which ``report.py`` makes."""

from __future__ import annotations

from typing import Any

DIGITS = {"whole": 1, "beginning": 1, "rest": 1, "pesq": 2}


def page(found: dict[str, Any]) -> str:
    """Markdown: for each model, source and number of seconds what is gained over not listening."""
    head = ["listens to (s)", "SI-SDR (dB)", "more", "of it in the first 2 s", "in the rest", "PESQ-WB", "more"]
    sections = []
    for model, source in dict.fromkeys((row["model"], row["source"]) for row in found["rows"]):
        rows = [row for row in found["rows"] if (row["model"], row["source"]) == (model, source)]
        own = f"to {seconds:g} s" if (seconds := found["own"][model]) else "to nothing"
        sections.append(f"## `{model}`, {source}\n")
        sections.append(f"{rows[0]['clips']} clips; by default it listens {own}.\n")
        sections.append(f"| {' | '.join(head)} |\n{'| --- ' * len(head)}|")
        for row in rows:
            cells = [f"{row['listen']:g}", _mean(row, "whole"), *(_more(row, name) for name in ("whole", "beginning"))]
            cells += [_more(row, "rest"), _mean(row, "pesq"), _more(row, "pesq")]
            sections.append(f"| {' | '.join(cells)} |")
        sections.append("")
    return f"""# Listening to the beginning first

A model with memory that hears the first seconds of a file once before it starts (`--listen`), on clips of 8 s of
held-out recordings (`python benchmarks/listen.py runs/data/open-speech`, data {found["data"]}): speech in recorded
noise at 5 dB, and for separators speech over music at 0 dB. More than without listening, paired, with 95 % intervals
over clips.

{chr(10).join(sections)}"""


def _mean(row: dict[str, Any], metric: str) -> str:
    return f"{row[metric][0]:.{DIGITS[metric]}f}" if metric in row else ""


def _more(row: dict[str, Any], metric: str) -> str:
    if metric not in row or not row["listen"]:
        return ""
    digits = DIGITS[metric]
    mean, low, high = (f"{value:+.{digits}f}".replace("-", "−") for value in row[f"{metric}_more"])
    return f"{mean} ({low} to {high})"
