"""The page of ``precision.py``, which ``report.py`` makes."""

from __future__ import annotations

from typing import Any

COLUMNS = {"pesq_wb": ("PESQ-WB", 3), "stoi": ("STOI", 4), "si_sdr": ("SI-SDR (dB)", 2)}


def page(found: dict[str, Any]) -> str:
    """Markdown: for each model the time in both precisions, its scores and what bfloat16 changes in them."""
    head = ["model", "RTF, 32-true", "RTF, bf16-mixed", "times as fast"]
    head += [cell for name, _ in COLUMNS.values() for cell in (name, "more")]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for row in found["rows"]:
        exact, near = row["rtf"]["32-true"], row["rtf"]["bf16-mixed"]
        cells = [row["model"], f"{exact:.3f}", f"{near:.3f}", f"{exact / near:.2f}"]
        for metric, (_, digits) in COLUMNS.items():
            cells += [f"{row[metric][0]:.{digits - 1}f}", _more(row[f"{metric}_more"], digits)]
        lines.append(f"| {' | '.join(cells)} |")
    clips = " and ".join(sorted({str(row["clips"]) for row in found["rows"]}))
    data, limit = found["data"], f" --limit {found['limit']}" if found["limit"] else ""
    return f"""# bfloat16

`enhance denoise --precision bf16-mixed` against the default, `32-true`
(`python benchmarks/precision.py {data}{limit}`; {found["processor"]}). RTF is processor time on one thread over
duration, of {found["minutes"]:g} minutes; scores are of {clips} pairs of {data}; more is paired, with 95 % intervals
over clips.

{chr(10).join(lines)}
"""


def _more(interval: list[float], digits: int) -> str:
    mean, low, high = (f"{value:+.{digits}f}".replace("-", "−") for value in interval)
    return f"{mean} ({low} to {high})"
