"""Where the examples of a recipe come from: mixed on the fly, or pairs as they are."""

from __future__ import annotations

from collections.abc import Callable

from torch.utils.data import DataLoader

from enhance.data.dataset import MixtureDataset, loader
from enhance.data.mixing import Example
from enhance.data.pairs import PairDataset, PairStore, valid_examples
from enhance.data.store import Store
from enhance.training.recipe import Recipe
from enhance.training.validate import KINDS, examples

AnyStore = Store | PairStore


def open_store(recipe: Recipe) -> AnyStore:
    """The prepared data set of the recipe; EnhanceError if it is not one of its kind."""
    return PairStore(recipe.data.path) if recipe.data.kind == "pairs" else Store(recipe.data.path)


def examples_per_step(recipe: Recipe, processes: int) -> int:
    """What one update sees, over all processes."""
    return recipe.optim.batch * recipe.optim.accumulate * processes


def batches(recipe: Recipe, step: int, process: int = 0, processes: int = 1) -> DataLoader:
    """Batches ``(mixture, target)``, each ``(batch, time)``, from an update on, without end.

    The processes share the examples out: together they see what one process with as many times the batch would.
    """
    data, batch = recipe.data, recipe.optim.batch
    per_epoch = max(1, round(data.epoch_hours * 3600 / data.seconds))
    if data.kind == "pairs":
        dataset = PairDataset(data.path, data.seconds, recipe.seed, per_epoch, data.remix)
    else:
        dataset = MixtureDataset(data.path, data.mixing, data.seconds, recipe.seed, per_epoch)
    start = step * examples_per_step(recipe, processes) + process * batch
    return loader(dataset, batch, data.workers, start, stride=batch * processes)


def validation_clips(recipe: Recipe) -> int:
    """How many :func:`validation_list` holds, at most."""
    return recipe.valid.clips * (1 if recipe.data.kind == "pairs" else len(KINDS))


def validation_list(
    recipe: Recipe, store: AnyStore, done: Callable[[], object] = lambda: None
) -> dict[str, list[Example]]:
    """The fixed list of held-out examples by kind; ``done`` is called after each."""
    if isinstance(store, PairStore):
        return valid_examples(store, recipe.valid.clips, recipe.valid.seconds)
    return examples(store, recipe.valid.clips, recipe.valid.seconds, done)
