"""Tables of the ablations, made by ``benchmarks/report.py`` of what ``score.py`` wrote and of the paper's figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from enhance.bench.table import digits, heading

HERE = Path(__file__).parent
BEGIN, END = "<!-- scores: benchmarks/report.py -->", "<!-- end of scores -->"
PAPER_METRICS = ("csig", "cbak", "covl", "pesq_wb", "seg_snr")
RUN_METRICS = ("pesq_wb", "stoi", "si_sdr", "csig", "cbak", "covl", "seg_snr")
MASKS, LOSSES = ("ubd", "bdss", "bdt"), ("spec", "wav", "wsdr")
HEADS = {"spec": "spectrogram MSE", "wav": "waveform MSE", "wsdr": "wSDR"}


def results(name: str, folder: Path = HERE) -> dict[str, Any] | None:
    """What ``score.py`` wrote under that name; None if it never ran."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def score(scores: dict[str, Any], metric: str, interval: bool = False) -> str:
    """A mean of ``enhance bench``, with its interval if that is wanted and known."""
    found, places = scores.get(metric), digits(metric)
    if found is None:
        return "–"
    text = f"{found['mean']:.{places}f}"
    return f"{text} ({found['low']:.{places}f}–{found['high']:.{places}f})" if interval and found["low"] else text


def voicebank_section(folder: Path = HERE) -> str:
    """The section of recipes/voicebank/README.md, between its marks: the paper's figures, and ours beside them."""
    paper, ours = json.loads((HERE / "paper.json").read_text(encoding="utf-8")), results("voicebank", folder)
    runs = {row["name"]: row for row in ours["rows"]} if ours else {}
    rows = []
    for row in paper["rows"]:
        marks = row.get("marks", {})
        cells = [
            f"{row[metric]:.2f} {marks.get(metric, '')}".strip() if metric in row else "–" for metric in PAPER_METRICS
        ]
        rows.append([row["name"], "paper", *cells])
        if (run := runs.get(row.get("run", ""))) is not None:
            rows.append([row["name"], "this recipe", *(score(run["test"], metric) for metric in PAPER_METRICS)])
    lines = [table(["", "of", *map(heading, PAPER_METRICS)], rows)]
    lines += [f"{mark} {text}" for mark, text in paper["notes"].items()]
    if ours is None:
        lines.append(
            "No run of this recipe has been scored yet. `python benchmarks/ablation/score.py voicebank "
            "runs/data/voicebank/test RUNS...` and `python benchmarks/report.py` put them here."
        )
    else:
        lines += filter(None, [grid(ours), runs_table(ours), footer(ours)])
    return "\n\n".join([BEGIN, *lines, END])


def grid(found: dict[str, Any], metrics: tuple[str, ...] = ("pesq_wb", "si_sdr")) -> str:
    """Mask × loss, one table a metric; empty where no run of the grid is there."""
    runs = {row["name"]: row for row in found["rows"]}
    if not any(f"{mask}-{loss}" in runs for mask in MASKS for loss in LOSSES):
        return ""
    tables = []
    for metric in metrics:
        rows = [
            [mask.upper(), *(score(runs.get(f"{mask}-{loss}", {}).get("test", {}), metric, True) for loss in LOSSES)]
            for mask in MASKS
        ]
        tables.append(table([f"{heading(metric)}: mask, loss", *(HEADS[loss] for loss in LOSSES)], rows))
    return "\n\n".join(tables)


def runs_table(found: dict[str, Any]) -> str:
    """Every run with what it cost: n is the number of clips with that PESQ."""
    rows = [["untouched", "", "", "", "", "", *(score(found["untouched"], metric) for metric in RUN_METRICS), ""]]
    for row in found["rows"]:
        cost = [f"{row['parameters'] / 1e6:.2f} M", f"{row['steps']:,}", f"{row['hours']:.2f}", str(row["seed"])]
        n = str(row["test"]["pesq_wb"]["n"]) if "pesq_wb" in row["test"] else "0"
        tested = [score(row["test"], metric) for metric in RUN_METRICS]
        rows.append([row["name"], *cost, n, *tested, f"{row['score']:.3f}"])
    head = ["run", "parameters", "steps", "hours", "seed", "n", *map(heading, RUN_METRICS), "validation"]
    return table(head, rows)


def footer(found: dict[str, Any]) -> str:
    """What was scored, and with what."""
    data = found["data"]
    versions = ", ".join(f"{name} {value}" for name, value in found["footer"].items() if name not in ("device", "jobs"))
    return (
        f"{data['name']}, {data['clips']} clips (data {data['fingerprint']}); {versions}; {found['footer']['device']}. "
        "Intervals: 95 % bootstrap over clips. Validation is the score that picked the checkpoint."
    )


def readme(folder: Path = HERE) -> str:
    """``README.md`` beside this file."""
    found = results("open-speech", folder)
    intro = """# The paper's ablation in small

Masks and losses of the Deep Complex U-Net on the compact model, each run with the same examples, steps and seed
(`recipes/open-speech/ablation/`); and DCUnet-10 as the paper has it (`recipes/open-speech/dcunet10.toml`), which had
far more steps and was stopped after two hours. All are scored on clips that no run was trained on or chosen by:

```sh
enhance train recipes/open-speech/ablation --sweep --set optim.steps=300 --set optim.warmup=50 --set valid.clips=8
enhance train recipes/open-speech/dcunet10.toml --set optim.steps=2600 --set run.precision=bf16-mixed \\
    --set run.compile=true
python benchmarks/ablation/score.py open-speech DATA runs/open-speech/ablation runs/dcunet10 --limit 60
python benchmarks/report.py
```

Runs as short as these say little of what is best in the end; without the `--set` they take longer.

`polar-wsdr` has the model's own mask, bounded at 2 (BDT is bounded at 1); `magnitude-wsdr` a real mask, which keeps the
noisy phase. The intervals are those of the clips: another seed may differ by more. The paper's own figures, on other
data, are in `recipes/voicebank/README.md`, with a note on those that nobody has found again; of its table of masks and
losses no copy was found.
"""
    if found is None:
        return f"{intro}\nNot run yet.\n"
    return "\n".join([intro, *(f"{part}\n" for part in (grid(found), runs_table(found), footer(found)) if part)])
