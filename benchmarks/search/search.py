"""What learns most in the same processor time: variants of the default recipe, one factor changed at a time.

usage: search.py [--steps N] [--seed N] [--only NAME,NAME] [--output DIR]

Reads base.toml and variants.toml beside it, and writes results.json there after each run: what is in it is not run
again, so that the search goes on where it stopped. A run is one process with one thread, mixing included, and may take
the processor time of N steps of the base (compilation and validation not counted): steps of both are timed first, in
turn, so that other work beside them slows both. README.md is made from it by ``benchmarks/report.py``.
"""

from __future__ import annotations

import argparse
import json
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import tables
import torch

from enhance.data.mixing import Example
from enhance.files import replacing
from enhance.models.cost import macs_per_second, parameters
from enhance.training import sources
from enhance.training import state as states
from enhance.training.loop import STATE, train
from enhance.training.recipe import Recipe, read
from enhance.training.setup import code_version, launch
from enhance.training.step import Step, new_run

HERE = tables.HERE
torch._dynamo.config.recompile_limit = 64  # both models are compiled in this process, shape by shape
WARM_UP, TIMED = 3, 12  # steps: compilation is in the first ones


def seconds_a_step(recipes: list[Recipe]) -> list[float]:
    """Processor time of a step of each, mixing included; the median of steps that are taken in turn."""
    turns: list[tuple[Step, Iterator[Any]]] = []
    for recipe in recipes:
        fabric = launch(recipe)
        run, _ = new_run(recipe, fabric)
        turns.append((Step(recipe, fabric, run), iter(sources.batches(recipe, 0))))
    times: list[list[float]] = [[] for _ in recipes]
    for _ in range(WARM_UP + TIMED):
        for (step, batches), found in zip(turns, times, strict=True):
            began = time.process_time()
            step([Example(*next(batches))])
            found.append(time.process_time() - began)
    return [median(found[WARM_UP:]) for found in times]


def real_time_factor(model: Any, seconds: float = 20.0) -> float:
    """Processor time over duration, one thread, the best of three passes."""
    wave = torch.randn(1, 1, round(seconds * model.sample_rate)) * 0.05
    model.eval()
    times = []
    with torch.inference_mode():
        for _ in range(3):
            began = time.process_time()
            model(wave)
            times.append(time.process_time() - began)
    return min(times) / seconds


def run(name: str, changes: list[str], seed: int, budget: int, output: Path) -> dict[str, Any]:
    """Time a step, train for as many as take the time of ``budget`` steps of the base, and tell how it went."""
    settings = [f"seed={seed}", *changes]
    base, step = seconds_a_step([read(HERE / "base.toml", [f"seed={seed}"]), read(HERE / "base.toml", settings)])
    steps = max(1, round(budget * base / step)) if changes else budget
    settings += [f"optim.steps={steps}", f"valid.every={steps}"]
    recipe = read(HERE / "base.toml", settings)
    folder = output / f"{name.replace(' ', '-')}-{seed}"
    train(recipe, folder, resume=(folder / STATE).exists())
    last = states.load(folder / STATE)["history"][-1]
    fabric = launch(recipe)
    model = new_run(recipe, fabric)[0].model
    return {
        "name": name,
        "changes": changes,
        "seed": seed,
        "budget": budget,
        "seconds_per_step": step,
        "base_seconds_per_step": base,
        "steps": steps,
        "audio_hours": steps * sources.examples_per_step(recipe, 1) * recipe.data.seconds / 3600,
        "parameters": parameters(model),
        "macs_per_second": macs_per_second(model),
        "rtf": real_time_factor(model),
        "weights": last["weights"],
        "score": last["score"],
        "scores": last["scores"],
        "data": sources.open_store(recipe).fingerprint,
        "code": code_version(),
        "torch": torch.__version__,
        "precision": recipe.run.precision,
        "processor": torch.backends.cpu.get_cpu_capability(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="names in variants.toml, separated by commas; all unless given")
    parser.add_argument("--output", type=Path, default=Path("runs/search"))
    arguments = parser.parse_args()
    variants = tomllib.loads((HERE / "variants.toml").read_text(encoding="utf-8"))
    for name in arguments.only.split(",") if arguments.only else variants:
        done = {(row["name"], row["seed"], row["budget"]) for row in tables.load()}
        if (name, arguments.seed, arguments.steps) in done:
            continue
        row = run(name, variants[name], arguments.seed, arguments.steps, arguments.output)
        with replacing(
            HERE / tables.RESULTS
        ) as temporary:  # read again: another search may have written beside this one
            temporary.write_text(json.dumps([*tables.load(), row], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
