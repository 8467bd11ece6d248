"""Scores separators on mixtures of held-out recordings, above all 100 of speech over music at 0 dB.

usage: run.py DATA [--models separator-m,separator-s] [--blend] [--clips 100] [--seconds 8] [--jobs 2] [--work DIR]
       run.py --report

DATA is what `enhance prepare` made of the recordings of recipes/open-speech. Of its split `test`, whose speakers,
tracks and recordings no training has seen, mixtures are written into the work folder, all sources at one level.
`enhance bench` scores them (a run that was broken off goes on); its JSON goes to results.json, and README.md is made
of that. With --blend there is one more system, a blend of the models, whose weights are those that fit as many mixtures
of the split `valid`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from enhance import audio
from enhance.bench import table
from enhance.console import progress
from enhance.data.mixing import Source
from enhance.data.store import Store
from enhance.errors import EnhanceError
from enhance.files import appearing, replacing
from enhance.inference.blend import write_blend
from enhance.inference.fit_blend import Known, fit
from enhance.models.checkpoint import load_model
from enhance.training.validate_sources import kinds, mixtures

HERE = Path(__file__).parent
RESULTS, STEREO = "results.json", "stereo.json"
SOURCES: list[Source] = ["speech", "music", "noise"]
STEREO_INTRO = """## Stereo

{model} on {clips} mixtures of speech and music in two channels, {seconds:g} s each: with one mask a source for both
channels (`shared`, what `enhance separate` does), or one by one (`--independent`). `moved`: how far the difference in
level between the channels of what is found of a source is from the true one.

```sh
python benchmarks/separation/stereo.py runs/data/open-speech
python benchmarks/separation/run.py --report
```

| mixture | masks | speech moved (dB) | SI-SDR gained (dB) | music moved (dB) | SI-SDR gained (dB) |
| --- | --- | --- | --- | --- | --- |
"""
METRICS = "si_sdr,si_sdr_improvement,bss_sdr,bss_sir"
INTRO = """# Separation of held-out speech, music and noise

Speakers, tracks and recordings that no training has seen, {clips} mixtures of each kind, {seconds:g} s each, all
sources at one level: 0 dB between any two. `untouched` is the mixture itself in the place of every source.

```sh
python benchmarks/separation/run.py runs/data/open-speech --blend
```
"""
BLEND_INTRO = """## The blend

`blend` sums what the models make of a source, with the weights that leave the least squared error on {clips} validation
mixtures of each kind (`enhance blend fit`), where these errors are left:

