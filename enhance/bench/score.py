"""Scoring: every system on every clip, spread over processes, a record each as soon as it is there."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from statistics import mean

import numpy as np

from enhance.audio import read
from enhance.bench.pairs import check_clip
from enhance.bench.records import ABSENT, Clip, Record
from enhance.bench.systems import Estimate, System, estimate
from enhance.errors import EnhanceError

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
NAMELESS = re.compile(r"s\d+")  # speakers of LibriMix and the like, in no order
JOINT = ("bss_sdr", "bss_isr", "bss_sir", "bss_sar")  # metrics of all sources at once, where there are several


@dataclass(frozen=True)
class Job:
    """How to score: the same for every clip."""

    metrics: tuple[str, ...]
    device: str = "cpu"
    align: bool = False


def default_metrics(clips: Sequence[Clip]) -> list[str]:
    """What the field reports: of speech, of talkers without names, of several sources, or without references."""
    if not any(clip.references for clip in clips):
        return ["dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl"]
    if all(len(clip.references) > 1 and nameless(clip.references) for clip in clips):
        return ["si_sdr", "si_sdr_improvement"]
    if any(len(clip.references) > 1 for clip in clips):
        return [*JOINT, "global_sdr"]
    return ["pesq_wb", "stoi", "si_sdr"]


def check_metrics(names: Sequence[str], clips: Sequence[Clip]) -> None:
    """EnhanceError for a metric that is unknown, whose package is missing, or that no clip can have."""
    import difflib

    from enhance.metrics import METRICS

    for name in names:
        if name not in METRICS:
            near = difflib.get_close_matches(name, METRICS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(METRICS)}"
            raise EnhanceError(f"unknown metric {name!r}", hint)
        if METRICS[name].needs_reference and not any(clip.references for clip in clips):
            raise EnhanceError(f"{name} needs clean references, and there are none", "try --metrics dnsmos_ovrl")
    if any(name.startswith("dnsmos") for name in names):
        from enhance.metrics.dnsmos import dnsmos

        dnsmos(np.random.default_rng(0).normal(0, 0.1, 16000), 16000)  # raises where its package is missing


def score_clip(system: System, clip: Clip, job: Job) -> list[Record]:
    """A record for each source of the clip; what cannot be scored says why in it."""
    sources = list(clip.references) or ["speech"]
    try:
        check_clip(clip)
        mixture, rate = read(clip.mixture)  # (C, T)
        references = {source: read(path)[0] for source, path in clip.references.items()}
        made = estimate_in_order(system, clip, job, mixture, rate, references)
    except EnhanceError as error:
        return [Record(system.name, clip.id, source, error=str(error), tags=clip.tags) for source in sources]
    scores, reasons = _scores(job.metrics, references, made.waves, mixture, rate)
    return [
        Record(
            system.name,
            clip.id,
            source,
            scores[source],
            reasons[source],
            seconds=mixture.shape[1] / rate,
            cpu_seconds=made.cpu_seconds,
            tags=clip.tags,
            delay=made.delays.get(source),
        )
        for source in sources
    ]


def estimate_in_order(
    system: System, clip: Clip, job: Job, mixture: np.ndarray, rate: int, references: Mapping[str, np.ndarray]
) -> Estimate:
    """What the system makes of ``mixture`` ``(channels, time)``, talkers without names in the order that fits best.

    EnhanceError where there is no estimate.
    """
    made = estimate(system, clip, mixture, rate, list(references) or ["speech"], job.device, job.align)
    if len(references) > 1 and nameless(references):
        made.waves = in_best_order(references, made.waves)
    return made


def nameless(sources: Iterable[str]) -> bool:
    """Whether these are talkers without an order, as LibriMix has them: ``s1``, ``s2``, ..."""
    return all(NAMELESS.fullmatch(source) for source in sources)


def in_best_order(references: Mapping[str, np.ndarray], estimates: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The estimates ``(channels, time)`` under the names of the references that they fit best, by SI-SDR.

    As they are where no SI-SDR can be had: the metrics then say why.
    """
    from enhance.metrics.permutation import best_order

    names = list(references)
    try:
        wanted, made = (np.stack([group[name].ravel() for name in names]) for group in (references, estimates))
        order = best_order(wanted, made)
    except (EnhanceError, ValueError):  # ValueError: of different lengths
        return estimates
    return {name: estimates[names[position]] for name, position in zip(names, order, strict=True)}


Scores = dict[str, dict[str, float]]  # source -> metric -> value
Reasons = dict[str, dict[str, str]]  # likewise, why there is no value


