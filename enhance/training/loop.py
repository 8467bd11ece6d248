"""The training loop: next batch, forward, losses, backward, clip, step, average, log, validate, save."""

from __future__ import annotations

import contextlib
import json
import math
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from enhance.console import note, progress, warn
from enhance.data.mixing import Example
from enhance.errors import EnhanceError
from enhance.files import remove_stale, replacing
from enhance.models.checkpoint import read_header
from enhance.models.checkpoint import save as save_checkpoint
from enhance.training import recipe as recipes
from enhance.training import sources
from enhance.training import state as states
from enhance.training.interruption import Interruption
from enhance.training.lock import alone
from enhance.training.log import Log
from enhance.training.recipe import Recipe
from enhance.training.setup import build_model, code_version, leave, new_fabric, origin
from enhance.training.step import Run, Step, new_run
from enhance.training.validate import Scores

BEST, LAST, STATE, RESOLVED, LOG = (
    "best.safetensors",
    "last.safetensors",
    "state.pt",
    "recipe.json",
    "metrics.jsonl",
)
PEER_LOST = r"(?i)connection (closed|reset)|timed out|peer|gloo|nccl"
COUNTERS = ("step", "seconds", "skipped", "best", "history")  # of a run, in its state
MAX_SKIPPED = 20  # steps in a row whose gradient is not finite


Report = Callable[[int, float], object]  # of a validation: step and steering score


def train(recipe: Recipe, folder: Path, resume: bool, report: Report = lambda step, score: None) -> float:
    """Train ``recipe`` in ``folder``, from where it stopped or, if nothing was saved there, its beginning.

    Gives the best steering score. Without ``resume`` there must be no run in the folder.

    Leaves ``best.safetensors`` (by the steering score on validation), ``last.safetensors`` (the average of
    the weights), ``state.pt``, the resolved recipe, ``metrics.jsonl`` and TensorBoard's files there. With
    several devices all processes step together, and the first one validates and writes. ``report`` is called
    after each validation; what it raises ends the run. Raises EnhanceError when the gradient is not finite for
    many steps in a row, and where another process trains in that folder.
    """
    wanted, resume = resume, _goes_on(recipe, folder, resume)
    store = sources.open_store(recipe)
    begun = recipe.model_copy(update={"init": None}) if resume else recipe  # the weights are in the state
    model, _ = build_model(begun)
    sources.check_model(recipe, store, model)
    fabric = new_fabric(recipe)
    with alone(folder) if fabric.is_global_zero else contextlib.nullcontext():
        fabric.launch()
        if wanted and not resume and fabric.is_global_zero:
            note(f"{folder}: nothing was saved there, so the run begins")
        run, arguments = new_run(begun, fabric)
        return _train(recipe, folder, resume, report, fabric, store, run, arguments)


def _goes_on(recipe: Recipe, folder: Path, resume: bool) -> bool:
    """Whether there is a run to go on with; EnhanceError if there is, but it is not to go on."""
    there = (folder / STATE).exists()
    if there and not resume:
        go_on = "" if _is_of_another_recipe(folder, recipe) else "--resume to go on with it, or "
        raise EnhanceError(f"{folder}: holds a run already", f"give {go_on}another --output")
    return there


def _train(
    recipe: Recipe,
    folder: Path,
    resume: bool,
    report: Report,
    fabric: Fabric,
    store: sources.AnyStore,
    run: Run,
    arguments: dict[str, Any],
) -> float:
    """:func:`train`, with all that it needs."""
    before: dict[str, Any] = {}
    if resume:
        restore(run, folder / STATE)
        before = read_header(folder / LAST)["provenance"]
        _compare(recipe, store.fingerprint, before, folder)
        if run.step >= recipe.optim.steps and run.history and run.history[-1]["step"] == run.step:
            note(f"{folder}: is finished")
            return run.best
    if fabric.is_global_zero:
        remove_stale(folder / name for name in (BEST, LAST, STATE, LOG, RESOLVED))
        with replacing(folder / RESOLVED) as temporary:
            temporary.write_text(recipes.dump(recipe), encoding="utf-8")
    provenance = {
        "recipe": recipe.model_dump(mode="json"),
        "data": store.fingerprint,
        "code": code_version(),
        "init": before.get("init") if resume else origin(recipe),  # that file may be gone meanwhile
    }
    session = _Session(recipe, folder, fabric, store, run, arguments, provenance, report)
    torch.set_flush_denormal(True)
    try:
        session.go()
        leave(fabric)
        return run.best
    except RuntimeError as error:  # what the transport raises where the other end is gone
        if fabric.world_size == 1 or not re.search(PEER_LOST, str(error)):
            raise
        hint = "look at its output, then go on with --resume"
        raise EnhanceError("another process of the training died", hint) from error
    finally:
        torch.set_flush_denormal(False)


