"""The training loop: next batch, forward, losses, backward, clip, step, average, log, validate, save."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from enhance import __version__, losses
from enhance.console import note, progress, warn
from enhance.data.dataset import MixtureDataset, loader
from enhance.data.mixing import Example
from enhance.data.store import Store
from enhance.errors import EnhanceError
from enhance.models import create, presets
from enhance.models.checkpoint import load_model, read_header
from enhance.models.checkpoint import save as save_checkpoint
from enhance.models.compact import CompactUNet
from enhance.models.grow import grow
from enhance.training import recipe as recipes
from enhance.training import state as states
from enhance.training.recipe import Recipe
from enhance.training.validate import KINDS, Scores, examples, steering_score, untouched, validate

BEST, LAST, STATE, RESOLVED, LOG = (
    "best.safetensors",
    "last.safetensors",
    "state.pt",
    "recipe.json",
    "metrics.jsonl",
)
MAX_SKIPPED = 20  # steps in a row whose gradient is not finite


@dataclass
class Run:
    """Everything that changes while a run goes on."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: states.Average
    step: int = 0
    seconds: float = 0.0  # of wall time spent training
    skipped: int = 0  # steps whose gradient was not finite, in all
    best: float = -math.inf
    history: list[dict[str, Any]] = field(default_factory=list)  # of validation


def train(recipe: Recipe, folder: Path, resume: bool) -> None:
    """Train ``recipe`` in ``folder``, from its beginning or from where it stopped.

    Leaves ``best.safetensors`` (by the steering score on validation), ``last.safetensors`` (the average of
    the weights), ``state.pt``, the resolved recipe, ``metrics.jsonl`` and TensorBoard's files there. Raises
    EnhanceError when the gradient is not finite for many steps in a row.
    """
    if (folder / STATE).exists() and not resume:
        raise EnhanceError(f"{folder}: holds a run already", "give --resume to go on with it, or another --output")
    store = Store(recipe.data.path)
    torch.set_num_threads(recipe.run.threads)
    torch.manual_seed(recipe.seed)
    fabric = Fabric(accelerator=recipe.run.accelerator, devices=1, precision=recipe.run.precision)
    model, arguments = build_model(recipe)
    if model.sample_rate != store.sample_rate:
        raise EnhanceError(
            f"{store.folder}: prepared at {store.sample_rate} Hz, but {recipe.model!r} runs at {model.sample_rate} Hz",
            f"prepare it again with --sample-rate {model.sample_rate}",
        )
    model.to(fabric.device)  # before the optimiser takes its state back: that goes where the weights are
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=recipe.optim.lr,
        betas=recipe.optim.betas,
        weight_decay=recipe.optim.weight_decay,
    )
    run = Run(model, optimizer, states.Average(model, recipe.optim.ema))
    if resume:
        restore(run, folder / STATE)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESOLVED).write_text(recipes.dump(recipe), encoding="utf-8")
    provenance = {
        "recipe": recipe.model_dump(mode="json"),
        "data": store.fingerprint,
        "code": code_version(),
        "init": _origin(recipe),
    }
    session = _Session(recipe, folder, fabric, store, run, arguments, provenance)
    torch.set_flush_denormal(True)
    try:
        session.go()
    finally:
        torch.set_flush_denormal(False)


def build_model(recipe: Recipe) -> tuple[nn.Module, dict[str, Any]]:
    """The recipe's model, new or with the weights of ``init``, and its constructor's arguments.

    A compact model may start from a smaller one: see :mod:`enhance.models.grow`.
    """
    model = create(recipe.model, **recipe.model_options)
    if recipe.init is not None:
        initial = load_model(recipe.init)
        try:
            if isinstance(model, CompactUNet) and isinstance(initial, CompactUNet):
                grow(model, initial)
            else:
                model.load_state_dict(initial.state_dict())
        except (RuntimeError, ValueError):
            raise EnhanceError(
                f"{recipe.init}: weights of another model than {recipe.model!r}",
                "take the model of that checkpoint or, of a compact one, more blocks or a larger hidden; "
                "or leave out init",
            ) from None
    return model, {**presets()[recipe.model][1], **recipe.model_options}


def _origin(recipe: Recipe) -> dict[str, Any] | None:
    """Provenance of the checkpoint that training starts from: hours add up over continuations."""
    return read_header(recipe.init)["provenance"] if recipe.init else None


