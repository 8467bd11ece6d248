"""The table of the search as a page, which ``benchmarks/report.py`` makes."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = "results.json"
BASE = "base"
METRICS = ("pesq", "stoi", "si_sdr")
INTRO = """# What learns most in the same time

One factor at a time from `base.toml`, the default recipe in small: each run has the processor time of as many steps of
the base, mixing included (compilation and validation are not counted), the same data, and begins from random weights.

```sh
python benchmarks/search/search.py --steps STEPS
python benchmarks/report.py
```

`variants.toml` has what each variant changes. PESQ-WB, STOI and SI-SDR are means over the noisy kinds of the validation
list, the score is that of `recipes/open-speech/README.md`. Runs as short as these say what learns quickly; what is
best in the end is another question.
"""


def load(folder: Path = HERE) -> list[dict[str, Any]]:
    """Rows of ``results.json``, one a run."""
    path = folder / RESULTS
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def readme(folder: Path = HERE) -> str:
    """``README.md`` beside this file."""
    rows = load(folder)
    if not rows:
        return f"{INTRO}\nNot run yet.\n"
    return f"{INTRO}\n" + "\n\n".join(section(found) for found in grouped(rows)) + "\n"


def grouped(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Runs that may be compared: of the same time, data, precision and kind of processor; the longest runs first."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["budget"], row["data"], row["precision"], row["processor"]].append(row)
    return [groups[key] for key in sorted(groups, reverse=True)]


def noisy(row: dict[str, Any], metric: str) -> float:
    """The mean over the kinds of validation, clean speech aside."""
    found = [scores[metric] for kind, scores in row["scores"].items() if kind != "clean"]
    return sum(found) / len(found)


def section(rows: list[dict[str, Any]]) -> str:
    """Markdown: the runs, the best first, with what each gains on the base of its seed."""
    first = rows[0]
    bases = {row["seed"]: row for row in rows if row["name"] == BASE}
    columns = (
        "variant",
        "seed",
        "score",
        "PESQ-WB",
        "over base",
        "STOI",
        "SI-SDR (dB)",
        "clean: PESQ-WB",
        "SI-SDR (dB)",
        "steps",
        "audio (h)",
        "parameters",
        "RTF",
    )
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for row in sorted(rows, key=lambda row: -row["score"]):
        pesq, stoi, si_sdr = (noisy(row, metric) for metric in METRICS)
        base = bases.get(row["seed"])
        gain = "" if base in (None, row) else f"{pesq - noisy(base, 'pesq'):+.2f}"
        lines.append(
            f"| {row['name']} | {row['seed']} | {row['score']:.3f} | {pesq:.2f} | {gain} | {stoi:.3f} | {si_sdr:.1f} "
            f"| {row['scores']['clean']['pesq']:.2f} | {row['scores']['clean']['si_sdr']:.1f} | {row['steps']:,} "
            f"| {row['audio_hours']:.1f} | {row['parameters'] / 1e3:.0f} k | {row['rtf']:.3f} |"
        )
    note = (
        f"The time of {first['budget']} steps of the base, on one core ({first['processor']}, {first['precision']}); "
        f"data {first['data']}, torch {first['torch']}. RTF: processor time of the model alone on one thread."
    )
    return "\n".join([note, "", *lines])
