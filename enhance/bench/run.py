"""A benchmark from request to records: found and checked first, then scored, kept on disk as it goes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from enhance.bench import records as store
from enhance.bench.layouts import is_sound
from enhance.bench.pairs import find_clips, fingerprint, pick
from enhance.bench.records import UNTOUCHED, Clip, Record
from enhance.bench.score import Job, Task, check_metrics, default_metrics, score
from enhance.bench.summary import check_tag, versions
from enhance.bench.systems import SCORES, System, check_sources, find_systems, identity
from enhance.errors import EnhanceError
from enhance.files import not_written, replacing
from enhance.metrics import METRICS

SHIPPED = Path(__file__).parent / "clips" / "clips.csv"


@dataclass(frozen=True)
class Request:
    """What is asked for; see ``enhance bench --help``."""

    data: Path = SHIPPED
    models: tuple[str, ...] = ()
    estimates: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()  # empty: what suits the data; ("all",): all that can be had
    jobs: int = 1
    limit: int | None = None
    by: str | None = None
    against: str | None = None
    device: str = "cpu"
    precision: str = "32-true"
    align: bool = False
    records: Path | None = None
    resume: bool = False


@dataclass(frozen=True)
class Bench:
    """A request that can be carried out, and what an earlier run of it has done."""

    request: Request
    clips: list[Clip]
    systems: list[System]
    job: Job
    about: dict[str, Any]  # of the data, for the summary
    header: dict[str, Any]  # of the records: a run with another one is another run
    warnings: list[str]
    earlier: list[Record]


def prepare(request: Request) -> Bench:
    """Find clips and systems and check everything that can be checked before the work; EnhanceError if not."""
    from enhance.inference.device import find_device
    from enhance.inference.precision import check_precision

    where = find_device(request.device)
    if request.models:
        check_precision(request.precision, where)
    device = str(where)
    everything, warnings = find_clips(request.data)
    clips = _some(everything, request.limit)
    check_tag(request.by, clips)
    metrics = _metrics(request.metrics, clips)
    systems = find_systems(request.models, request.estimates, request.precision)
    check_sources(systems, clips)
    if request.against is not None and request.against not in (names := [system.name for system in systems]):
        raise EnhanceError(f"--against {request.against}: is none of the systems", f"they are {', '.join(names)}")
    data = fingerprint(clips)
    header = {
        "data": data,
        "limit": request.limit,
        "metrics": list(metrics),
        "systems": {system.name: identity(system) for system in systems},
        "align": request.align,
        "device": device,
        "precision": request.precision,
        "versions": versions(),
    }
    earlier = _earlier(request, header, everything)
    scored = {record.system for record in earlier}
    for system in systems:
        if system.kind == "estimates" and system.name not in scored:
            earlier += _recorded(system, {**header, "data": data})
    where = "in the package" if request.data == SHIPPED else str(request.data)
    about = {"name": _name(request.data), "path": where, "fingerprint": data}
    return Bench(request, clips, systems, Job(metrics, device, request.align), about, header, warnings, earlier)


def _metrics(names: Sequence[str], clips: Sequence[Clip]) -> tuple[str, ...]:
    referenced = any(clip.references for clip in clips)
    if tuple(names) == ("all",):
        dnsmos = [name for name, metric in METRICS.items() if not metric.needs_reference]
        names = [name for name in METRICS if name not in dnsmos] if referenced else dnsmos
    names = tuple(dict.fromkeys(names or default_metrics(clips)))
    check_metrics(names, clips)
    return names


def _name(data: Path) -> str:
    return "shipped clips" if data == SHIPPED else (data.resolve().name or str(data))


def _some(clips: list[Clip], limit: int | None) -> list[Clip]:
    return clips if limit is None else pick(clips, limit)


def _earlier(request: Request, header: dict[str, Any], everything: list[Clip]) -> list[Record]:
    """The records of an earlier run that still hold, of these systems and of others; ``header`` takes the others in.

    So it does with the clips of a run with another limit, of which ``everything`` is without any. Systems that have
    changed since are left out, and what had failed: they are scored again.
    """
    path = request.records
    if request.resume and path is None:
        raise EnhanceError("--resume without --records", "name the file of records that the earlier run wrote")
    if path is None or not path.exists():
        return []
    if not request.resume:
        raise EnhanceError(f"{path}: exists", "give --resume to go on with it, or another --records")
    found, records = store.load(path)
    if found.get("limit") != header["limit"] and "limit" in found:
        theirs = _some(everything, found["limit"])
        if fingerprint(theirs) == found.get("data"):
            wider = max(found, header, key=lambda run: len(_some(everything, run["limit"])))
            header |= {key: wider[key] for key in ("data", "limit")}
            found["data"] = header["data"]
    for key in ("data", "metrics", "align", "device", "versions") if found else ():
        if found.get(key) != header[key]:
            what = f"{path}: records of another run: its {key} differ"
            raise EnhanceError(what, "score again into another --records, or give the same data and options")
    before = found.get("systems", {})
    header["systems"] = {**before, **header["systems"]}
    return [
        record
        for record in records
        if not record.error and before.get(record.system, "") == header["systems"].get(record.system)
    ]


def _recorded(system: System, header: dict[str, Any]) -> list[Record]:
    """The scores that stand in a folder in place of its estimates; EnhanceError if they are not comparable."""
    path = Path(system.where) / SCORES
    if not path.is_file():
        return []
    found, records = store.load(path)
    differ = [key for key in ("data", "metrics", "align") if found.get(key) != header[key]]
    if differ:
        what = f"{path}: scores of another benchmark: its {', '.join(differ)} differ"
        raise EnhanceError(what, "give the same data and --metrics, or a folder with the estimates themselves")
    for package in sorted({METRICS[name].package for name in header["metrics"]} - {""}):
        theirs, ours = (about.get("versions", {}).get(package, "none") for about in (found, header))
        if theirs != ours:
            what = f"{path}: scores by {package} {theirs}, but here is {ours}"
            raise EnhanceError(what, f"pip install {package}=={theirs}, or give a folder with the estimates themselves")
    written = path.stat().st_mtime
    if newer := [file for file in Path(system.where).rglob("*") if is_sound(file) and file.stat().st_mtime > written]:
        what = f"{newer[0]}: newer than {path}, which would count in its place"
        raise EnhanceError(what, f"delete {path} to score the sounds, or the sounds to keep the scores")
    names = {record.system for record in records} - {UNTOUCHED}
    if system.name not in names and len(names) != 1:
        what = f"{path}: scores of {', '.join(sorted(names)) or 'no system'}, none of them {system.name}"
        raise EnhanceError(what, "name the folder as the system, or write the records of that one alone")
    wanted = system.name if system.name in names else names.pop()
    return [replace(record, system=system.name) for record in records if record.system == wanted]


def run(bench: Bench, progress: Callable[[int], None] = lambda clips: None) -> list[Record]:
    """All records, in the order of systems and clips. ``progress`` is told how many tasks are done.

    With ``request.records`` each is written as soon as it is there, so that a run that is killed loses nothing.
    """
    tasks: list[Task] = [(system, clip) for clip in bench.clips for system in bench.systems]
    order = {(system.name, clip.id): number for number, (system, clip) in enumerate(tasks)}
    found = [record for record in bench.earlier if (record.system, record.clip) in order]
    done = {(record.system, record.clip) for record in found}
    missing = [(system, clip) for system, clip in tasks if (system.name, clip.id) not in done]
    progress(len(tasks) - len(missing))
    with _writing(bench) as write, closing(score(missing, bench.job, bench.request.jobs)) as stream:
        for records in stream:
            write(records)
            found += records
            progress(1)
    return sorted(found, key=lambda record: order[record.system, record.clip])


@contextmanager
def _writing(bench: Bench) -> Iterator[Callable[[Sequence[Record]], object]]:
    """A function that appends records to the file, if there is to be one: a task's at once."""
    path = bench.request.records
    if path is None:
        yield lambda records: None
        return
    with replacing(path) as temporary:
        lines = [json.dumps({"bench": bench.header}), *map(store.dump, bench.earlier)]
        temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    with path.open("a", encoding="utf-8") as file:

        def write(records: Sequence[Record]) -> None:
            try:
                file.write("".join(store.dump(record) + "\n" for record in records))
                file.flush()
            except OSError as error:
                raise not_written(path, error) from None

        yield write