def code_version() -> str:
    """Version of this package and, in a checkout, the commit."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return __version__
    return f"{__version__} ({found.stdout.strip()})"


def restore(run: Run, path: Path) -> None:
    """Put the state written by a run into ``run``."""
    state = states.load(path)
    try:
        run.model.load_state_dict(state["model"])
    except RuntimeError:
        raise EnhanceError(
            f"{path}: the run of another model", "resume with its own recipe, or give another --output"
        ) from None
    run.optimizer.load_state_dict(state["optimizer"])
    run.average.weights = state["average"]
    torch.set_rng_state(state["generator"])
    for name in ("step", "seconds", "skipped", "best", "history"):
        setattr(run, name, state[name])


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine from ``lr`` to ``final_lr`` over the remaining steps."""
    optim = recipe.optim
    if step < optim.warmup:
        return optim.lr * (step + 1) / optim.warmup
    share = min(1.0, (step - optim.warmup) / max(1, optim.steps - optim.warmup))
    return optim.final_lr + (optim.lr - optim.final_lr) * 0.5 * (1 + math.cos(math.pi * share))


class Interruption:
    """Ctrl-C and SIGTERM (a scheduler's pre-emption) between steps: state is never caught half-way.

    The first signal asks the loop to save and stop, the second one stops at once.
    """

    def __enter__(self) -> Interruption:
        self.wanted: int | None = None
        self.handlers = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _: object) -> None:
        if self.wanted is not None:
            raise KeyboardInterrupt
        self.wanted = number
        note("stopping after this step; once more to stop at once")

    def raise_if_wanted(self) -> None:
        """KeyboardInterrupt after Ctrl-C, SystemExit after SIGTERM."""
        if self.wanted == signal.SIGINT:
            raise KeyboardInterrupt
        if self.wanted is not None:
            raise SystemExit(128 + self.wanted)