def _scores(
    metrics: Sequence[str],
    references: Mapping[str, np.ndarray],
    estimates: Mapping[str, np.ndarray],
    mixture: np.ndarray,
    rate: int,
) -> tuple[Scores, Reasons]:
    """All waves ``(channels, time)``; metrics of speech are the mean over channels.

    A source of several whose reference is silent has no scores: songs without vocals are common.
    """
    scores: Scores = {source: {} for source in estimates}
    reasons: Reasons = {source: {} for source in estimates}
    joint = [name for name in metrics if name in JOINT and len(references) > 1]
    if joint:
        _score_jointly(joint, references, estimates, rate, scores, reasons)
    alone = [name for name in metrics if name not in joint]
    for source, wave in estimates.items():
        if len(references) > 1 and not references[source].any():
            reasons[source] = dict.fromkeys(metrics, ABSENT)
            continue
        found, missing = _score_source(alone, references.get(source), wave, mixture, rate)
        scores[source].update(found)
        reasons[source].update(missing)
    return scores, reasons


def _score_source(
    metrics: Sequence[str], reference: np.ndarray | None, wave: np.ndarray, mixture: np.ndarray, rate: int
) -> tuple[dict[str, float], dict[str, str]]:
    from enhance.metrics import evaluate
    from enhance.metrics.bss_eval import global_sdr

    scores: dict[str, float] = {}
    reasons: dict[str, str] = {}
    channels = []
    by_channel = [name for name in metrics if name != "global_sdr"]
    for channel in range(len(wave)):
        try:
            found, errors = evaluate(
                by_channel, None if reference is None else reference[channel], wave[channel], mixture[channel], rate
            )
        except EnhanceError as error:  # nothing can be scored: NaN in a file, for instance
            return {}, dict.fromkeys(metrics, str(error))
        channels.append(found)
        reasons.update({name: str(error) for name, error in errors.items()})
    for name in by_channel:
        if name not in reasons:
            scores[name] = mean(found[name] for found in channels)
    if "global_sdr" in metrics:
        try:
            if reference is None:
                raise EnhanceError("no clean reference")
            scores["global_sdr"] = global_sdr(reference, wave)  # all channels in one ratio
        except EnhanceError as error:
            reasons["global_sdr"] = str(error)
    return scores, reasons


def _score_jointly(
    names: Sequence[str],
    references: Mapping[str, np.ndarray],
    estimates: Mapping[str, np.ndarray],
    rate: int,
    scores: Scores,
    reasons: Reasons,
) -> None:
    """BSSEval v4 of all sources of a clip: each one's interference is the others."""
    from enhance.metrics.bss_eval import bss_eval

    order = list(references)
    try:
        wanted, made = (np.stack([group[source] for source in order]) for group in (references, estimates))
        ratios = bss_eval(wanted, made, rate)
    except EnhanceError as error:
        for source in order:
            reasons[source].update(dict.fromkeys(names, str(error)))
        return
    for position, source in enumerate(order):
        why = "no second of sound to measure it on" if made[position].any() else "silent estimate"
        for name in names:
            value = float(getattr(ratios, name.removeprefix("bss_"))[position])
            if np.isfinite(value):
                scores[source][name] = value
            else:
                reasons[source][name] = f"{name} is not defined: {why}"


Task = tuple[System, Clip]


def score(tasks: Sequence[Task], job: Job, jobs: int) -> Generator[list[Record], None, None]:
    """The records of each task as it is done, in ``jobs`` processes of one thread each (in this one, if it is one).

    EnhanceError where a process dies.
    """
    if jobs == 1 or len(tasks) < 2:
        with _one_thread():
            for system, clip in tasks:
                yield score_clip(system, clip, job)
        return
    context = multiprocessing.get_context("spawn")  # torch does not survive a fork
    with _environment(dict.fromkeys(THREADS, "1")):
        pool = ProcessPoolExecutor(
            min(jobs, len(tasks)), mp_context=context, initializer=_prepare, initargs=(os.getpid(),)
        )
        try:
            yield from _spread(pool, tasks, job, 3 * jobs)
        except BrokenProcessPool:
            what = "a scoring process died, perhaps for lack of memory"
            raise EnhanceError(what, "try fewer --jobs; with --records FILE, --resume goes on") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()


def _spread(
    pool: ProcessPoolExecutor, tasks: Sequence[Task], job: Job, ahead: int
) -> Generator[list[Record], None, None]:
    """Hands out ``ahead`` tasks at a time: a million of them need no memory."""
    waiting = iter(tasks)
    running: set[Future[list[Record]]] = set()

    def fill() -> None:
        for system, clip in waiting:
            running.add(pool.submit(score_clip, system, clip, job))
            if len(running) >= ahead:
                return

    fill()
    while running:
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            running.discard(future)
            yield future.result()
        fill()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread, as in the workers: the real-time factor is that of one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Variables that new processes inherit: numpy reads them when it is imported."""
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _prepare(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent as well, which ends us
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this worker when the process that it works for was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
