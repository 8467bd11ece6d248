"""Where the examples of a recipe come from: mixed on the fly, from a file or shards, pairs as they are, or stems."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from enhance.data.dataset import MixtureDataset, loader, new_loader
from enhance.data.mixing import Example
from enhance.data.pairs import PairDataset, PairStore, valid_examples
from enhance.data.shards import ShardSet
from enhance.data.stem_dataset import StemDataset
from enhance.data.stem_dataset import valid_examples as valid_stems
from enhance.data.stem_store import StemStore
from enhance.data.store import Store
from enhance.data.stream import ShardDataset
from enhance.errors import EnhanceError
from enhance.training import validate, validate_sources
from enhance.training.recipe import Recipe
from enhance.training.validate import Scores

AnyStore = Store | PairStore | ShardSet | StemStore


def open_store(recipe: Recipe) -> AnyStore:
    """The prepared data set of the recipe; EnhanceError if it is not one of its kind."""
    path, kind = recipe.data.path, recipe.data.kind
    if kind == "shards":
        return ShardSet(path)
    return {"pairs": PairStore, "stems": StemStore, "mixtures": Store}[kind](Path(path))


def check_model(recipe: Recipe, store: AnyStore, model: nn.Module) -> None:
    """EnhanceError unless the model runs at the rate of the store and, of stems, with its channels and sources."""
    if model.sample_rate != store.sample_rate:
        raise EnhanceError(
            f"{store.folder}: prepared at {store.sample_rate} Hz, but {recipe.model!r} runs at {model.sample_rate} Hz",
            f"prepare it again with --sample-rate {model.sample_rate}",
        )
    channels = store.channels if isinstance(store, StemStore) else 1
    if model.channels not in (1, channels):
        what = f"{store.folder}: of {channels} channel(s), but {recipe.model!r} takes {model.channels} together"
        raise EnhanceError(what, "take another model, or prepare it again")
    if isinstance(store, StemStore):
        store.numbers(recipe.stems.heard)


def examples_per_step(recipe: Recipe, processes: int) -> int:
    """What one update sees, over all processes."""
    return recipe.optim.batch * recipe.optim.accumulate * processes


def batches(recipe: Recipe, step: int, process: int = 0, processes: int = 1) -> DataLoader:
    """Batches of mixtures ``(batch, time)`` and targets ``(batch, [sources,] time)``, from an update on, without end.

    Of stems ``(batch, channels, time)`` and ``(batch, sources, channels, time)``. The processes share the examples out:
    together they see what one process with as many times the batch would.
    """
    data, batch = recipe.data, recipe.optim.batch
    if data.kind == "shards":
        taken = step * recipe.optim.accumulate
        dataset = ShardDataset(data.path, data.mixing, data.seconds, recipe.seed, batch, taken, process, processes)
        return new_loader(dataset, batch, data.workers)
    per_epoch = max(1, round(data.epoch_hours * 3600 / data.seconds))
    if data.kind == "pairs":
        dataset = PairDataset(Path(data.path), data.seconds, recipe.seed, per_epoch, data.remix)
    elif data.kind == "stems":
        dataset = StemDataset(Path(data.path), recipe.stems, data.seconds, recipe.seed, per_epoch)
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
    if recipe.data.kind in ("pairs", "stems"):
        return recipe.valid.clips
    mixed = recipe.data.mixing.sources
    return recipe.valid.clips * len(validate.KINDS if mixed is None else validate_sources.kinds([*mixed]))


def validation_list(
    recipe: Recipe, store: AnyStore, done: Callable[[], object] = lambda: None
) -> dict[str, list[Example]]:
    """The fixed list of held-out examples by kind; ``done`` is called after each."""
    clips, seconds, mixing = recipe.valid.clips, recipe.valid.seconds, recipe.data.mixing
    if isinstance(store, PairStore):
        return valid_examples(store, clips, seconds)
    if isinstance(store, StemStore):
        return valid_stems(store, recipe.stems, clips, seconds)
    held_out = store.held_out() if isinstance(store, ShardSet) else store
    if mixing.sources is not None:
        return validate_sources.examples(held_out, [*mixing.sources], mixing.interferers, clips, seconds, done)
    return validate.examples(held_out, clips, seconds, done, mixing.early_ms)


class Validation:
    """The fixed list, the scores of its mixtures, and how those of a model are made and judged.

    ``done`` is called twice for each of :func:`validation_clips`. EnhanceError if none of the list can be scored.
    """

    def __init__(self, recipe: Recipe, store: AnyStore, done: Callable[[], object] = lambda: None) -> None:
        self.listed = validation_list(recipe, store, done)
        targets = recipe.data.targets
        if targets is None:
            self.measure, self.validate = validate, validate.validate
            self.baseline = validate.untouched(self.listed, store.sample_rate, done)
        else:
            self.measure, self.validate = validate_sources, partial(validate_sources.validate, permute=recipe.permute)
            self.baseline = validate_sources.untouched(self.listed, targets, done)
        if all(row == validate.UNSCORED for row in self.baseline.values()):  # or there is none
            what = f"{store.folder}: no example of {recipe.valid.seconds:g} s for validation can be scored"
            raise EnhanceError(what, "give a longer valid.seconds, or prepare more recordings")

    def scores(self, model: nn.Module, device: torch.device, done: Callable[[], object] = lambda: None) -> Scores:
        """Of that model; ``done`` is called after each example."""
        return self.validate(model, self.listed, device, done)

    def steering_score(self, scores: Scores) -> float:
        """The one number that picks the best checkpoint."""
        return self.measure.steering_score(scores, self.baseline)

    def line(self, scores: Scores) -> str:
        """For the log."""
        return self.measure.line(scores)
