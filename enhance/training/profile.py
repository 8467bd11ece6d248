"""Where the time of a training step goes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from enhance.data.mixing import Example
from enhance.data.stem_store import StemStore
from enhance.training import sources
from enhance.training.recipe import Recipe
from enhance.training.setup import launch, one_process
from enhance.training.step import Step, new_run

WARM_UP, MEASURED, LOADED = 4, 8, 40  # steps not counted (compilation is in them), steps profiled, batches drawn


@dataclass(frozen=True)
class Profile:
    """Times in seconds a step, over the mean of some; ``loader`` is what one batch costs its workers' consumer."""

    step: float
    loader: float
    phases: dict[str, float]
    operators: list[tuple[str, float]]  # the dearest ones, seconds a step
    audio_per_step: float  # s

    @property
    def speed(self) -> float:
        """Audio seconds a second of the step alone."""
        return self.audio_per_step / self.step

    @property
    def feed(self) -> float:
        """Audio seconds a second of the loader alone."""
        return self.audio_per_step / self.loader


def profile_training(recipe: Recipe) -> Profile:
    """Run some steps of the recipe on random batches under PyTorch's profiler, and its loader alone."""
    one_process([recipe], "--profile")
    audio = sources.examples_per_step(recipe, 1) * recipe.data.seconds
    step, batches = step_alone(recipe, sources.open_store(recipe))
    for _ in range(WARM_UP):
        step(batches)
    began = time.perf_counter()
    for _ in range(MEASURED):
        step(batches)
    elapsed = (time.perf_counter() - began) / MEASURED
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(MEASURED):
            step(batches)
    rows: Any = found.key_averages()
    phases = {
        row.key.removeprefix("phase: "): row.cpu_time_total / 1e6 / MEASURED for row in rows if "phase:" in row.key
    }
    dearest = sorted((row for row in rows if "phase:" not in row.key), key=lambda row: -row.self_cpu_time_total)
    operators = [(row.key, row.self_cpu_time_total / 1e6 / MEASURED) for row in dearest[:12]]
    return Profile(elapsed, _loader_alone(recipe), phases, operators, audio)


def step_alone(recipe: Recipe, store: sources.AnyStore) -> tuple[Step, list[Example]]:
    """A step of the recipe, and random batches to call it with: ``step(batches)``."""
    frames, targets = round(recipe.data.seconds * store.sample_rate), recipe.data.targets
    shape = (store.channels, frames) if isinstance(store, StemStore) else (frames,)
    count = 2 if targets is None else len(targets)
    noise = torch.randn(recipe.optim.batch, count, *shape, generator=torch.Generator().manual_seed(0)) * 0.05
    target = noise[:, 0] if targets is None else noise
    batches = [Example(noise.sum(1), target)] * recipe.optim.accumulate  # pyright: ignore[reportArgumentType]
    fabric = launch(recipe)
    run, _ = new_run(recipe, fabric)
    return Step(recipe, fabric, run), batches


def _loader_alone(recipe: Recipe) -> float:
    """Seconds a batch when nothing but the loader works."""
    batches = iter(sources.batches(recipe, 0))
    for _ in range(WARM_UP):
        next(batches)
    began = time.perf_counter()
    for _ in range(LOADED):
        next(batches)
    return (time.perf_counter() - began) / LOADED * recipe.optim.accumulate