class _Session:
    """One stretch of a run, from start or resumption to its end or an interruption."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        fabric: Fabric,
        store: Store,
        run: Run,
        arguments: dict[str, Any],
        provenance: dict[str, Any],
    ) -> None:
        self.recipe, self.folder, self.fabric, self.store, self.run = recipe, folder, fabric, store, run
        self.arguments, self.provenance = arguments, provenance
        self.losses = {
            name: (weight, losses.create(name, **recipe.loss_options.get(name, {})))
            for name, weight in recipe.loss.items()
        }
        # The plain module is what is saved and validated; Fabric's wrapper and compilation serve the step.
        if recipe.run.compile and compiler_found():
            getattr(run.model, "net", run.model).compile(dynamic=False)
        self.module, self.optimizer = fabric.setup(run.model, run.optimizer)
        run.average.weights = states.to_device(run.average.weights, fabric.device)

    def go(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        recipe, run = self.recipe, self.run
        self.writer = SummaryWriter(str(self.folder / "tensorboard"))
        columns = ("{task.completed}/{task.total}", "{task.fields[report]}")
        try:
            with progress(*columns) as self.bar, Interruption() as self.interruption:
                with self._scoring(2) as done:
                    self.listed = examples(self.store, recipe.valid.clips, recipe.valid.seconds, done)
                    self.baseline = untouched(self.listed, self.store.sample_rate, done)
                self.interruption.raise_if_wanted()
                note(
                    f"{recipe.name}: {sum(p.numel() for p in run.model.parameters()):,} parameters, "
                    f"step {run.step} of {recipe.optim.steps}, in {self.folder}"
                )
                self._steps()
                self._validate()
                self._save()
        finally:
            self.writer.close()

    @contextlib.contextmanager
    def _scoring(self, rounds: int) -> Iterator[Callable[[], object]]:
        """A line of progress for so many rounds over the validation list; gives what to call after each clip."""
        total = rounds * len(KINDS) * self.recipe.valid.clips
        task = self.bar.add_task("validate", total=total, report="")
        yield lambda: self.bar.advance(task)
        self.bar.remove_task(task)

    def _batches(self) -> DataLoader:
        data, optim = self.recipe.data, self.recipe.optim
        per_epoch = max(1, round(data.epoch_hours * 3600 / data.seconds))
        dataset = MixtureDataset(data.path, data.mixing, data.seconds, self.recipe.seed, per_epoch)
        return loader(dataset, optim.batch, data.workers, start=self.run.step * optim.batch)

    def _steps(self) -> None:
        recipe, run = self.recipe, self.run
        started, skipped_in_a_row = time.monotonic(), 0
        task = self.bar.add_task(recipe.name, total=recipe.optim.steps, completed=run.step, report="")
        if run.step >= recipe.optim.steps:
            return
        for batch in self._batches():
            values = self._step(Example(*batch))
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
            speed = recipe.optim.batch * recipe.data.seconds / elapsed
            self.bar.update(task, completed=run.step, report=f"loss {values['loss']:.3f} {speed:.0f} s/s")
            if run.step % 50 == 0:
                self._log("train", {**values, "speed": speed})
            due = run.step % recipe.valid.every == 0 and run.step < recipe.optim.steps
            if due:
                self._validate()
            if due or run.step % recipe.run.save_every == 0 or self.interruption.wanted:
                self._save()
            self.interruption.raise_if_wanted()
            if due:
                started = time.monotonic()
            if run.step >= recipe.optim.steps:
                return

    def _step(self, batch: Example) -> dict[str, float]:
        """One update. It is skipped, and counted, where the gradient is not finite."""
        recipe, run, optimizer = self.recipe, self.run, self.optimizer
        rate = learning_rate(run.step, recipe)
        for group in optimizer.param_groups:
            group["lr"] = rate
        run.model.train()
        buffers = [buffer.clone() for buffer in run.model.buffers()]  # batch norm's statistics move in the forward
        mixture, target = (self.fabric.to_device(wave)[:, None] for wave in batch)  # (B, 1, T)
        estimate: Tensor = self.module(mixture)[:, 0].float()
        terms = {name: loss(estimate, target, mixture) for name, (_, loss) in self.losses.items()}
        total = torch.stack([weight * terms[name] for name, (weight, _) in self.losses.items()]).sum()
        self.fabric.backward(total)
        norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), recipe.optim.clip)
        if torch.isfinite(norm):
            optimizer.step()
            run.average.update(run.model, run.step)
        else:
            for buffer, before in zip(run.model.buffers(), buffers, strict=True):
                buffer.copy_(before)
            run.skipped += 1
            warn(f"step {run.step}: gradient not finite, skipped ({run.skipped} so far)")
        optimizer.zero_grad(set_to_none=True)
        run.step += 1
        return {"loss": total.item(), "norm": norm.item(), "lr": rate} | {k: v.item() for k, v in terms.items()}

    def _validate(self) -> None:
        """Score the average of the weights and the weights themselves; keep the better one if it is the best."""
        run = self.run
        raw = {name: tensor.detach().clone() for name, tensor in run.model.state_dict().items()}
        found = {}
        with self._scoring(2) as done:
            for name, weights in (("raw", raw), ("average", run.average.weights)):
                run.model.load_state_dict(weights)
                found[name] = (self._scores(done), weights)
        run.model.load_state_dict(raw)
        values = {name: steering_score(scores, self.baseline) for name, (scores, _) in found.items()}
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
        self._log("valid", record)
        note(
            f"step {run.step}: score {values[name]:.3f} ({name}; raw {values['raw']:.3f}, average "
            f"{values['average']:.3f})  "
            + "  ".join(
                f"{kind} {row['pesq']:.2f}/{row['stoi']:.3f}/{row['si_sdr']:.1f}" for kind, row in scores.items()
            )
        )
        if values[name] > run.best:
            run.best = values[name]
            self._write(BEST, weights, record)

    def _scores(self, done: Callable[[], object]) -> Scores:
        with torch.compiler.set_stance("force_eager"):  # other shapes than in training: not worth compiling
            return validate(self.run.model, self.listed, self.fabric.device, done)

    def _save(self) -> None:
        run = self.run
        self._write(LAST, run.average.weights, run.history[-1] if run.history else {})
        state = {
            "model": run.model.state_dict(),
            "optimizer": run.optimizer.state_dict(),
            "average": run.average.weights,
            "generator": torch.get_rng_state(),
        }
        counters = {name: getattr(run, name) for name in ("step", "seconds", "skipped", "best", "history")}
        states.save(self.folder / STATE, state | counters)

    def _write(self, name: str, weights: dict[str, Tensor], record: dict[str, Any]) -> None:
        provenance = {
            **self.provenance,
            "step": self.run.step,
            "hours": self.run.seconds / 3600,
            "valid": record,
        }
        save_checkpoint(self.folder / name, self.run.model, self.arguments, provenance, weights)

    def _log(self, kind: str, values: dict[str, Any]) -> None:
        with (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "step": self.run.step, **values}) + "\n")
        for name, value in _flat(values):
            self.writer.add_scalar(f"{kind}/{name}", value, self.run.step)


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """The numbers in nested dictionaries, with their paths."""
    found = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)):
            found.append((prefix + name, value))
    return found


def compiler_found() -> bool:
    """Whether ``torch.compile`` has the C++ compiler that it needs on a CPU."""
    return any(shutil.which(name) for name in ("c++", "g++", "clang++"))
