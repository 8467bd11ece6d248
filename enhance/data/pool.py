"""Results of several processes, in the order of what they are made of."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from enhance.errors import EnhanceError

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int, ahead: int = 8
) -> Generator[Result, None, None]:
    """``function`` of each item, from ``jobs`` processes, or from this one if that is 1.

    Each is at most ``ahead`` items ahead of who takes the results, so that memory stays small; close the generator to
    end them. What ``function`` raises is raised here. EnhanceError where a process dies.
    """
    if jobs == 1:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")  # also where threads run already
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise EnhanceError("a process that decodes died, perhaps for lack of memory", "try fewer --jobs") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """Start of a worker: Ctrl-C is the parent's to handle, and a worker does not outlive a parent that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