| source | model | weight | error (dB of the mixture) |
| --- | --- | --- | --- |
"""


def write_mixtures(folder: Path, store: Store, kind: str, clips: int, seconds: float) -> None:
    """A folder for each mixture of a kind, with ``mixture.wav`` and a file for each of its sources; 32-bit floats."""
    names = kind.split("+")
    there: dict[Source, float] = {name: float(name in names) for name in SOURCES}
    with appearing(folder) as partial, progress("{task.completed}/{task.total}") as bar:
        found = mixtures(store, "test", there, {"noise": 1.0}, (0.0, 0.0), clips, seconds)
        for number, example in enumerate(bar.track(found, total=clips, description=kind)):
            for name, wave in zip(SOURCES, example.target, strict=True):
                if name in names:
                    audio.write(partial / f"{number:03d}" / f"{name}.wav", wave, store.sample_rate, "FLOAT")
            audio.write(partial / f"{number:03d}" / "mixture.wav", example.mixture, store.sample_rate, "FLOAT")


def short(work: Path, model: str) -> str:
    """A name of the model that is good in the work folder: of a checkpoint, through a link to its folder."""
    path = Path(model)
    if not path.is_file():
        return model
    folder = path.resolve().parent
    work.mkdir(parents=True, exist_ok=True)
    (work / folder.name).unlink(missing_ok=True)
    (work / folder.name).symlink_to(folder)
    return f"{folder.name}/{path.name}"


def fit_blend(work: Path, store: Store, models: list[str], clips: int, seconds: float) -> dict[str, Any]:
    """``blend.toml`` in the work folder; its weights and the errors of each source and model on validation mixtures."""
    loaded = {name: load_model(work / name if (work / name).is_file() else name) for name in models}

    def known() -> Iterator[Known]:
        for kind in kinds(SOURCES):
            there: dict[Source, float] = {name: float(name in kind.split("+")) for name in SOURCES}
            for example in mixtures(store, "valid", there, {"noise": 1.0}, (0.0, 0.0), clips, seconds):
                targets = {name: wave[None] for name, wave in zip(SOURCES, example.target, strict=True)}
                yield Known(example.mixture[None], targets, store.sample_rate)

    with progress("{task.completed}/{task.total}") as bar:
        tracked = bar.track(known(), total=clips * len(kinds(SOURCES)), description="blend")
        found = fit(loaded, tracked, "cpu")
    write_blend(work / "blend.toml", {name: name for name in models}, found.weights)
    return {"weights": found.weights, "errors": found.errors, "clips": clips}


def score(work: Path, kind: str, models: str, jobs: int) -> dict[str, Any]:
    """What `enhance bench` says of the mixtures of a kind."""
    command = [sys.executable, "-m", "enhance.cli", "bench", kind, "--models", models, "--metrics", METRICS]
    command += ["--jobs", str(jobs), "--records", f"{kind}.jsonl", "--json"]
    command += ["--resume"] if (work / f"{kind}.jsonl").exists() else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = subprocess.run(command, cwd=work, env=environment, check=False, stdout=subprocess.PIPE)
    if found.returncode not in (0, 1):  # 1: some clips have no score, which is said
        sys.exit(found.returncode)
    return json.loads(found.stdout)


def measured(folder: Path = HERE) -> bool:
    """Whether there are results."""
    return (folder / RESULTS).is_file()


def results(folder: Path = HERE) -> dict[str, Any]:
    """What was found."""
    return json.loads((folder / RESULTS).read_text(encoding="utf-8"))


def gains(found: dict[str, Any], system: str) -> str:
    """A table of what each source gains in each kind of mixture, in SI-SDR, with its interval."""
    lines = ["| mixture | source | SI-SDR gained (dB) |", "| --- | --- | --- |"]
    for kind, summary in found["kinds"].items():
        for source, rows in summary["sources"].items():
            score = next(row for row in rows if row["name"] == system)["scores"]["si_sdr_improvement"]
            lines.append(f"| {kind} | {source} | {score['mean']:.1f} ({score['low']:.1f}–{score['high']:.1f}) |")
    return "\n".join(lines)


def readme(folder: Path = HERE) -> str:
    """The page, from ``results.json`` beside it."""
    found = results(folder)
    sections = [f"## {kind}\n\n{table.markdown(summary)}" for kind, summary in found["kinds"].items()]
    intro = INTRO.format(clips=found["clips"], seconds=found["seconds"])
    return "\n".join([intro, *sections, *([blend(found["blend"])] if "blend" in found else []), *stereo(folder)])


def blend(found: dict[str, Any]) -> str:
    """The section of the weights."""
    lines = []
    for source, errors in found["errors"].items():
        for name, error in errors.items():
            weight = found["weights"][source].get(name)
            lines.append(f"| {source} | {name} | {'' if weight is None else f'{weight:.2f}'} | {error:.2f} |\n")
    return BLEND_INTRO.format(clips=found["clips"]) + "".join(lines)


def stereo(folder: Path) -> list[str]:
    """The section of ``stereo.json``, if that is there."""
    if not (folder / STEREO).is_file():
        return []
    found = json.loads((folder / STEREO).read_text(encoding="utf-8"))
    lines: dict[str, list[str]] = {}
    for row in found["rows"]:  # speech, then music
        cells = ["{:.1f} ({:.1f}–{:.1f})".format(*row[name]) for name in ("moved", "gained")]
        lines.setdefault(f"| {row['place']} | {row['way']} |", []).extend(cells)
    return [STEREO_INTRO.format(**found) + "".join(f"{begin} {' | '.join(rest)} |\n" for begin, rest in lines.items())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--models", default="separator-m,separator-s", help="names or checkpoints, with commas")
    parser.add_argument("--blend", action="store_true", help="score a blend of the models too")
    parser.add_argument("--clips", type=int, default=100, help="mixtures of each kind")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs/separation"))
    parser.add_argument("--output", type=Path, default=HERE)
    parser.add_argument("--report", action="store_true", help="write README.md from results.json")
    arguments = parser.parse_args()
    try:
        if not arguments.report:
            if arguments.data is None:
                parser.error("DATA is missing")
            store = Store(arguments.data)
            models = [short(arguments.work, name) for name in arguments.models.split(",")]
            found = {"data": store.fingerprint, "clips": arguments.clips, "seconds": arguments.seconds, "kinds": {}}
            if arguments.blend:
                found["blend"] = fit_blend(arguments.work, store, models, arguments.clips, arguments.seconds)
                models.append("blend.toml")
            for kind in kinds(SOURCES):
                write_mixtures(arguments.work / kind, store, kind, arguments.clips, arguments.seconds)
                found["kinds"][kind] = score(arguments.work, kind, ",".join(models), arguments.jobs)
            with replacing(arguments.output / RESULTS) as temporary:
                temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        with replacing(arguments.output / "README.md") as temporary:
            temporary.write_text(readme(arguments.output), encoding="utf-8")
        print(f"wrote {arguments.output / 'README.md'}")
    except EnhanceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
