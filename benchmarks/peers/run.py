"""Runs denoisers of other people over a data set: one folder of estimates a peer, for ``enhance bench --estimates``.

usage: run.py DATA --output DIR [--clean] [--peers A,B] [--jobs N] [--limit N] [--time]
       run.py --list

Reads DATA/noisy/* (with --clean, DATA/clean/*): mono files. Writes DIR/<peer>/<stem>.wav (16 bit, rate and length of
the input, the peer's delay taken out) and, last, DIR/<peer>/system.json: version, licence, real-time factor (CPU time
on one thread, resampling included, the loading of models not), delay, and what the cross-correlation with the input
says is left of it. A peer that is complete is not run again. Needs what ``requirements.txt`` lists, nothing of enhance.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from adapters import PEERS, Denoise, Peer

ABOUT = "system.json"
MOST_RESIDUAL = 2  # samples at the rate of the files: more means that the declared delay is wrong
SEARCHED = 0.05  # s, either way
SEED = 0  # of --limit
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS")


def cpu_seconds() -> float:
    """CPU time of this process and of those that it started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)  # os.times() counts in steps of 10 ms
    return time.process_time() + children.ru_utime + children.ru_stime


def resample(wave: np.ndarray, rate: int, target: int) -> np.ndarray:
    return wave if rate == target else soxr.resample(wave, rate, target, quality="VHQ").astype(np.float32)


def denoise(peer: Peer, process: Denoise, wave: np.ndarray, rate: int) -> np.ndarray:
    """The peer's output ``(time,)`` at ``rate`` for a wave at ``rate``: as long as the input, without its delay."""
    taken = resample(wave, rate, peer.rate)
    done = process(np.pad(taken, (0, peer.delay)))[peer.delay :][: len(taken)]
    done = resample(np.pad(done, (0, len(taken) - len(done))), peer.rate, rate)[: len(wave)]
    return np.pad(done, (0, len(wave) - len(done)))


def left_delay(wave: np.ndarray, estimate: np.ndarray, rate: int) -> int:
    """Samples by which the estimate is later than the wave: the largest cross-correlation, of either sign."""
    most = min(round(SEARCHED * rate), len(wave) - 1)
    size = 2 ** int(np.ceil(np.log2(len(wave) + most + 1)))
    correlation = np.fft.irfft(np.fft.rfft(estimate, size) * np.conj(np.fft.rfft(wave, size)), size)
    return int(np.abs(np.concatenate((correlation[-most:], correlation[: most + 1]))).argmax()) - most


def version(peer: Peer) -> str:
    if peer.package != "ffmpeg":
        return importlib.metadata.version(peer.package)
    said = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout
    return said.split()[2]


def run_file(peer: Peer, source: Path, target: Path) -> dict[str, float]:
    """Denoise one file. Seconds of audio, of CPU, the delay that is left (samples), and how many samples clipped."""
    wave, rate = soundfile.read(source, dtype="float32")
    if wave.ndim > 1:
        raise ValueError(f"{source}: has {wave.shape[1]} channels; the peers take one")
    process = peer.make()
    before = cpu_seconds()
    estimate = denoise(peer, process, wave, rate)
    cpu = cpu_seconds() - before
    if not np.isfinite(estimate).all():
        raise ValueError(f"{source}: {peer.name} made samples that are no numbers")
    soundfile.write(target, estimate, rate, subtype="PCM_16")  # libsndfile clips
    clipped = int(np.count_nonzero(np.abs(estimate) > 1))
    return {"seconds": len(wave) / rate, "cpu": cpu, "left": left_delay(wave, estimate, rate), "clipped": clipped}


def start_seconds(peer: Peer) -> float:
    """CPU time that a peer needs for starting its process: the least of five runs over next to nothing."""
    if not peer.starts_process:
        return 0.0
    spent = []
    for _ in range(5):
        process, before = peer.make(), cpu_seconds()
        process(np.zeros(16, dtype=np.float32))
        spent.append(cpu_seconds() - before)
    return min(spent)


def describe(peer: Peer, rows: Sequence[dict[str, float]], start: float) -> dict[str, Any]:
    """What goes into system.json, of the rows of :func:`run_file`."""
    lag = None if peer.block is None else 1000 * (peer.delay + peer.block) / peer.rate
    left = [int(row["left"]) for row in rows]
    seconds, cpu = (sum(row[key] for row in rows) for key in ("seconds", "cpu"))
    return {
        "name": peer.name,
        "package": peer.package,
        "version": version(peer),
        "licence": peer.licence,
        "rtf": (cpu - start * len(rows)) / seconds,
        "latency_ms": lag,  # live: delay and one block; null where it needs the whole file
        "delay_ms": 1000 * peer.delay / peer.rate,  # taken out
        "residual_delay": {"median": float(np.median(left)), "lowest": min(left), "highest": max(left)},  # samples
        "clips": len(rows),
        "seconds": seconds,
        "clipped_samples": sum(int(row["clipped"]) for row in rows),
        "note": peer.note,
    }


