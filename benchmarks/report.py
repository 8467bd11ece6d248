"""Writes what is generated: READMEs' results and the model card, from committed JSON and the checkpoint.

usage: report.py [--check]    with --check nothing is written, and the exit code is 1 where a file is out of date
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import by_kind_table
import listen_table
import precision_table
import runtimes_table
import torch
from ablation import tables
from hybrid import tables as hybrid_tables
from search import tables as search_tables
from separation import run as separation
from throughput import tables as throughput_tables
from training import speed_table

from enhance.bench import table
from enhance.bench.records import UNTOUCHED
from enhance.bench.summary import VOICE_BANK
from enhance.models import create, presets
from enhance.models.checkpoint import DEFAULT, PRETRAINED, load_model, read_header, shipped, shipped_denoisers
from enhance.models.cost import macs_per_second, parameters
from enhance.models.provenance import audio_hours, hours, steps

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- results: benchmarks/report.py -->", "<!-- end of results -->"
BEGIN_MODELS, END_MODELS = "<!-- models: benchmarks/report.py -->", "<!-- end of models -->"
BEGIN_THROUGHPUT, END_THROUGHPUT = "<!-- throughput: benchmarks/report.py -->", "<!-- end of throughput -->"
BEGIN_CLIPS, END_CLIPS = "<!-- clips: benchmarks/report.py -->", "<!-- end of clips -->"
TEST_SET = "vbdemand_p232"
KINDS = {  # of models, for their cards
    "CompactUNet": "A streaming speech denoiser: the compact U-Net of `enhance/models/compact.py`",
    "RecurrentHybrid": "A speech denoiser for files: a waveform module and the compact U-Net behind it "
    "(`enhance/models/recurrent_hybrid.py`)",
    "Hybrid": "A speech denoiser for files: the waveform/spectrogram cascade of `enhance/models/hybrid.py`",
}
RECIPES = {"separator-s": "separation.toml", "separator-m": "separator-m.toml"}  # of separators
CHOICE = {  # when to choose which: a preset without a line here is an error
    "dcunet-s": "live sound (the default there), small machines, much audio",
    "dcunet-m": "files in two thirds of the time, and live sound where a tenth of a second does not matter",
    "separator-s": "speech, music and noise apart, on small machines",
    "separator-m": "speech, music and noise apart (the default)",
    "stems-s": "vocals, drums, bass and the rest of a song",
    "dcunet-10": "the paper's smallest, on a GPU",
    "dcunet-16": "the paper's ablations",
    "dcunet-20": "the paper's main result",
    "large-dcunet-20": "the paper's best result, hours on a GPU",
    "hybrid": "files (the default); it hears too far ahead for live sound",
    "hybrid-dcunet": "files, a waveform module with a Deep Complex U-Net behind it, to be compared with its halves",
    "hybrid-l": "the same, larger, with a GPU and much data",
    "waveform": "to compare `hybrid-dcunet` with: its cost, one module",
    "spectrogram": "to compare `hybrid-dcunet` with: its cost, one module",
}


LISTENS = "in files it hears the first {:g} s once before it starts (`--listen`), in all scores here."


def listens(arguments: dict[str, Any]) -> str:
    """A line of a card, of a model that listens; else nothing."""
    seconds = arguments.get("listen")
    return f"\n* **Listening**: {LISTENS.format(seconds)}" if seconds else ""


def read(name: str) -> Any:
    """A committed result."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def row_of(summary: dict[str, Any], system: str) -> dict[str, Any]:
    """A system's line of a summary of ``enhance bench``."""
    return next(row for row in summary["systems"] if row["name"] == system)


def scores_table(name: str, noisy: dict[str, Any], clean: dict[str, Any]) -> str:
    """Markdown: the untouched files, a model on them, the model on clean speech."""
    rows = {
        "noisy, untouched": row_of(noisy, UNTOUCHED),
        "noisy, denoised": row_of(noisy, name),
        "clean speech, denoised": row_of(clean, name),
    }
    lines = ["| input | PESQ-WB | STOI | SI-SDR (dB) |", "| --- | --- | --- | --- |"]
    for label, row in rows.items():
        pesq, stoi, si_sdr = (row["scores"][metric]["mean"] for metric in ("pesq_wb", "stoi", "si_sdr"))
        lines.append(f"| {label} | {pesq:.2f} | {stoi:.3f} | {si_sdr:.1f} |")
    return "\n".join(lines)


