"""One update of the weights, and everything that it changes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.profiler import record_function

from enhance import losses
from enhance.console import warn
from enhance.data.mixing import Example
from enhance.losses.subsets import best_order
from enhance.training import state as states
from enhance.training.recipe import ALL, Recipe
from enhance.training.setup import build_model, build_optimizers, compiler_found, learning_rate


@dataclass
class Run:
    """Everything that changes while a run goes on."""

    model: nn.Module
    optimizers: list[torch.optim.Optimizer]
    average: states.Average
    step: int = 0
    seconds: float = 0.0  # of wall time spent training
    skipped: int = 0  # steps whose gradient was not finite, in all
    best: float = -math.inf
    history: list[dict[str, Any]] = field(default_factory=list)  # of validation


def new_run(recipe: Recipe, fabric: Fabric) -> tuple[Run, dict[str, Any]]:
    """A run before its first step, and its model's constructor arguments."""
    torch.set_num_threads(recipe.run.threads)
    torch.manual_seed(recipe.seed)
    model, arguments = build_model(recipe)
    model.to(fabric.device)  # before the optimiser takes its state back: that goes where the weights are
    if recipe.run.channels_last:
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return Run(model, build_optimizers(model, recipe.optim), states.Average(model, recipe.optim.ema)), arguments


class Step:
    """``step(batches)`` is one update of ``run``; its phases carry names for a profiler."""

    def __init__(self, recipe: Recipe, fabric: Fabric, run: Run) -> None:
        self.recipe, self.fabric, self.run = recipe, fabric, run
        rate: int = run.model.sample_rate  # pyright: ignore[reportAssignmentType]
        self.losses, self.auxiliary = (
            {
                name: (weight, losses.create(name, rate, **recipe.loss_options.get(name, {})))
                for name, weight in weights.items()
            }
            for weights in (recipe.loss, recipe.auxiliary)
        )
        self.parts: dict[str, nn.Module] = dict(getattr(run.model, "parts", {}))
        # The plain module is what is saved and validated; Fabric's wrapper and compilation serve the step.
        if recipe.run.compile and compiler_found():
            for part in self.parts.values() or [run.model]:
                getattr(part, "net", part).compile(dynamic=False)
        self.module, *self.optimizers = fabric.setup(run.model, *run.optimizers)
        if self.parts:
            self.module.mark_forward_method("estimates")
        run.average.weights = states.to_device(run.average.weights, fabric.device)

    def __call__(self, batches: list[Example]) -> dict[str, float]:
        """One update from one or more batches. It is skipped, and counted, where the gradient is not finite."""
        recipe, run = self.recipe, self.run
        rate = learning_rate(run.step, recipe)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        trained = recipe.stage(run.step)[0].train
        run.model.train()
        for name, part in self.parts.items():
            part.train(trained in (ALL, name))
        buffers = [buffer.clone() for buffer in run.model.buffers()]  # batch norm's statistics move in the forward
        found: list[dict[str, Tensor]] = []
        for number, batch in enumerate(batches):
            with self.fabric.no_backward_sync(self.module, enabled=number < len(batches) - 1):
                found.append(self._gradients(batch, trained, len(batches)))
        with record_function("phase: update"):
            norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), recipe.optim.clip)
            if torch.isfinite(norm):
                for optimizer in self.optimizers:
                    optimizer.step()
                run.average.update(run.model, run.step)
            else:
                self._skip(buffers)
            run.model.zero_grad(set_to_none=True)
        run.step += 1
        means: Any = {name: torch.stack([terms[name] for terms in found]).mean() for name in found[0]}
        if self.fabric.world_size > 1:
            means = self.fabric.all_reduce(means, reduce_op="mean")
        return {"norm": norm.item(), "lr": rate} | {name: value.item() for name, value in means.items()}

    def _gradients(self, batch: Example, trained: str, share: int) -> dict[str, Tensor]:
        """Add the gradient of one batch, over ``share``; gives its losses."""
        mixture, target = (self.fabric.to_device(wave) for wave in batch)
        mixture = mixture.reshape(len(mixture), -1, mixture.shape[-1])  # (B, C, T), C = 1 where there was none
        target = target.reshape(len(mixture), -1, *mixture.shape[1:])  # (B, S, C, T)
        with record_function("phase: forward"):
            *earlier, last = self._estimates(mixture, trained)
        mixture = mixture[:, None]  # (B, 1, C, T)
        with record_function("phase: losses"):
            if self.recipe.permute:
                target = target.take_along_dim(best_order(last, target)[:, :, None, None], dim=1)
            weighted = [(name, weight, loss, last) for name, (weight, loss) in self.losses.items()]
            if trained == ALL:
                for part, estimate in zip(self.parts, earlier, strict=False):  # the last part's estimate is not earlier
                    found = self.auxiliary.items()
                    weighted += [(f"{part}_{name}", weight, loss, estimate) for name, (weight, loss) in found]
            terms = {name: loss(estimate, target, mixture) for name, _, loss, estimate in weighted}
            total = torch.stack([weight * terms[name] for name, weight, _, _ in weighted]).sum()
        with record_function("phase: backward"):
            self.fabric.backward(total / share)
        return {"loss": total.detach()} | {name: term.detach() for name, term in terms.items()}

    def _estimates(self, mixture: Tensor, trained: str) -> list[Tensor]:
        """Sources ``(B, S, C, T)`` by each module of a cascade up to the trained one, or by the model."""
        if self.parts:
            with self.fabric.autocast():  # of one process Fabric wraps the call of the module only
                found: list[Tensor] = self.module.estimates(mixture, None if trained == ALL else trained)
        else:
            found = [self.module(mixture)]
        return [estimates.float() for estimates in found]

    def _skip(self, buffers: list[Tensor]) -> None:
        run = self.run
        for buffer, before in zip(run.model.buffers(), buffers, strict=True):
            buffer.copy_(before)
        run.skipped += 1
        if self.fabric.is_global_zero:
            warn(f"step {run.step}: gradient not finite, skipped ({run.skipped} so far)")
