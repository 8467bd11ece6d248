"""The table of ``run.py``'s results, made by ``benchmarks/report.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
INTRO = """# Speed of training

Seconds of audio that a training step takes in a second, alone (random batches), and that one worker of the loader makes
(mixing on the fly). A loader keeps up where it makes twice what the step takes, or more; its workers add up.

```sh
python benchmarks/training/run.py runs/data/open-speech
python benchmarks/report.py
```

With one thread, times are processor time; with two, wall time, of an idle machine. Median of the steps after the first
two, with batches of `recipes/open-speech/dcunet10.toml` (4 × 3.1 s) and `default.toml` (16 × 2 s).
"""


def readme(folder: Path = HERE) -> str:
    """``README.md`` beside this file."""
    path = folder / "results.json"
    if not path.exists():
        return f"{INTRO}\nNot run yet.\n"
    found = json.loads(path.read_text(encoding="utf-8"))
    machine, rows = found["machine"], found["rows"].values()
    loaders = {row["model"]: row["audio"] / row["seconds"] for row in rows if "precision" not in row}
    lines = [
        "| model | threads | precision | | audio s/s | loader, one worker | loader ÷ step |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_line(row, loaders[row["model"]]) for row in rows if "precision" in row]
    about = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['capability']}, "
        f"{'with' if machine['bfloat16'] else 'without'} bfloat16 arithmetic; torch {machine['torch']}."
    )
    return "\n".join([INTRO, *lines, "", about, ""])


def _line(row: dict[str, Any], loader: float) -> str:
    cells = [row["model"], str(row["threads"]), {"32-true": "float32", "bf16-mixed": "bfloat16"}[row["precision"]]]
    cells.append("compiled" if row["compile"] else "eager")
    if "why_not" in row:
        cells += [f"– ({row['why_not']})", "", ""]
    else:
        speed = row["audio"] / row["seconds"]
        cells += [
            f"{speed:.1f}",
            f"{loader:.0f}",
            f"{loader / speed:.1f}{'' if loader >= 2 * speed else ' (too slow)'}",
        ]
    return "| " + " | ".join(cells) + " |"