def footprint() -> str:
    """Markdown: real-time factor and memory of the whole command, start included, with the default model first."""
    lines = ["| model | minutes | file | real-time factor | peak memory (MB) |", "| --- " * 5 + "|"]
    for path in sorted(RESULTS.glob("footprint*.json")):  # footprint.json is that of the default model
        found = read(path.stem)
        for row in found["rows"]:
            file = f"{row['rate']} Hz, {row['channels']} ch, {row['format']}"
            cells = found["model"], row["minutes"], file, f"{row['rtf']:.3f}", f"{row['peak_mb']:.0f}"
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return f"""The whole command on one thread, start and decoding included (`python benchmarks/footprint.py`):

{chr(10).join(lines)}"""


def care() -> str:
    """Markdown: speech that is kept and noise that is left, for SNRs and strengths."""
    found = read("care")
    lines = [
        "| SNR (dB) | `--strength` | loud speech kept (dB) | quiet consonants kept (dB) | noise left in pauses (dB) "
        "| PESQ-WB | STOI | SI-SDR (dB, at most 30) |",
        "| --- " * 8 + "|",
    ]
    for row in found["rows"]:
        snr = "clean speech" if row["snr"] is None else f"{row['snr']:.0f}"
        kept = " | ".join(f"{row[name]:.1f}".replace("-", "−") for name in ("loud", "consonants", "pauses"))
        scores = f"{row['pesq']:.2f} | {row['stoi']:.3f} | {row['si_sdr']:.1f}"
        lines.append(f"| {snr} | {row['strength']:g} | {kept} | {scores} |")
    return f"""# Care for speech

What `{found["model"]}` takes away with the noise: {found["clips"]} clips of held-out speakers and recorded noises at each SNR
(`python benchmarks/care.py runs/data/open-speech`; data {found["data"]}). Loud are frames down to 15 dB below the loudest ones
of the clean speech, quiet consonants those from 15 to 40 dB below with most of their energy above 3 kHz, pauses those that
are 45 dB below. Of clean speech, what is left in the pauses is what the recording has there itself. Recorded noise without
speech becomes {-found["noise_alone"]:.0f} dB quieter on average.

{chr(10).join(lines)}
"""


def stereo() -> str:
    """Markdown: how far a voice moves, and what is gained, with a mask a channel and with one for both."""
    found = read("stereo_denoise")
    lines = ["| | channels | voice moved (dB) | SI-SDR gained (dB) |", "| --- " * 4 + "|"]
    for row in found["rows"]:
        cells = ("{:.1f} ({:.1f}–{:.1f})".format(*row[name]).replace("-", "−") for name in ("moved", "gained"))
        lines.append(f"| {row['place']} | {row['way']} | {' | '.join(cells)} |")
    return f"""# Stereo

What `{found["model"]}` does to {found["clips"]} stereo mixtures of held-out speakers and recorded noises at 5 dB
(`python benchmarks/stereo_denoise.py runs/data/open-speech`; data {found["data"]}): by how much the level difference of the
voice's channels changes, and the SI-SDR gained over both channels. With 95 % intervals over clips. What noise happens to
have in common with the voice moves it in the untouched mixtures too.

{chr(10).join(lines)}
"""


def _easier(noisy: dict[str, Any]) -> str:
    """How the pairs compare with the whole test set, which published scores are of."""
    whole, known = VOICE_BANK[frozenset(("p232", "p257"))]
    untouched = next(row["scores"]["pesq_wb"]["mean"] for row in noisy["systems"] if row["name"] == UNTOUCHED)
    return (
        f"The test set has {whole} pairs, and these are the easier ones (PESQ-WB of the noisy ones {untouched:.2f}, of all "
        f"{known['pesq_wb']:.2f}): no score here compares with published ones."
    )


def results_section(header: dict[str, Any]) -> str:
    """The README's section, between its marks."""
    model: Any = load_model(DEFAULT)
    noisy, clean = read(TEST_SET), read(f"{TEST_SET}_clean")
    return f"""{BEGIN}
`{DEFAULT}` and what people use today, on the {noisy["data"]["clips"]} pairs of speaker p232 of the Voice Bank+DEMAND test set, which is never
trained on, tuned to or used to choose between models (peers, their licences and delays: [`benchmarks/peers`](benchmarks/peers/README.md)).
{_easier(noisy)} PESQ-WB predicts how good speech
sounds (at most 4.64), STOI how intelligible it is (at most 1), SI-SDR is the level of the speech over that of everything else.

{table.markdown(noisy, comparisons=False)}
{runtimes_table.footing(read("runtimes"))}

[Paired differences](benchmarks/results/{TEST_SET}.md) between `{DEFAULT}` and each of them, with intervals and tests;
[kind of noise by kind](benchmarks/results/by_kind.md), on speakers and recordings that our training never heard, which is at home
there: it had other recordings of the same collections, and the shipped weights were chosen by a part of these clips. What
the peers had heard is not known of all.

![PESQ-WB over real-time factor](benchmarks/results/speed.png)

A denoiser should leave clean speech alone. The clean files of the same pairs in:

{table.markdown(clean, comparisons=False)}
`{DEFAULT}` has {parameters(model):,} parameters, takes {macs_per_second(model) / 1e9:.2f} GMAC a second of audio, has a latency of
{1000 * (model.latency + model.block) / model.sample_rate:.0f} ms and was trained for {hours(header["provenance"]):.1f} h on one core{"; " + LISTENS.format(model.listen) if model.listen else "."}
Made by `benchmarks/compare.py` and `benchmarks/report.py`.

{footprint()}
{END}"""


