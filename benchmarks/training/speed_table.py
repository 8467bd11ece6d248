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

With one thread, times are processor time; with two, wall time, of an idle machine, also where the two are processes of
one thread each, which train together (`enhance train RECIPE --devices 2`). Median of the steps after the first two,
with the model, the losses and the batches of a recipe, each process having batches of its own.
"""
STEPS = "| model | threads | precision | | audio s/s | loader, one worker | loader ÷ step |"
HOURS = """How long the recipes take there, all of their steps at the highest of these speeds:

| recipe | model | audio to train on (h) | hours |
| --- | --- | --- | --- |"""


def readme(folder: Path = HERE) -> str:
    """``README.md`` beside this file."""
    path = folder / "results.json"
    if not path.exists():
        return f"{INTRO}\nNot run yet.\n"
    found = json.loads(path.read_text(encoding="utf-8"))
    machine, rows = found["machine"], found["rows"].values()
    loaders = {row["model"]: row for row in rows if "precision" not in row}
    timed = [row for row in rows if "precision" in row]
    table = [STEPS, "| --- | --- | --- | --- | --- | --- | --- |"]
    table += [_line(row, _speed(loaders[row["model"]])) for row in timed]
    hours = [HOURS]
    for model, loader in loaders.items():
        if speeds := [_speed(row) for row in timed if row["model"] == model and "seconds" in row]:
            audio = loader["recipe_steps"] * loader["audio"] / 3600
            hours.append(f"| `{loader['recipe']}` | {model} | {audio:.0f} | {audio / max(speeds):.0f} |")
    about = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['capability']}, "
        f"{'with' if machine['bfloat16'] else 'without'} bfloat16 arithmetic; torch {machine['torch']}."
    )
    return "\n".join([INTRO, *table, "", about, "", *hours, ""])


def _speed(row: dict[str, Any]) -> float:
    """Audio seconds a second."""
    return row["audio"] / row["seconds"]


def _line(row: dict[str, Any], loader: float) -> str:
    threads = f"{processes} processes" if (processes := row.get("processes", 1)) > 1 else str(row["threads"])
    cells = [row["model"], threads, {"32-true": "float32", "bf16-mixed": "bfloat16"}[row["precision"]]]
    cells.append("compiled" if row["compile"] else "eager")
    if "why_not" in row:
        cells += [f"– ({row['why_not']})", "", ""]
    else:
        speed = _speed(row)
        cells += [
            f"{speed:.1f}",
            f"{loader:.0f}",
            f"{loader / speed:.1f}{'' if loader >= 2 * speed else ' (too slow)'}",
        ]
    return "| " + " | ".join(cells) + " |"