def folder_name(peer: Peer) -> str:
    return re.sub(r"[^a-z0-9]+", "-", peer.name.lower()).strip("-")


def is_complete(folder: Path, sources: Sequence[Path]) -> bool:
    return (folder / ABOUT).exists() and all((folder / f"{source.stem}.wav").exists() for source in sources)


def run_peer(peer: Peer, sources: Sequence[Path], folder: Path) -> str:
    """All files through one peer, into a folder that appears when they are done. One line about how it went."""
    if is_complete(folder, sources):
        return f"{peer.name}: is complete"
    if folder.exists() and not (folder / ABOUT).exists():
        raise FileExistsError(f"{folder}: is there and not of this program; remove it or give another --output")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    start = start_seconds(peer)
    rows = [run_file(peer, source, part / f"{source.stem}.wav") for source in sources]
    about = describe(peer, rows, start)
    (part / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    left = about["residual_delay"]
    line = (
        f"{peer.name} {about['version']}: {len(rows)} files, RTF {about['rtf']:.4f}, left of the delay: "
        f"{left['median']:g} samples ({left['lowest']} to {left['highest']}), {about['clipped_samples']} clipped"
    )
    return line if abs(left["median"]) <= MOST_RESIDUAL else f"{line}: WRONG DELAY"


def time_peer(peer: Peer, sources: Sequence[Path], folder: Path) -> str:
    """Measure the real-time factor of a complete peer again, into its system.json; its estimates stay."""
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    start = start_seconds(peer)
    with tempfile.TemporaryDirectory() as scratch:
        rows = [run_file(peer, source, Path(scratch) / f"{source.stem}.wav") for source in sources]
    about["rtf"] = describe(peer, rows, start)["rtf"]
    about["timed"] = {"clips": len(rows), "seconds": sum(row["seconds"] for row in rows)}
    part = folder / f".{ABOUT}.part"
    part.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    part.replace(folder / ABOUT)
    return f"{peer.name}: RTF {about['rtf']:.4f}"


def run_named(name: str, sources: Sequence[Path], folder: Path, again: bool) -> str:
    """:func:`run_peer` in a process of its own: some packages change numpy's settings or the number of threads."""
    peer = next(peer for peer in PEERS if peer.name == name)
    return (time_peer if again else run_peer)(peer, sources, folder)


def run_all(peers: Sequence[Peer], sources: Sequence[Path], output: Path, jobs: int, again: bool = False) -> int:
    """Every peer; 1 if one of them failed, after the others have run."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    context = multiprocessing.get_context("spawn")
    failed = 0
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        runs = {pool.submit(run_named, peer.name, sources, output / folder_name(peer), again): peer for peer in peers}
        for done in as_completed(runs):
            try:
                line = done.result()
            except Exception as error:  # whatever a package throws; the others go on
                line = f"{runs[done].name}: FAILED: {type(error).__name__}: {error}"
            failed |= "FAILED" in line or "WRONG" in line
            print(line, flush=True)
    return failed


def choose(names: str | None) -> list[Peer]:
    known = {folder_name(peer): peer for peer in PEERS}
    if names is None:
        return PEERS
    if unknown := [name for name in names.split(",") if name not in known]:
        raise SystemExit(f"--peers {','.join(unknown)}: not known; there are {', '.join(known)}")
    return [known[name] for name in names.split(",")]


def find_sources(folder: Path, limit: int | None) -> list[Path]:
    """The sound files of a folder by name, or a random pick of them that is always the same."""
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".wav", ".flac", ".ogg"))
    if not found:
        raise SystemExit(f"{folder}: no sound files there; give the folder that has noisy/ and clean/")
    if limit is None or limit >= len(found):
        return found
    return sorted(random.Random(SEED).sample(found, limit))


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--clean", action="store_true", help="denoise the clean speech: what is lost?")
    parser.add_argument("--peers", help="comma-separated, as --list names them; default all")
    parser.add_argument("--jobs", type=int, default=1, help="peers at once, each on one thread")
    parser.add_argument("--limit", type=int, help="a random pick of so many files, always the same")
    parser.add_argument("--time", action="store_true", help="measure the speed of complete peers again, and no more")
    parser.add_argument("--list", action="store_true", help="name the peers and stop")
    arguments = parser.parse_args(given)
    peers = choose(arguments.peers)
    if arguments.list:
        for peer in peers:
            print(f"{folder_name(peer):20} {peer.package:24} {peer.licence}")
        return 0
    if arguments.data is None or arguments.output is None:
        parser.error("DATA and --output are needed")
    sources = find_sources(arguments.data / ("clean" if arguments.clean else "noisy"), arguments.limit)
    return run_all(peers, sources, arguments.output, arguments.jobs, arguments.time)


if __name__ == "__main__":
    sys.exit(main())