def clips_section() -> str:
    """What ``enhance bench`` prints, between its marks."""
    return f"{BEGIN_CLIPS}\n{table.markdown(read('shipped_clips'))}{END_CLIPS}"


def choice(name: str) -> str:
    """When to choose a model, and whether it is there."""
    return CHOICE[name] if name in shipped() else f"{CHOICE[name]} (to be trained)"


def models_table() -> str:
    """Markdown: all models, size, what they must hear, scores where weights are shipped, when to choose which."""
    found = read(TEST_SET)
    scored = {row["name"]: row for row in found["systems"]}
    head = [
        "model",
        "parameters",
        "MAC/s",
        "RTF",
        "hears ahead",
        "PESQ-WB",
        "STOI",
        "SI-SDR (dB)",
        "trained",
        "choose it for",
    ]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for name in presets():
        with torch.device("meta"):  # shapes without numbers: counting needs no computing
            model: Any = create(name)
        ahead = model.latency + model.block if hasattr(model, "stream") else model.context[1]
        rtf, scores, trained = "", [""] * 3, ""
        if name in shipped_denoisers():
            row = scored[name]
            rtf = f"{row['rtf']:.3f}"
            scores = [
                f"{row['scores'][metric]['mean']:.{table.digits(metric)}f}" for metric in ("pesq_wb", "stoi", "si_sdr")
            ]
            trained = f"{hours(read_header(shipped()[name])['provenance']):.1f} h"
        size = [f"{parameters(model) / 1e6:.2f} M", f"{macs_per_second(model) / 1e9:.2f} G", rtf]
        cells = [f"`{name}`", *size, f"{ahead / model.sample_rate:.2g} s", *scores, trained, choice(name)]
        lines.append(f"| {' | '.join(cells)} |")
    own = {name: read_header(shipped()[name])["arguments"].get("listen") for name in shipped_denoisers()}
    who = ", ".join(f"`{name}` to {seconds:g} s" for name, seconds in own.items() if seconds)
    more = (
        f" Some listen before\nthey start ({who}; `--listen`), which takes time: these clips are short." if who else ""
    )
    return f"""Scores: the {found["data"]["clips"]} pairs of {TEST_SET}, of models whose weights are in the package; RTF: real-time factor on one thread.{more}

{chr(10).join(lines)}"""


def model_card(name: str) -> str:
    """The card beside the weights of a shipped model."""
    header = read_header(shipped()[name])
    provenance, arguments = header["provenance"], header["arguments"]
    noisy = read(TEST_SET)
    valid = provenance["valid"]
    kinds = "\n".join(
        f"| {kind} | {row['pesq']:.2f} | {row['stoi']:.3f} | {row['si_sdr']:.1f} |"
        for kind, row in valid["scores"].items()
    )
    return f"""# {name}

{KINDS[header["model"]]}, {", ".join(f"{k}={v}" for k, v in arguments.items())}.
Made by `python benchmarks/report.py`.

* **Use**: speech in noise, any language, {header["sample_rate"]} Hz inside, one channel at a time. It removes noise and keeps the room;
  it is no dereverberator and separates no speakers.{listens(arguments)}
* **Training**: `recipes/open-speech`, {hours(provenance):.1f} h on one core, {audio_hours(provenance):.0f} h of mixtures made on the fly; data fingerprint
  `{provenance["data"]}`. Sources, authors and licences of the recordings: `recipes/open-speech/README.md`.
* **Licence of the weights**: MIT, as the package.
* **Limits**: trained mostly on read and acted speech; music counts as noise, and so do other speakers in the background.

## Voice Bank+DEMAND test set, speaker p232 ({noisy["data"]["clips"]} pairs)

{scores_table(name, noisy, read(f"{TEST_SET}_clean"))}

## Validation: held-out speakers, noises, tracks and rooms, SNR −5 to 20 dB

After {steps(provenance):,} steps in all, as scored at the end of training: steering score {valid["score"]:.3f} (zero is the untouched
mixture).

| kind | PESQ-WB | STOI | SI-SDR (dB, at most 30) |
| --- | --- | --- | --- |
{kinds}
"""