def _is_of_another_recipe(folder: Path, recipe: Recipe) -> bool:
    """Whether the run in a folder has another model or other data: recipes may have one name."""
    try:
        before = json.loads((folder / RESOLVED).read_text(encoding="utf-8"))
        now = recipe.model_dump(mode="json")
        return (before["model"], before["data"]["path"]) != (now["model"], now["data"]["path"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _compare(recipe: Recipe, fingerprint: str, before: dict[str, Any], folder: Path) -> None:
    """Say what differs from the run that is resumed: it is allowed, but should not go unnoticed."""
    now = recipe.model_dump(mode="json")
    changed = [key for key in now if before["recipe"].get(key) != now[key]]
    if before["data"] != fingerprint:
        changed.append("data (other recordings)")
    if changed:
        warn(f"{folder}: resumed with another {', '.join(changed)}")


def restore(run: Run, path: Path) -> None:
    """Put the state written by a run into ``run``."""
    state = states.load(path)
    if missing := {"model", "optimizers", "average", "generator", *COUNTERS} - state.keys():
        raise EnhanceError(
            f"{path}: written by another version (no {', '.join(sorted(missing))})",
            "start again from the checkpoint beside it, with --set init=…",
        )
    try:
        run.model.load_state_dict(state["model"])
    except RuntimeError:
        raise EnhanceError(
            f"{path}: the run of another model", "resume with its own recipe, or give another --output"
        ) from None
    if len(run.optimizers) != len(state["optimizers"]):
        raise EnhanceError(f"{path}: of another optimizer", "resume with the recipe's own, or give another --output")
    for optimizer, saved in zip(run.optimizers, state["optimizers"], strict=True):
        settings = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
        optimizer.load_state_dict(saved)
        for group, of_recipe in zip(optimizer.param_groups, settings, strict=True):
            group.update(of_recipe)  # weight decay and the like: what the recipe says now
    run.average.weights = state["average"]
    torch.set_rng_state(state["generator"])
    for name in COUNTERS:
        setattr(run, name, state[name])


class _Session:
    """One stretch of a run, from start or resumption to its end or an interruption, in one of its processes."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        fabric: Fabric,
        store: sources.AnyStore,
        run: Run,
        arguments: dict[str, Any],
        provenance: dict[str, Any],
        report: Report,
    ) -> None:
        self.recipe, self.folder, self.fabric, self.store, self.run = recipe, folder, fabric, store, run
        self.arguments, self.provenance, self.report = arguments, provenance, report
        self.chief = fabric.is_global_zero  # validates, writes and speaks
        self.step = Step(recipe, fabric, run)

    def go(self) -> None:
        recipe, run = self.recipe, self.run
        columns = ("{task.completed}/{task.total}", "{task.fields[report]}")
        reached = {"train": run.step, "valid": run.history[-1]["step"] if run.history else -1}
        with (
            Log(self.folder, LOG, self.chief, reached) as self.log,
            progress(*columns, quiet=not self.chief) as self.bar,
            Interruption(self.chief) as self.interruption,
        ):
            self._list_validation()
            self.interruption.raise_if_wanted()
            if self.chief:
                note(
                    f"{recipe.name}: {sum(p.numel() for p in run.model.parameters()):,} parameters, "
                    f"step {run.step} of {recipe.optim.steps}, in {self.folder}"
                )
            if recipe.init is not None and run.step == 0:
                self._validate()  # or the first validation would be the best so far, however bad
            self._steps()
            self._validate()
            self._save()

    def _list_validation(self) -> None:
        if not self.chief:
            return
        with self._scoring(2) as done:
            self.validation = sources.Validation(self.recipe, self.store, done)

    @contextlib.contextmanager
    def _scoring(self, rounds: int) -> Iterator[Callable[[], object]]:
        """A line of progress for so many rounds over the validation list; gives what to call after each clip."""
        task = self.bar.add_task("validate", total=rounds * sources.validation_clips(self.recipe), report="")
        yield lambda: self.bar.advance(task)
        self.bar.remove_task(task)

    def _steps(self) -> None:
        recipe, run, fabric = self.recipe, self.run, self.fabric
        started, skipped_in_a_row = time.monotonic(), 0
        task = self.bar.add_task(recipe.name, total=recipe.optim.steps, completed=run.step, report="")
        if run.step >= recipe.optim.steps:
            return
        batches = sources.drawn(sources.batches(recipe, run.step, fabric.global_rank, fabric.world_size))
        while run.step < recipe.optim.steps:
            values = self.step([Example(*next(batches)) for _ in range(recipe.optim.accumulate)])
            finite = math.isfinite(values["loss"]) and math.isfinite(values["norm"])
            skipped_in_a_row = 0 if finite else skipped_in_a_row + 1
            if skipped_in_a_row >= MAX_SKIPPED:
                raise EnhanceError(
                    f"{recipe.name}: loss not finite for {MAX_SKIPPED} steps in a row",
                    "lower optim.lr, and --resume from the last checkpoint",
                )
            now = time.monotonic()
            elapsed, started = now - started, now
            run.seconds += elapsed
            speed = sources.examples_per_step(recipe, fabric.world_size) * recipe.data.seconds / elapsed
            self.bar.update(task, completed=run.step, report=f"loss {values['loss']:.3f} {speed:.0f} s/s")
            if run.step % recipe.run.log_every == 0:
                self.log.write("train", run.step, {**values, "speed": speed})
            due = run.step % recipe.valid.every == 0 and run.step < recipe.optim.steps
            if due:
                self._validate()
            wanted = self.interruption.agreed(fabric)
            if due or run.step % recipe.run.save_every == 0 or wanted:
                self._save()
            self.interruption.raise_if_wanted()
            if due:
                started = time.monotonic()

    def _validate(self) -> None:
        """Score the average of the weights and the weights themselves; keep the better one if it is the best."""
        if self.chief:
            self._validate_alone()
        self.fabric.barrier()

    def _validate_alone(self) -> None:
        run = self.run
        raw = {name: tensor.detach().clone() for name, tensor in run.model.state_dict().items()}
        found = {}
        with self._scoring(2) as done:
            for name, weights in (("raw", raw), ("average", run.average.weights)):
                run.model.load_state_dict(weights)
                found[name] = (self._scores(done), weights)
        run.model.load_state_dict(raw)
        values = {name: self.validation.steering_score(scores) for name, (scores, _) in found.items()}
        name = max(values, key=lambda key: values[key])
        scores, weights = found[name]
        record = {
            "step": run.step,
            "hours": run.seconds / 3600,
            "skipped": run.skipped,
            "weights": name,
            "score": values[name],
            "score_raw": values["raw"],
            "score_average": values["average"],
            "scores": scores,
        }
        run.history.append(record)
        self.log.write("valid", run.step, record)
        note(
            f"step {run.step}: score {values[name]:.3f} ({name}; raw {values['raw']:.3f}, average "
            f"{values['average']:.3f})  {self.validation.line(scores)}"
        )
        if values[name] > run.best:
            run.best = values[name]
            self._write(BEST, weights, record)
        self.report(run.step, values[name])

    def _scores(self, done: Callable[[], object]) -> Scores:
        with torch.compiler.set_stance("force_eager"):  # other shapes than in training: not worth compiling
            return self.validation.scores(self.run.model, self.fabric.device, done)

    def _save(self) -> None:
        if self.chief:
            self._save_alone()
        self.fabric.barrier()  # a process that ended before the file is whole would make the launcher kill this one

    def _save_alone(self) -> None:
        run = self.run
        self._write(LAST, run.average.weights, run.history[-1] if run.history else {})
        state = {
            "model": run.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in run.optimizers],
            "average": run.average.weights,
            "generator": torch.get_rng_state(),
        }
        counters = {name: getattr(run, name) for name in COUNTERS}
        states.save(self.folder / STATE, state | counters)

    def _write(self, name: str, weights: dict[str, Tensor], record: dict[str, Any]) -> None:
        provenance = {
            **self.provenance,
            "step": self.run.step,
            "hours": self.run.seconds / 3600,
            "valid": record,
        }
        save_checkpoint(self.folder / name, self.run.model, self.arguments, provenance, weights)
