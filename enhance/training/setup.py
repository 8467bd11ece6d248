"""What a run needs before its first step: Fabric, the model, the optimiser's schedule, where things come from."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from enhance import __version__
from enhance.console import note
from enhance.errors import EnhanceError
from enhance.models import constructor_arguments, create
from enhance.models.checkpoint import find, load_model, read_header
from enhance.models.compact import CompactUNet
from enhance.models.grow import grow
from enhance.models.provenance import origins
from enhance.models.shrink import shrink
from enhance.nn.precision import Precision, has_bfloat16
from enhance.training.recipe import ALL, OptimConfig, Recipe

HINT = (  # for a checkpoint that does not fit
    "take the model of that checkpoint or, of a compact one, more (or fewer) blocks and units, or more sources; "
    "or leave out init"
)


def launch(recipe: Recipe) -> Fabric:
    """The processes of the run, as :func:`new_fabric` says, launched.

    Without a launcher, the command is run again once for each further device of this machine.
    """
    fabric = new_fabric(recipe)
    fabric.launch()
    return fabric


def new_fabric(recipe: Recipe) -> Fabric:
    """This process, or as many as the recipe, torchrun or Slurm says; not launched, but it knows which one it is.

    EnhanceError where the machine has not so many devices of that kind.
    """
    run = recipe.run
    several = run.devices * run.nodes > 1
    try:
        return Fabric(
            accelerator=run.accelerator,
            devices=run.devices,
            num_nodes=run.nodes,
            precision=_precision(run.precision, run.accelerator),
            strategy=("ddp_find_unused_parameters_true" if recipe.stages else "ddp") if several else "auto",
        )
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split()).partition(". ")[0].rstrip(".")  # of several lines
        what = f"run.accelerator = {run.accelerator}, run.devices = {run.devices}: {reason}"
        raise EnhanceError(what, "give what this machine has, or run.accelerator = cpu") from None


def _precision(wanted: Precision, accelerator: str) -> Precision:
    """``wanted``, but float32 on a processor without bfloat16 arithmetic: oneDNN has no LSTM for it there."""
    on_cpu = accelerator == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    if wanted == "bf16-mixed" and on_cpu and not has_bfloat16("cpu"):
        note("this processor has no bfloat16 arithmetic: training in float32")
        return "32-true"
    return wanted


def one_process(recipes: Iterable[Recipe], what: str) -> None:
    """EnhanceError where a recipe asks for several processes: each of them would choose its own next run."""
    if any(recipe.run.devices * recipe.run.nodes > 1 for recipe in recipes):
        raise EnhanceError(f"{what} with several devices", f"give each device a {what} of its own, or train one by one")


def build_model(recipe: Recipe) -> tuple[nn.Module, dict[str, Any]]:
    """The recipe's model, new or with the weights of ``init``, and its constructor's arguments.

    A compact model, also as a module of a cascade, may start from a smaller or a larger one
    (:mod:`enhance.models.grow`, :mod:`enhance.models.shrink`), a cascade from a checkpoint for each of its modules.
    EnhanceError if the recipe trains modules that the model does not have, or mixes other sources.
    """
    model = create(recipe.model, **recipe.model_options)
    _check_sources(recipe, model)
    parts: dict[str, nn.Module] = dict(getattr(model, "parts", {}))
    by_part = recipe.init if isinstance(recipe.init, dict) else {}
    for key, names in (("stages", (ALL, *parts)), ("init", parts)):
        asked = by_part if key == "init" else [stage.train for stage in recipe.stages]
        for name in asked:
            if name not in names:
                known = f"give one of {', '.join(names)}" if names else "it is not a cascade of modules"
                raise EnhanceError(f"{key}: {recipe.model!r} has no module {name!r}", known)
    if recipe.auxiliary and len(parts) < 2:
        raise EnhanceError(f"auxiliary: {recipe.model!r} has no estimate before its last", "leave it out")
    if by_part:
        for name, path in by_part.items():
            trained = load_model(str(path))
            _start(parts[name], [dict(getattr(trained, "parts", {})).get(name, trained)], str(path), name, HINT)
    elif names := _initial(recipe):
        hint = f"for a module of it, init = {{ {[*parts][-1]} = ... }}; {HINT}" if parts else HINT
        _start(model, map(load_model, names), ", ".join(names), recipe.model, hint)
    return model, constructor_arguments(recipe.model, **recipe.model_options)


def _initial(recipe: Recipe) -> list[str]:
    """The checkpoints that ``init`` names."""
    given = recipe.init or []
    return [*map(str, given.values() if isinstance(given, dict) else given if isinstance(given, list) else [given])]


def _start(model: nn.Module, trained: Iterable[nn.Module], paths: str, name: str, hint: str) -> None:
    """Give ``model``, which errors call ``name``, the weights of the checkpoints ``paths``, their mean."""
    try:
        _take_over(model, mean_of(trained))
    except (RuntimeError, ValueError, KeyError):
        raise EnhanceError(f"{paths}: weights of another model than {name!r}", hint) from None


def mean_of(models: Iterable[nn.Module]) -> nn.Module:
    """The first model, with the mean of the weights of all; RuntimeError where they are not alike.

    Runs from the same start stay in the same valley, where the mean is no worse and often better (Wortsman et al. 2022,
    "Model soups", arXiv 2203.05482).
    """
    first, *others = models
    total = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    for other in others:
        weights = other.state_dict()
        if weights.keys() != total.keys():
            raise RuntimeError("other weights")
        for name, tensor in total.items():
            if tensor.is_floating_point():
                tensor += weights[name]
    count = 1 + len(others)
    first.load_state_dict({name: t / count if t.is_floating_point() else t for name, t in total.items()})
    return first


def _take_over(model: nn.Module, initial: nn.Module) -> None:
    """Start ``model`` with the weights of ``initial``; ValueError, RuntimeError or KeyError where they do not fit."""
    if isinstance(initial, CompactUNet) and isinstance(model, CompactUNet):
        initial.net.floor = model.net.floor  # no weight: the recipe says what the mask leaves of the mixture
        larger = model.net.hidden < initial.net.hidden or len(model.net.blocks) < len(initial.net.blocks)
        shrink(model, initial) if larger else grow(model, initial)
    elif parts := dict(getattr(model, "parts", {})):
        others = dict(getattr(initial, "parts", {}))
        if others.keys() != parts.keys():
            raise ValueError("other modules")
        for name, part in parts.items():
            _take_over(part, others[name])
    else:
        model.load_state_dict(initial.state_dict())


def _check_sources(recipe: Recipe, model: nn.Module) -> None:
    """EnhanceError unless the targets of the data are what the model estimates."""
    sources: tuple[str, ...] = model.sources  # pyright: ignore[reportAssignmentType]
    key, targets = "data.mixing.sources", recipe.data.targets
    if recipe.data.kind == "stems":
        key = "data.sources"
    if targets is None and len(sources) > 1:
        what = f"{recipe.model!r} separates {', '.join(sources)}"
        raise EnhanceError(what, "say how often each is there: data.mixing.sources = { speech = 0.8, ... }")
    if targets is not None and tuple(targets) != sources:
        what = f"{key} are {', '.join(targets)}, those of {recipe.model!r} {', '.join(sources)}"
        raise EnhanceError(what, "give both the same, in the same order (model_options.sources)")


def origin(recipe: Recipe) -> dict[str, Any] | list[dict[str, Any]] | None:
    """Provenance of the checkpoint that training starts from: hours add up over continuations.

    Of modules, all; of a mean, those that differ in their trainings (:func:`origins`).
    """
    found = [read_header(find(name))["provenance"] for name in dict.fromkeys(_initial(recipe))]
    if isinstance(recipe.init, dict):
        return found
    several = origins(found)
    return several if len(several) > 1 else next(iter(several), None)


def code_version() -> str:
    """Version of this package and, in a checkout, the commit."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return __version__
    return f"{__version__} ({found.stdout.strip()})"


