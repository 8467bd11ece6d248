"""Ctrl-C and SIGTERM while a run goes on."""

from __future__ import annotations

import signal
import time

import torch
from lightning_fabric import Fabric

from enhance.console import note


class Interruption:
    """Ctrl-C and SIGTERM (a scheduler's pre-emption) between steps: state is never caught half-way.

    The first signal asks the loop to save and stop, a later one stops at once. What follows within a second is the
    same wish, which a launcher passes on.
    """

    def __init__(self, speaks: bool = True) -> None:
        self.speaks = speaks

    def __enter__(self) -> Interruption:
        self.wanted: int | None = None
        self.handlers = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _: object) -> None:
        if self.wanted is not None and time.monotonic() - self.since > 1.0:
            raise KeyboardInterrupt
        self.wanted, self.since = number, time.monotonic()
        if self.speaks:
            note("stopping after this step; once more to stop at once")

    def agreed(self, fabric: Fabric) -> bool:
        """Whether a signal has reached any of the processes; from then on it has reached all."""
        if fabric.world_size > 1:
            number = fabric.all_reduce(torch.tensor(self.wanted or 0, device=fabric.device), reduce_op="max")
            self.wanted = int(number) or None  # pyright: ignore[reportArgumentType]
        return self.wanted is not None

    def raise_if_wanted(self) -> None:
        """KeyboardInterrupt after Ctrl-C, SystemExit after SIGTERM."""
        if self.wanted == signal.SIGINT:
            raise KeyboardInterrupt
        if self.wanted is not None:
            raise SystemExit(128 + self.wanted)
