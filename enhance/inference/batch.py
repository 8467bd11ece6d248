"""Many files: checked first, then spread over workers. Imports nothing heavy until there is work."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from enhance.audio import info
from enhance.errors import EnhanceError
from enhance.files import label, remove_stale, stale
from enhance.inference.remote import is_remote, with_copies
from enhance.inference.tasks import AnyTask, Result, SeparationTask, Settings, check_folders

Progress = Callable[[float], None]  # seconds of audio since the last call
Kind = TypeVar("Kind", bound=AnyTask)


def check(tasks: Sequence[AnyTask], settings: Settings) -> tuple[list[Result], float]:
    """Look at everything before the work: what cannot be done, and the seconds of audio of the rest, 0 if unknown.

    What is remote is not looked at before its turn.
    Raises EnhanceError for what holds for all files (strength, device, precision, model), for a task with a problem,
    and for a folder where nothing can be written.
    """
    from enhance.inference.chunks import check_channels, check_denoiser
    from enhance.inference.denoise import check_strength
    from enhance.inference.device import find_device
    from enhance.inference.output import choose_encoding
    from enhance.inference.precision import check_precision

    for task in tasks:
        if task.problem:
            raise EnhanceError(task.problem)
    check_folders(tasks)
    check_strength(settings.strength)
    check_precision(settings.precision, find_device(settings.device))
    model = _load(settings)
    failed, seconds = [], 0.0
    for task in tasks:
        if is_remote(task.source):
            continue
        try:
            about = info(task.source, settings.track or 1)
            if isinstance(task, SeparationTask):
                check_channels(model, about.channels, str(task.source))
            else:
                check_denoiser(model, about.channels, str(task.source))
            for path in task.parts.values() if isinstance(task, SeparationTask) else [task.target]:
                choose_encoding(path, about)
            seconds += about.seconds
        except Exception as error:  # one file's trouble is not the others'
            failed.append(_failed(task, error))
    return failed, 0.0 if any(is_remote(task.source) for task in tasks) else seconds


def run(
    tasks: Iterable[AnyTask], settings: Settings, jobs: int = 1, progress: Progress = lambda seconds: None
) -> Generator[Result, None, None]:
    """Denoise or separate all, a result for each as it is done; a failure is a result with ``error``.

    Tasks are taken when there is a process for them, so that a million of them need no memory. With ``jobs``
    above one they are spread over that many processes with one thread each, and a process that dies fails the
    file that it was at. EnhanceError if model or device are not to be had. Where the iterator is closed early,
    what is half-written is removed.
    """
    waiting = cleared(tasks)
    head = list(itertools.islice(waiting, 2))
    waiting = itertools.chain(head, waiting)
    if jobs == 1 or len(head) < 2:
        work_on = work_with(settings)
        for task in waiting:
            yield work_on(task, progress)
    else:
        yield from _run_parallel(waiting, settings, jobs, progress)


def cleared(tasks: Iterable[Kind], everyone: bool = False) -> Iterator[Kind]:
    """The same tasks; before each, what a killed run left of its outputs is removed.

    With ``everyone`` also what another machine may be writing: for a run that has its outputs for itself.
    """
    folder, left = None, {}
    for task in tasks:
        for path in (output.resolve() for output in task.outputs):
            if path.parent != folder:  # those of a folder come one after the other: it is looked through once
                folder, left = path.parent, stale(path.parent, everyone)
            for temporary in left.pop(label(path.name), ()):
                temporary.unlink(missing_ok=True)
        yield task


def work_with(settings: Settings) -> Callable[[AnyTask, Progress], Result]:
    """A function that denoises or separates a file with a model that is loaded once."""
    from enhance.inference.device import find_device
    from enhance.inference.files import denoise_file, separate_file
    from enhance.inference.memory import keep_freed_memory
    from enhance.inference.precision import check_precision

    keep_freed_memory()
    device = find_device(settings.device)
    check_precision(settings.precision, device)
    model = _load(settings, device)

    def work_on(task: AnyTask, progress: Progress) -> Result:
        if task.problem:
            return Result(task.source, task.target, error=task.problem)
        try:
            if isinstance(task, SeparationTask):
                return with_copies(task, lambda near: separate_file(near, model, device, settings, progress))
            return with_copies(task, lambda near: denoise_file(near, model, device, settings, progress))
        except Exception as error:  # one file's trouble is not the others'
            return _failed(task, error)

    return work_on


def _failed(task: AnyTask, error: Exception) -> Result:
    """What an error makes of its file; with ``--debug`` one that is none of ours is raised again."""
    if isinstance(error, EnhanceError):
        return Result(task.source, task.target, error=str(error))
    if os.environ.get("ENHANCE_DEBUG"):
        raise error
    return Result(task.source, task.target, error=f"{task.source}: {type(error).__name__}: {error}")


def _load(settings: Settings, device: Any = "cpu") -> Any:
    from enhance.inference.blend import load_blend
    from enhance.inference.precision import with_precision
    from enhance.models.checkpoint import load_model

    model = (load_blend if settings.blend else load_model)(settings.model, device)
    return with_precision(model, settings.precision)


@dataclass
class Process:
    """A worker process, seen from outside."""

    process: BaseProcess
    pipe: Connection
    task: AnyTask | None = None


def _run_parallel(
    tasks: Iterator[AnyTask], settings: Settings, jobs: int, progress: Progress
) -> Generator[Result, None, None]:
    workers: list[Process] = []
    try:
        while True:
            for task in itertools.islice(tasks, jobs - sum(worker.task is not None for worker in workers)):
                _give(_free(workers, settings), task)
            if not any(worker.task for worker in workers):
                return
            ready = wait([worker.pipe for worker in workers if worker.task])
            for worker in workers:
                if worker.pipe in ready and (result := _receive(worker, progress)) is not None:
                    worker.task = None
                    yield result
    except (KeyboardInterrupt, SystemExit):
        yield from _last_results(workers)
        raise
    finally:
        for worker in workers:
            worker.pipe.close()
            worker.process.terminate()
        for worker in workers:
            worker.process.join()


def _last_results(workers: list[Process]) -> Iterator[Result]:
    """Ends the workers; gives the results of files that were done, but not yet told so."""
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        with contextlib.suppress(EOFError, ConnectionError):
            while worker.task:
                if isinstance(message := worker.pipe.recv(), Result):
                    worker.task = None
                    yield message


def _free(workers: list[Process], settings: Settings) -> Process:
    """A worker without a task, started where there is none."""
    for worker in [worker for worker in workers if worker.task is None]:
        if worker.process.is_alive():
            return worker
        workers.remove(worker)
    workers.append(_start(settings))
    return workers[-1]


def _give(worker: Process, task: AnyTask) -> None:
    worker.task = task
    with contextlib.suppress(BrokenPipeError):  # it has just died: `_receive` will say so
        worker.pipe.send(task)


def _receive(worker: Process, progress: Progress) -> Result | None:
    """The next message of a worker: a result, or None if it was progress."""
    assert worker.task is not None
    try:
        message = worker.pipe.recv()
    except (EOFError, ConnectionError):
        worker.process.join()
        remove_stale(worker.task.outputs)
        code = worker.process.exitcode
        what = f"{worker.task.source}: its process died (exit code {code})"
        return Result(worker.task.source, worker.task.target, error=f"{what}: try fewer --jobs")
    if isinstance(message, Result):
        return message
    progress(message)
    return None


def _start(settings: Settings) -> Process:
    context = multiprocessing.get_context("spawn")  # torch does not survive a fork
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, settings), daemon=True)
    with _interrupts_held():
        process.start()
    theirs.close()
    return Process(process, ours)


@contextlib.contextmanager
def _interrupts_held() -> Generator[None, None, None]:
    """Signals of the terminal wait. A process that starts meanwhile never sees them: the parent ends it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # it comes with the first process, and would let Ctrl-C through
    signals = [signal.SIGINT, signal.SIGHUP]
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


def _serve(pipe: Connection, settings: Settings) -> None:
    """A worker's life: take tasks from the pipe until it closes."""

    def stop(*_: object) -> None:
        raise SystemExit(1)  # so that `finally` removes what is half-written

    signal.signal(signal.SIGTERM, stop)
    for name in ("SIGINT", "SIGHUP"):  # of the terminal: the parent has them as well, and ends us
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)
    work_on = work_with(settings)
    try:
        while True:
            pipe.send(work_on(pipe.recv(), pipe.send))
    except (EOFError, ConnectionError):  # the parent is gone
        return
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is left to clean up: end without a traceback
