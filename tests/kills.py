"""Commands in processes of their own, from a server that has imported torch once for all of them; killing these."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["enhance.training.loop", "enhance.inference.denoise", "torch.utils.tensorboard"])
KILLS, ATTEMPTS = 10, 40
LONGEST = 120.0  # seconds of a process


def start(function: Callable[..., None], *arguments: object) -> BaseProcess:
    """A function of a module, in a process of its own."""
    process = CONTEXT.Process(target=function, args=arguments)
    process.start()
    return process


def command(
    *arguments: object, errors: str | Path = os.devnull, largest: int | None = None, **variables: str
) -> BaseProcess:
    """``enhance ARGUMENTS...`` with these variables of the environment.

    ``errors`` is the file for stderr, ``largest`` the number of bytes that a file may have.
    """
    return start(_run, list(map(str, arguments)), errors, largest, variables)


def _run(arguments: list[str], errors: str | Path, largest: int | None, variables: dict[str, str]) -> None:
    from enhance.cli import main

    if largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    multiprocessing.set_start_method("fork", force=True)  # of the loader's workers, as in a command typed by a person
    os.environ.update(variables)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 2)
    sys.argv = ["enhance", *arguments]
    main()


def moments(running: Callable[[], bool], folder: Path) -> Iterator[int]:
    """Counts, from zero, what the folder goes through while a process runs: files that come, grow, and go."""
    before, count, deadline = None, -1, time.monotonic() + LONGEST
    while running():
        assert time.monotonic() < deadline, f"not done after {LONGEST:.0f} s, at moment {count}: {before}"
        now = []
        for place, _, names in os.walk(folder):  # which passes over what vanishes meanwhile
            for path in (Path(place) / name for name in names):
                with contextlib.suppress(FileNotFoundError):
                    now.append((path, path.stat().st_size))
        if now != before:
            before, count = now, count + 1
            yield count
        time.sleep(0.001)


def undisturbed(process: BaseProcess, folder: Path) -> int:
    """Wait for the end of a process; how many moments it had."""
    try:
        *_, last = moments(process.is_alive, folder)
        process.join(60)
        assert process.exitcode == 0
    finally:
        process.kill()  # which does nothing to one that is done
    return last


def kill_at_random(
    start: Callable[[], BaseProcess], folder: Path, most: int, seed: int, finished: Callable[[], None]
) -> None:
    """SIGKILL for ten processes one after the other, each at one of its first ``most`` moments or just after it.

    ``finished`` is called when one was done before its moment; it makes room for a new beginning.
    """
    rng, killed = random.Random(seed), 0
    for _ in range(ATTEMPTS):
        process, moment = start(), rng.randint(0, most)
        try:
            for count in moments(process.is_alive, folder):
                if count >= moment:
                    time.sleep(rng.uniform(0, 0.02))
                    process.kill()
                    break
            process.join(60)
        finally:
            process.kill()
        if process.exitcode == 0:
            finished()
        else:
            assert process.exitcode == -9
            killed += 1
        if killed == KILLS:
            return
    raise AssertionError(f"only {killed} were killed")
