"""Where the examples of a recipe come from: mixed on the fly, from one file or from shards, or pairs as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from enhance.data.dataset import MixtureDataset, loader, new_loader
from enhance.data.mixing import Example
from enhance.data.pairs import PairDataset, PairStore, valid_examples
from enhance.data.shards import ShardSet
from enhance.data.store import Store
from enhance.data.stream import ShardDataset
from enhance.errors import EnhanceError
from enhance.training.recipe import Recipe
from enhance.training.validate import KINDS, examples

AnyStore = Store | PairStore | ShardSet


def open_store(recipe: Recipe) -> AnyStore:
    """The prepared data set of the recipe; EnhanceError if it is not one of its kind."""
    path, kind = recipe.data.path, recipe.data.kind
    if kind == "shards":
        return ShardSet(path)
    return PairStore(Path(path)) if kind == "pairs" else Store(Path(path))


def examples_per_step(recipe: Recipe, processes: int) -> int:
    """What one update sees, over all processes."""
    return recipe.optim.batch * recipe.optim.accumulate * processes


def batches(recipe: Recipe, step: int, process: int = 0, processes: int = 1) -> DataLoader:
    """Batches ``(mixture, target)``, each ``(batch, time)``, from an update on, without end.

    The processes share the examples out: together they see what one process with as many times the batch would.
    """
    data, batch = recipe.data, recipe.optim.batch
    if data.kind == "shards":
        taken = step * recipe.optim.accumulate
        dataset = ShardDataset(data.path, data.mixing, data.seconds, recipe.seed, batch, taken, process, processes)
        return new_loader(dataset, batch, data.workers)
    per_epoch = max(1, round(data.epoch_hours * 3600 / data.seconds))
    if data.kind == "pairs":
        dataset = PairDataset(Path(data.path), data.seconds, recipe.seed, per_epoch, data.remix)
    else:
        dataset = MixtureDataset(Path(data.path), data.mixing, data.seconds, recipe.seed, per_epoch)
    start = step * examples_per_step(recipe, processes) + process * batch
    return loader(dataset, batch, data.workers, start, stride=batch * processes)


def drawn(batches: DataLoader) -> Iterator[Any]:
    """The batches; where a worker raises EnhanceError, it is raised here as it was, without the worker's traceback."""
    try:
        yield from batches
    except EnhanceError as error:
        raise EnhanceError(str(error).rpartition(f"{EnhanceError.__name__}: ")[2].strip()) from None


def validation_clips(recipe: Recipe) -> int:
    """How many :func:`validation_list` holds, at most."""
    return recipe.valid.clips * (1 if recipe.data.kind == "pairs" else len(KINDS))


def validation_list(
    recipe: Recipe, store: AnyStore, done: Callable[[], object] = lambda: None
) -> dict[str, list[Example]]:
    """The fixed list of held-out examples by kind; ``done`` is called after each."""
    if isinstance(store, PairStore):
        return valid_examples(store, recipe.valid.clips, recipe.valid.seconds)
    held_out = store.held_out() if isinstance(store, ShardSet) else store
    return examples(held_out, recipe.valid.clips, recipe.valid.seconds, done)
