"""Lists of clips, and recipes that name trees of them, to a prepared data set."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from enhance.console import note, progress, warn
from enhance.data import archives, shards, store
from enhance.data import rooms as simulated
from enhance.data.data_recipe import MixRecipe, Tree
from enhance.data.manifest import KINDS, SPLITS, Clip, scan_folder, settle_splits, without_repeats
from enhance.errors import EnhanceError

STORE, SHARDS = "store", "shards"


@dataclass(frozen=True)
class Form:
    """What a data set is made into."""

    sample_rate: int
    rooms: int  # simulated ones to add
    shards: bool  # else a store
    jobs: int


class _Account:
    """Of the clips, those that could not be read, which are said at once; EnhanceError once no speech is left."""

    def __init__(self, clips: Sequence[Clip], advance: Callable[[], object]) -> None:
        self.speech = sum(clip.kind == "speech" for clip in clips)
        self.advance, self.failed = advance, 0

    def __call__(self, clip: Clip, error: EnhanceError | None) -> None:
        self.advance()
        if error is None:
            return
        warn(f"{error}; left out")
        self.failed += 1
        self.speech -= clip.kind == "speech"
        if not self.speech:
            raise EnhanceError("no speech is left: none of its files could be read", "see the lines above")


def prepare(output: Path, lists: Sequence[list[Clip]], form: Form, force: bool) -> int:
    """Decode all clips into a store or shards, and say what there is. EnhanceError without speech.

    Files that cannot be read are left out, with a warning each; how many they are is returned.
    """
    if (output / store.INDEX).exists() and not force:
        raise EnhanceError(f"{output}: is there already", "give --force to make it again")
    if form.rooms:
        simulated.simulator()  # or hours of decoding would be for nothing
    given = sum(map(len, lists))
    clips, moved = settle_splits(list(without_repeats(lists)))
    if given > len(clips):
        warn(f"{given - len(clips)} recordings are left out: their folder and item are in what is given before them")
    for name in moved:
        warn(f"{name} was in several splits: all of it is now in the one that is held back most")
    if not any(clip.kind == "speech" for clip in clips):
        raise EnhanceError("no speech given", "name folders with --data or --speech")
    with progress("{task.completed}/{task.total} clips") as bar:
        task = bar.add_task("prepare", total=len(clips) + form.rooms)
        responses = ((f"room-{seed:04d}", simulated.simulate(seed, form.sample_rate)) for seed in range(form.rooms))
        build = shards.build if form.shards else store.build
        account = _Account(clips, lambda: bar.advance(task))
        built = build(output, clips, responses, form.sample_rate, form.jobs, account)
    _say(built, output)
    if account.failed:
        note(f"{account.failed} of {len(clips)} files could not be read: the data set is without them")
    return account.failed


def _say(built: store.Store | shards.ShardSet, output: Path) -> None:
    for kind in KINDS:
        hours = {split: built.seconds(kind, split) / 3600 for split in SPLITS}
        note(f"{kind:7}" + "".join(f"  {split} {value:6.2f} h" for split, value in hours.items()))
    note(f"{output}: fingerprint {built.fingerprint}")


def prepare_recipe(
    recipe: MixRecipe, data: Path, sources: Sequence[Path], mirror: str | None, form: Form, force: bool
) -> int:
    """Make ``store/`` or ``shards/`` in the folder ``data``, if it is not there (or if ``force``).

    From the trees below ``sources``; where there are none, from the archives, downloaded to ``data/archives``. Returns
    how many files could not be read.
    """
    output, failed = data / (SHARDS if form.shards else STORE), 0
    if (output / store.INDEX).exists() and not force:
        _say(shards.ShardSet(output) if form.shards else store.Store(output), output)
    else:
        if form.rooms:
            simulated.simulator()  # or a download would be for nothing
        failed = prepare(output, [_clips(recipe, data, sources, mirror)], form, force)
    shutil.rmtree(data / archives.UNPACKED, ignore_errors=True)
    return failed


def _clips(recipe: MixRecipe, data: Path, sources: Sequence[Path], mirror: str | None) -> list[Clip]:
    """What is in the trees of the recipe."""
    places = list(sources) or [archives.provide(archive, data, mirror) for archive in recipe.archives]
    clips: list[Clip] = []
    for tree, folder in find_trees(recipe, places):
        found = scan_folder(folder, tree.kind, item=tree.item, without=tree.without)
        clips += [replace(clip, source=tree.source, licence=tree.licence) for clip in found]
        note(f"{folder}: {len(found):,} recordings of {tree.kind}")
    if not clips:
        listed = ", ".join(name for tree in recipe.trees for name in tree.folders)
        raise EnhanceError(f"{' '.join(map(str, places))}: none of the folders {listed}", "see the recipe's README")
    return clips


def find_trees(recipe: MixRecipe, places: Sequence[Path]) -> Iterator[tuple[Tree, Path]]:
    """The folders below ``places`` that are trees of the recipe: none within another one, or within what it skips."""
    for place in places:
        for folder, inside, _ in os.walk(place.resolve()):
            inside.sort()
            parts = Path(folder).parts
            tree = next((tree for tree in recipe.trees if any(_ends(parts, name) for name in tree.folders)), None)
            if tree is not None:
                yield tree, Path(folder)
            if tree is not None or parts[-1] in recipe.skip:
                inside.clear()


def _ends(parts: tuple[str, ...], name: str) -> bool:
    wanted = tuple(name.split("/"))
    return parts[-len(wanted) :] == wanted