def leave(fabric: Fabric) -> None:
    """End the connection to the other processes of a run: with its threads, gloo's may abort the process at its end."""
    if fabric.world_size > 1:
        torch.distributed.destroy_process_group()


def build_optimizers(model: nn.Module, optim: OptimConfig) -> list[torch.optim.Optimizer]:
    """AdamW for all parameters, or Muon for the matrices of the hidden layers and AdamW for the rest.

    Muon (Jordan et al. 2024) makes the update of a matrix orthogonal; scaled to AdamW's RMS (Liu et al. 2025, arXiv
    2502.16982, equation 4) it takes the same learning rate.
    """
    weights = dict(model.named_parameters())
    matrices = []
    if optim.optimizer == "muon":
        if not hasattr(torch.optim, "Muon"):
            raise EnhanceError(
                "optim.optimizer = muon: this PyTorch has none", "pip install 'torch>=2.9', or take adamw"
            )
        matrices = [
            name for name, weight in weights.items() if weight.ndim == 2 and "weight" in name.rpartition(".")[2]
        ]
    rest = [weight for name, weight in weights.items() if name not in matrices]
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=optim.lr, betas=optim.betas, weight_decay=optim.weight_decay)
    ]
    if matrices:
        found.append(
            torch.optim.Muon(
                [weights[name] for name in matrices],
                lr=optim.lr,
                weight_decay=optim.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return found


def learning_rate(step: int, recipe: Recipe) -> float:
    """Of each stage, a linear warm-up, then a cosine from its ``lr`` to ``final_lr`` over its remaining steps."""
    optim = recipe.optim
    stage, begin = recipe.stage(step)
    peak = stage.lr or optim.lr
    steps = optim.steps - begin if stage.steps is None else stage.steps
    step -= begin
    if step < optim.warmup:
        return peak * (step + 1) / optim.warmup
    share = min(1.0, (step - optim.warmup) / max(1, steps - optim.warmup))
    return optim.final_lr + (peak - optim.final_lr) * 0.5 * (1 + math.cos(math.pi * share))


def compiler_found() -> bool:
    """Whether ``torch.compile`` has the C++ compiler that it needs on a CPU."""
    return any(shutil.which(name) for name in ("c++", "g++", "clang++"))
