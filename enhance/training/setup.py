"""What a run needs before its first step: Fabric, the model, the optimiser's schedule, where things come from."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import nn

from enhance import __version__
from enhance.errors import EnhanceError
from enhance.models import create, presets
from enhance.models.checkpoint import load_model, read_header
from enhance.models.compact import CompactUNet
from enhance.models.grow import grow
from enhance.training.recipe import Recipe


def launch(recipe: Recipe) -> Fabric:
    """The processes of the run: this one, or as many as the recipe, torchrun or Slurm says.

    Without a launcher, the command is run again once for each further device of this machine.
    """
    run = recipe.run
    several = run.devices * run.nodes > 1
    fabric = Fabric(
        accelerator=run.accelerator,
        devices=run.devices,
        num_nodes=run.nodes,
        precision=run.precision,
        strategy="ddp" if several else "auto",
    )
    fabric.launch()
    return fabric


def one_process(recipes: Iterable[Recipe], what: str) -> None:
    """EnhanceError where a recipe asks for several processes: each of them would choose its own next run."""
    if any(recipe.run.devices * recipe.run.nodes > 1 for recipe in recipes):
        raise EnhanceError(f"{what} with several devices", f"give each device a {what} of its own, or train one by one")


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


def origin(recipe: Recipe) -> dict[str, Any] | None:
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


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine from ``lr`` to ``final_lr`` over the remaining steps."""
    optim = recipe.optim
    if step < optim.warmup:
        return optim.lr * (step + 1) / optim.warmup
    share = min(1.0, (step - optim.warmup) / max(1, optim.steps - optim.warmup))
    return optim.final_lr + (optim.lr - optim.final_lr) * 0.5 * (1 + math.cos(math.pi * share))


def compiler_found() -> bool:
    """Whether ``torch.compile`` has the C++ compiler that it needs on a CPU."""
    return any(shutil.which(name) for name in ("c++", "g++", "clang++"))
