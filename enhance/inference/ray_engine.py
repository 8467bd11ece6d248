"""Many files on a Ray cluster, a task each. Imports nothing heavy until there is work."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import logging
import os
import platform
import signal
import socket
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from enhance.errors import EnhanceError
from enhance.files import remove_stale
from enhance.inference.batch import Progress, cleared, work_with
from enhance.inference.tasks import AnyTask, Result, Settings

ATTEMPTS = 3  # at a file whose worker dies
ANSWER_SECONDS = 3.0  # until a cluster must have answered
STOP_SECONDS = 10.0  # until an interrupted worker must have removed what is half-written
# HTTP/2, as Ray speaks it: how a connection begins, an empty frame of settings, and the kind of the server's first.
HELLO, SETTINGS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 4


def check(address: str | None, device: str) -> None:
    """EnhanceError where Ray is not installed, not meant for the device, or not at ``HOST:PORT``.

    Ray itself would try for minutes, and then end the process.
    """
    if importlib.util.find_spec("ray") is None:
        raise EnhanceError("--engine ray needs the package ray", "pip install ray")
    if device not in ("auto", "cpu"):
        raise EnhanceError(f"--device {device}: on Ray the processors do it", "leave it out, or take --engine local")
    if address in (None, "auto"):
        return
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and int(port) < 1 << 16):
        raise EnhanceError(f"--address {address}: not HOST:PORT", "give what `ray start --head` printed, or auto")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS) as connection:
            connection.sendall(HELLO)
            answer = connection.recv(9)
    except OSError as error:
        what = f"--address {address}: nobody answers ({error.strerror or error})"
        raise EnhanceError(what, "start Ray there with `ray start --head`") from None
    if len(answer) < 9 or answer[3] != SETTINGS:
        what = f"--address {address}: something other than Ray answers"
        raise EnhanceError(what, "give the address that `ray start --head` printed")


def run(
    tasks: Iterable[AnyTask],
    settings: Settings,
    jobs: int | None = None,
    progress: Progress = lambda seconds: None,
    address: str | None = None,
) -> Generator[Result, None, None]:
    """Denoise or separate all on a cluster, a result for each as it is done; a failure is one with ``error``.

    ``address`` is ``HOST:PORT``, ``auto`` for the cluster that this machine is in, or None to start one here. As
    many tasks as ``jobs``, by default two for each processor, are taken from ``tasks`` at a time. A file whose
    worker dies is tried again, three times in all. Every machine must have the package and see the files under the same
    names. EnhanceError if there is no cluster. Where the iterator is closed early, what is half-written is removed.
    """
    waiting = cleared(tasks, everyone=True)
    if (first := next(waiting, None)) is None:
        return
    with connected(address) as ray:
        yield from spread(itertools.chain([first], waiting), Cluster(ray, settings, jobs), progress)


def spread(tasks: Iterator[AnyTask], cluster: Cluster, progress: Progress) -> Generator[Result, None, None]:
    """Keep as many tasks on the cluster as there is room for; see :func:`run`."""
    flying: dict[Any, tuple[AnyTask, int]] = {}  # what is waited for -> a task, and how often it was handed out
    try:
        while True:
            for task in itertools.islice(tasks, max(0, cluster.room() - len(flying))):
                flying[cluster.submit(task)] = task, 1
            if not flying:
                return
            done = cluster.wait([*flying])
            task, attempt = flying.pop(done)
            if (result := cluster.result(done, task)) is None:
                remove_stale(task.outputs, everyone=True)
                if attempt < ATTEMPTS:
                    flying[cluster.submit(task)] = task, attempt + 1
                    continue
                what = f"{task.source}: its process died {ATTEMPTS} times"
                result = Result(task.source, task.target, error=f"{what}: is there enough memory?")
            progress(result.seconds)
            yield result
    except (KeyboardInterrupt, SystemExit):
        for done in cluster.finished([*flying]):
            if (result := cluster.result(done, flying[done][0])) is not None:
                del flying[done]
                yield result
        raise
    finally:
        cluster.stop([*flying])
        for task, _ in flying.values():
            remove_stale(task.outputs, everyone=True)


class Cluster:
    """The processors of the Ray cluster that this process is connected to."""

    def __init__(self, ray: Any, settings: Settings, jobs: int | None) -> None:
        self.ray = ray
        self.jobs = jobs
        model = Path(settings.model)
        name = str(model.absolute()) if model.is_file() else settings.model
        self.settings = replace(settings, model=name, device="cpu")
        self.work = ray.remote(num_cpus=1, max_retries=0)(_work)

    def room(self) -> int:
        """How many tasks it takes at a time: enough that none of its processors waits. Machines come and go."""
        return self.jobs or max(2, 2 * int(self.ray.cluster_resources().get("CPU", 0)))

    def submit(self, task: AnyTask) -> Any:
        """Have it done; returns what to wait for. Workers have a working folder of their own."""
        places = {path: path.absolute() for path in (task.source, *task.outputs) if isinstance(path, Path)}
        return self.work.remote(task.moved(places), self.settings)

    def wait(self, submitted: Sequence[Any]) -> Any:
        """One of them that is done."""
        return self.ray.wait(submitted)[0][0]

    def finished(self, submitted: Sequence[Any]) -> Sequence[Any]:
        """Those of them that are done already."""
        return self.ray.wait(submitted, num_returns=len(submitted), timeout=0)[0] if submitted else []

    def result(self, done: Any, task: AnyTask) -> Result | None:
        """What became of a task that is done; None if its worker died."""
        try:
            result = self.ray.get(done)
        except self.ray.exceptions.RayTaskError as error:  # such as a machine without the package
            if os.environ.get("ENHANCE_DEBUG"):
                raise
            lines = str(error.cause).strip().splitlines() or [""]
            return Result(task.source, task.target, error=f"{task.source}: {type(error.cause).__name__}: {lines[-1]}")
        except self.ray.exceptions.RayError:
            return None
        names = {name: path for name, path in vars(task).items() if name != "problem" and getattr(result, name)}
        return replace(result, **names)  # as they were given

    def stop(self, submitted: Sequence[Any]) -> None:
        """Interrupt what is not done, and kill what does not end then."""
        for force in (False, True):
            for each in submitted:
                self.ray.cancel(each, force=force)
            if submitted:
                _, submitted = self.ray.wait(submitted, num_returns=len(submitted), timeout=STOP_SECONDS)


def _work(task: AnyTask, settings: Settings) -> Result:
    """What a worker does for a task."""
    try:
        return _loaded(settings)(task, lambda seconds: None)
    except EnhanceError as error:  # this machine lacks the model or the device
        return Result(task.source, task.target, error=f"{task.source}: on {platform.node()}: {error}")


@functools.cache
def _loaded(settings: Settings) -> Any:
    import torch

    torch.set_num_threads(1)
    return work_with(settings)


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster. It says nothing but with ``--debug``, and sends nobody statistics of use."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    debug = bool(os.environ.get("ENHANCE_DEBUG"))
    import ray
    import ray._private.worker

    if not debug:  # it would print on stdout, which is for results, of every worker that dies; no setting prevents it
        ray._private.worker.print_to_stdstream = lambda *_, **__: None  # pyright: ignore[reportAttributeAccessIssue]
    terminated = signal.getsignal(signal.SIGTERM)
    dashboard = None if address else False  # of a cluster that starts here
    level = logging.INFO if debug else logging.CRITICAL
    try:
        ray.init(address or "local", include_dashboard=dashboard, log_to_driver=debug, logging_level=level)
    except (OSError, RuntimeError, ValueError) as error:
        if debug:
            raise
        raise _not_connected(address, error) from None
    try:
        signal.signal(signal.SIGTERM, terminated)  # Ray puts its own there
        yield ray
    finally:
        ray.shutdown()


def _not_connected(address: str | None, error: Exception) -> EnhanceError:
    """What to raise where Ray does not start, or finds no cluster."""
    if address == "auto" and isinstance(error, ConnectionError):
        return EnhanceError("--address auto: no Ray runs on this machine", "`ray start` it, or give HOST:PORT")
    reason = " ".join(str(error).split())
    if address is None:
        return EnhanceError(f"--engine ray: it does not start ({reason})", "take --engine local")
    hint = "has this machine joined the cluster with `ray start`, and the same RAY_AUTH_MODE?"
    return EnhanceError(f"--address {address}: {reason}", hint)
