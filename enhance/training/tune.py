"""Search over the settings of a recipe, by Optuna: the recipe says what varies, validation says what wins."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from enhance.console import note
from enhance.errors import EnhanceError
from enhance.training.loop import train
from enhance.training.recipe import Dimension, Recipe, read
from enhance.training.setup import one_process

STUDY, BEST = "study.db", "best.json"


def tune(path: Path, changes: Sequence[str], output: Path) -> dict[str, Any]:
    """Train trials of the recipe in ``output / trial-NNNN`` until there are as many as its ``[search]`` wants.

    The study is kept in ``output / study.db``: a search that was broken off goes on, and several processes
    of one machine share it. A trial that fails, or that validation finds worse than the others, is given up,
    one whose process was killed does not count. Writes and returns the best trial. EnhanceError without a
    ``[search]`` table or without Optuna.
    """
    recipe = read(path, list(changes))
    search = recipe.search
    if search is None:
        raise EnhanceError(
            f"{path}: has no [search]",
            "say what varies, for instance search.space.'optim.lr' = { low = 1e-4, high = 1e-2 }",
        )
    one_process([recipe], "--tune")
    try:
        import optuna
    except ImportError:
        raise EnhanceError("--tune needs the package optuna", "pip install optuna") from None
    from optuna.study import MaxTrialsCallback
    from optuna.trial import Trial, TrialState

    for key, dimension in search.space.items():
        read(path, [*changes, _override(key, dimension.example())])  # a wrong key shows before the work
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _study(recipe, output)

    def objective(trial: Trial) -> float:
        values = {key: _suggest(trial, key, dimension) for key, dimension in search.space.items()}
        note(f"trial {trial.number}: {', '.join(_override(key, value) for key, value in values.items())}")

        def report(step: int, score: float) -> None:
            trial.report(score, step)
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            settings = read(path, [*changes, *(_override(key, value) for key, value in values.items())])
            return train(settings, output / f"trial-{trial.number:04d}", resume=False, report=report)
        except (EnhanceError, RuntimeError, ValueError) as error:  # the loss was not finite, for instance, or no memory
            note(f"trial {trial.number} given up: {error}")
            raise optuna.TrialPruned from None

    finished = (TrialState.COMPLETE, TrialState.PRUNED)
    if len(study.get_trials(states=finished)) < search.trials:
        study.optimize(objective, callbacks=[MaxTrialsCallback(search.trials, states=finished)])
    if not study.get_trials(states=(TrialState.COMPLETE,)):
        raise EnhanceError(f"{path}: no trial was finished", "give more trials, or a narrower [search.space]")
    best = {"trial": study.best_trial.number, "score": study.best_value, "settings": study.best_params}
    (output / BEST).write_text(json.dumps(best, indent=2) + "\n", encoding="utf-8")
    return best


def _study(recipe: Recipe, output: Path) -> Any:
    import optuna

    assert recipe.search is not None
    output.mkdir(parents=True, exist_ok=True)
    pruner = {"median": optuna.pruners.MedianPruner, "hyperband": optuna.pruners.HyperbandPruner}
    return optuna.create_study(
        storage=f"sqlite:///{output / STUDY}",
        study_name=recipe.name,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(),  # unseeded: workers that share a study must not draw alike
        pruner=pruner[recipe.search.pruner](),
    )


def _suggest(trial: Any, key: str, dimension: Dimension) -> Any:
    if dimension.choices is not None:
        return trial.suggest_categorical(key, dimension.choices)
    low, high, step = dimension.low, dimension.high, dimension.step
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(key, low, high, step=int(step or 1), log=dimension.log)
    return trial.suggest_float(key, low, high, step=step, log=dimension.log)


def _override(key: str, value: Any) -> str:
    """``key=value`` as ``--set`` takes it."""
    return f"{key}={json.dumps(value)}"