def separator_card(name: str) -> str:
    """The card beside the weights of a shipped separator."""
    header = read_header(shipped()[name])
    provenance, valid = header["provenance"], header["provenance"]["valid"]
    sources = ", ".join(header["sources"])
    rows = "\n".join(
        f"| {kind} | {', '.join(f'{source} {value:.1f}' for source, value in row.items())} |"
        for kind, row in valid["scores"].items()
    )
    found = separation.results()
    return f"""# {name}

A separator of {sources}: the compact U-Net of `enhance/models/compact.py`, {", ".join(f"{k}={v}" for k, v in header["arguments"].items())}.
Made by `python benchmarks/report.py`.

* **Use**: recordings in which speech, music and noise lie over one another, {header["sample_rate"]} Hz inside; of several
  channels each is heard alone, and they share one mask a source. The estimates sum to the recording. Several speakers are one source.{listens(header["arguments"])}
* **Training**: `recipes/open-speech/{RECIPES[name]}`, {hours(provenance):.1f} h on one core with the denoiser that it starts from,
  {audio_hours(provenance):.0f} h of mixtures made on the fly; data fingerprint `{provenance["data"]}`. Sources, authors and licences of the
  recordings: `recipes/open-speech/README.md`.
* **Licence of the weights**: MIT, as the package.
* **Limits**: trained mostly on read and acted speech, and on music of games, little of it sung: a singing voice goes to
  either side.

## Held-out speakers, tracks and recordings: {found["clips"]} mixtures at 0 dB

{separation.gains(found, name)}

## Validation: SI-SDR (dB), step {valid["step"]}

| mixture | sources |
| --- | --- |
{rows}
"""


def replaced(text: str, begin: str, end: str, section: str) -> str:
    """``text`` with what stands between two marks, these included, replaced."""
    before, rest = text.split(begin)
    return before + section + rest.split(end)[1]


def main() -> None:
    header = read_header(PRETRAINED / f"{DEFAULT}.safetensors")
    readme, voicebank = ROOT / "README.md", ROOT / "recipes" / "voicebank" / "README.md"
    text = replaced(readme.read_text(encoding="utf-8"), BEGIN, END, results_section(header))
    models = models_table()
    text = replaced(text, BEGIN_MODELS, END_MODELS, f"{BEGIN_MODELS}\n{models}\n{END_MODELS}")
    throughput = f"{BEGIN_THROUGHPUT}\n{throughput_tables.summary()}\n{END_THROUGHPUT}"
    text = replaced(text, BEGIN_THROUGHPUT, END_THROUGHPUT, throughput)
    trained = hybrid_tables.HERE / hybrid_tables.TRAINED
    wanted = {
        readme: replaced(text, BEGIN_CLIPS, END_CLIPS, clips_section()),
        RESULTS / f"{TEST_SET}.md": f"# {TEST_SET}\n\n{table.markdown(read(TEST_SET))}",
        RESULTS / f"{TEST_SET}_clean.md": f"# {TEST_SET}_clean\n\n{table.markdown(read(f'{TEST_SET}_clean'))}",
        RESULTS / "runtimes.md": runtimes_table.page(read("runtimes"), read(TEST_SET)["systems"]),
        RESULTS / "care.md": care(),
        RESULTS / "stereo_denoise.md": stereo(),
        RESULTS / "listen.md": listen_table.page(read("listen")),
        RESULTS / "precision.md": precision_table.page(read("precision")),
        RESULTS / "by_kind.md": by_kind_table.page(read("by_kind")),
        RESULTS / "models.md": f"# Models\n\n{models}\n",
        RESULTS / "footprint.md": f"# Time and memory\n\n{footprint()}\n",
        **{PRETRAINED / f"{name}.md": model_card(name) for name in shipped_denoisers()},
        **{PRETRAINED / f"{name}.md": separator_card(name) for name in shipped() if name not in shipped_denoisers()},
        tables.HERE / "README.md": tables.readme(),
        hybrid_tables.HERE / "README.md": hybrid_tables.readme(),
        trained / "README.md": hybrid_tables.readme(trained),
        search_tables.HERE / "README.md": search_tables.readme(),
        speed_table.HERE / "README.md": speed_table.readme(),
        throughput_tables.HERE / "README.md": throughput_tables.readme(),
        **({separation.HERE / "README.md": separation.readme()} if separation.measured() else {}),
        voicebank: replaced(
            voicebank.read_text(encoding="utf-8"), tables.BEGIN, tables.END, tables.voicebank_section()
        ),
    }
    stale = [
        path for path, content in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != content
    ]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date: run python benchmarks/report.py")
        sys.exit(bool(stale))
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
