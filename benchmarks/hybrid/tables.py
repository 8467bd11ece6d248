"""The comparison of ``compare.py`` as a page, which ``benchmarks/report.py`` makes too, and as a plot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from enhance.bench import table
from enhance.bench.plots import DPI, GREY, INK, looks
from enhance.bench.records import UNTOUCHED
from enhance.bench.table import cost, digits, heading
from enhance.files import replacing
from enhance.metrics import METRICS

HERE = Path(__file__).parent
RESULTS, PLOT = "results.json", "differences.png"
INTRO = """# The hybrid and its halves, kind by kind

Whether a waveform module and a spectrogram module in a cascade are better than either alone, at equal parameters and
cost, and than a blend of the two; on five kinds of noise at five SNRs. The impulsive and the narrow-band noise are made
in ways (`kinds.py`) in which training makes none.

```sh
SHORT="--set optim.ema=0.99 --set optim.warmup=60 --set valid.clips=16 --set valid.every=700"
SHORT="$SHORT --set run.precision=32-true"
enhance train recipes/open-speech/hybrid-dcunet.toml $SHORT --set optim.steps=920
enhance train recipes/open-speech/hybrid-waveform.toml $SHORT --set optim.steps=1350
enhance train recipes/open-speech/hybrid-spectrogram.toml $SHORT --set optim.steps=1350
python benchmarks/hybrid/compare.py runs/data/open-speech waveform=runs/waveform/best.safetensors \\
    spectrogram=runs/spectrogram/best.safetensors hybrid=runs/hybrid-dcunet/best.safetensors --pairs vbdemand_p232
```

The steps are those of equal processor time, in float32; of each run the better of two validations is scored. So short a
training says what learns quickly from nothing, not what is best in the end ([trained further](trained/README.md)); each
is one run with one seed, whose scatter the intervals over clips do not know. The checkpoints were chosen by validation
on other clips of the same held-out speakers and noises.
"""
TRAINED = "trained"  # folder of the second comparison
TRAINED_INTRO = """# The hybrid and its halves, trained further

The comparison of [the page above](../README.md) where the spectrogram module has learned for hours already. `waveform`
is the hybrid's first module, trained alone, which has not changed since. The second module came from `dcunet-m` of
20.9 h, with a sixth block, frames in between those that the blocks hear and more lookahead. From then on `dcunet-m` and
the hybrid, whose waveform module stayed as it was, were trained apart, but for two means of both. Here, one training
went on with `dcunet-m` of 23.8 h; the mean of its last weights, of their moving average and of those that it began with
is `spectrogram`, the shipped `dcunet-m`. Another went on with a hybrid of 32.3 h; such a mean of it is `hybrid-own`.
`hybrid`, the shipped one, is the mean of `hybrid-own` and of `waveform` with `spectrogram` behind it.
`--set 'init=[FILE, FILE, FILE]'` makes a mean before its first step.

```sh
enhance train recipes/open-speech/hybrid.toml --set 'stages=[{train="waveform", steps=1400, lr=2e-3}]' \\
    --set optim.steps=1400 --set seed=24 --set name=first
enhance train recipes/open-speech/dcunet-m.toml --set init=start.safetensors --set optim.lr=6e-4 \\
    --set optim.steps=2600 --set optim.ema=0.998 --set seed=39
enhance train recipes/open-speech/hybrid.toml --set init=start-hybrid.safetensors --set optim.lr=5e-4 \\
    --set 'stages=[{train="spectrogram"}]' --set optim.steps=1900 --set optim.ema=0.998 --set loss.stoi_like=24 \\
    --set seed=38
python benchmarks/hybrid/compare.py runs/data/open-speech waveform=runs/first/last.safetensors \\
    spectrogram=dcunet-m.safetensors hybrid=hybrid.safetensors hybrid-own=own.safetensors --pairs vbdemand_p232 \\
    --output benchmarks/hybrid/trained
```

Hours and steps are those of all runs that led to a checkpoint, each once. Checkpoints were chosen by validation on
other clips of the same held-out speakers and noises. Hybrids hear the first 3 s before they start, `spectrogram` 4 s;
the second module of a hybrid has six blocks and hears 12 frames ahead, `dcunet-m` has five and hears 4.
"""
SHOWN = ("pesq_wb", "stoi", "si_sdr")
HYBRID, BLEND, HALVES = "hybrid", "blend", ("waveform", "spectrogram")
BARE = "bare"  # the hybrid without what its waveform module makes
SIGNIFICANT = 0.05


def write_report(folder: Path) -> list[Path]:
    """``README.md`` and the plot from ``results.json``, all in ``folder``; their paths."""
    text, picture = folder / "README.md", folder / PLOT
    with replacing(text) as temporary:
        temporary.write_text(readme(folder), encoding="utf-8")
    with replacing(picture) as temporary:
        figure(json.loads((folder / RESULTS).read_text(encoding="utf-8"))).savefig(temporary, format="png")
    return [text, picture]


def readme(folder: Path = HERE) -> str:
    """``README.md`` beside this file."""
    path, intro = folder / RESULTS, TRAINED_INTRO if folder.name == TRAINED else INTRO
    if not path.exists():
        return f"{intro}\nNot run yet.\n"
    return f"{intro}\n{markdown(json.loads(path.read_text(encoding='utf-8')))}"


def markdown(found: dict[str, Any]) -> str:
    """Systems, means over SNRs, what the hybrid is better by, and all means a kind and SNR."""
    data, kinds, weight = found["data"], found["scores"], found["blend"]["waveform"]
    clips = ", ".join(f"{kind} {count}" for kind, count in found["clips"].items())
    snrs = [snr for snr in next(iter(kinds.values())) if snr != "all"]
    bare = f" `{BARE}` is `{HYBRID}` without what its waveform module makes."
    parts = [
        f"Held-out speakers, noises and tracks of `{data['name']}` ({data['fingerprint']}), {data['seconds']:g} s a "
        f"clip, at {', '.join(snrs)} dB; clips: {clips}.",
        _table(*_systems(found)),
        f"`{BLEND}` is {weight:.2f} · waveform + {1 - weight:.2f} · spectrogram, the weight by least squares on "
        "validation. Hours are wall time, audio hours are what was seen in them; the score steers training. RTF: "
        "processor time on one thread over duration. SI-SDR counts no more than 30 dB."
        + (bare if BARE in found["order"] else ""),
        *(f"**{heading(metric)}, all SNRs**\n\n{_table(*_means(found, metric))}" for metric in SHOWN),
        f"**What `{HYBRID}` is better by, all SNRs** (paired; bold: p < {SIGNIFICANT:g}, Wilcoxon, Holm)\n\n"
        + _table(*_differences(found)),
        "\n".join(f"- {line}" for line in _verdicts(found)),
        f"![What the hybrid is better by, over the SNR]({PLOT})" + _left_out(found),
        f"**{' / '.join(heading(metric) for metric in SHOWN)}, each SNR**\n\n{_table(*_details(found, snrs))}",
        *([f"## Real test pairs\n\n{table.markdown(found['pairs'])}".rstrip()] if "pairs" in found else []),
        f"enhance {found['enhance']}, torch {found['torch']}; intervals: 95 % bootstrap over clips",
    ]
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Iterator[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _systems(found: dict[str, Any]) -> tuple[list[str], Iterator[list[str]]]:
    head = ["system", "model", "RTF", "parameters", "MAC/s", "hours", "audio hours", "steps", "seed", "score"]

    def rows() -> Iterator[list[str]]:
        for row in found["systems"]:
            score = "" if row["valid_score"] is None else f"{row['valid_score']:.3f}"
            training = [f"{row['hours']:.1f}", f"{row['audio_hours']:.1f}", str(row["steps"]), str(row["seed"]), score]
            yield [row["name"], row["model"], *cost(row), *training]
        halves = [row for row in found["systems"] if row["name"] in HALVES]
        both = {key: sum(row[key] for row in halves) for key in ("rtf", "parameters", "macs_per_second")}
        hours = [f"{sum(row[key] for row in halves):.1f}" for key in ("hours", "audio_hours")]
        yield [BLEND, "", *cost(both), *hours, "", "", ""]

    return head, rows()


def _means(found: dict[str, Any], metric: str) -> tuple[list[str], Iterator[list[str]]]:
    places = digits(metric)

    def cell(kind: str, system: str) -> str:
        scores = found["scores"][kind]["all"]
        score = scores[system][metric]
        text = f"{score['mean']:.{places}f}"
        if score["mean"] == max(other[metric]["mean"] for other in scores.values()):
            text = f"**{text}**"
        return text if score["low"] is None else f"{text} ({score['low']:.{places}f}–{score['high']:.{places}f})"

    rows = ([system, *(cell(kind, system) for kind in found["scores"])] for system in found["order"])
    return ["system", *found["scores"]], rows


def _differences(found: dict[str, Any]) -> tuple[list[str], Iterator[list[str]]]:
    rows = [row for row in found["comparisons"] if row["snr"] is None and row["against"] != UNTOUCHED]
    cells = {(row["kind"], row["against"], row["metric"]): _difference(row) for row in rows}
    pairs = dict.fromkeys((row["kind"], row["against"]) for row in rows)
    lines = ([*pair, *(cells[*pair, metric] for metric in SHOWN)] for pair in pairs)
    return ["kind", "against", *(METRICS[metric].label for metric in SHOWN)], lines


def _difference(row: dict[str, Any]) -> str:
    places = digits(row["metric"])
    text = f"{row['difference']:+.{places}f}"
    text = f"**{text}**" if _significant(row) else text
    return text if row["low"] is None else f"{text} ({row['low']:+.{places}f} to {row['high']:+.{places}f})"


def _significant(row: dict[str, Any]) -> bool:
    return row["p"] is not None and row["p"] < SIGNIFICANT


def _verdicts(found: dict[str, Any]) -> Iterator[str]:
    """For each other system, on how many kinds and metrics the hybrid is better, worse, or cannot be told apart."""
    for system in found["order"]:
        if system in (UNTOUCHED, HYBRID):
            continue
        rows = [row for row in found["comparisons"] if row["snr"] is None and row["against"] == system]
        sure = [row for row in rows if _significant(row)]
        better = sum(row["difference"] > 0 for row in sure)
        worse = [f"{METRICS[row['metric']].label} on {row['kind']}" for row in sure if row["difference"] < 0]
        yield (
            f"against `{system}`: better in {better} of {len(rows)} (kinds × metrics), worse in {len(worse)}"
            f"{' (' + ', '.join(worse) + ')' if worse else ''}, not to be told apart in {len(rows) - len(sure)}"
        )


def _outdone(found: dict[str, Any]) -> list[str]:
    """Systems that the hybrid is surely better than in each kind and metric: on their scale no other is to be seen.

    None if that is all of them.
    """
    others = [system for system in found["order"] if system not in (UNTOUCHED, HYBRID)]
    rows = [row for row in found["comparisons"] if row["snr"] is None]
    close = {row["against"] for row in rows if not _significant(row) or row["difference"] <= 0}
    return [system for system in others if system not in close] if close & {*others} else []


def _left_out(found: dict[str, Any]) -> str:
    names = ", ".join(f"`{system}`" for system in _outdone(found))
    return f"\n\nNot in the plot, being worse in each kind and metric: {names}." if names else ""


def _details(found: dict[str, Any], snrs: list[str]) -> tuple[list[str], Iterator[list[str]]]:
    def cell(scores: dict[str, Any]) -> str:
        return " / ".join(f"{scores[metric]['mean']:.{digits(metric)}f}" for metric in SHOWN)

    rows = (
        [kind, snr, *(cell(cells[snr][system]) for system in found["order"])]
        for kind, cells in found["scores"].items()
        for snr in snrs
    )
    return ["kind", "SNR (dB)", *found["order"]], rows


def figure(found: dict[str, Any]) -> Any:
    """What the hybrid is better by, over the SNR of the input: a row a metric, a column a kind, a line a system."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    others = [system for system in found["order"] if system not in (UNTOUCHED, HYBRID)]
    look, outdone = looks(others), _outdone(found)
    others = [system for system in others if system not in outdone]
    whole = Figure(figsize=(10, 6), dpi=DPI, layout="constrained")
    FigureCanvasAgg(whole)
    panels = whole.subplots(len(SHOWN), len(found["scores"]), sharex=True, sharey="row", squeeze=False)
    for line, metric in zip(panels, SHOWN, strict=True):
        for panel, kind in zip(line, found["scores"], strict=True):
            panel.axhline(0, color=GREY, ls="--", lw=1)
            for place, system in enumerate(others):
                rows = [
                    row
                    for row in found["comparisons"]
                    if (row["kind"], row["against"], row["metric"]) == (kind, system, metric) and row["snr"] is not None
                ]
                at = [row["snr"] + 0.7 * (place - (len(others) - 1) / 2) for row in rows]  # side by side
                for x, row in zip(at, rows, strict=True):
                    if row["low"] is not None:
                        panel.plot((x, x), (row["low"], row["high"]), color=look[system].colour, lw=1.4, alpha=0.8)
                means = [row["difference"] for row in rows]
                panel.plot(at, means, look[system].marker, ls="-", color=look[system].colour, ms=4, lw=1, label=system)
                panel.set_xticks([row["snr"] for row in rows])
            panel.spines[["top", "right"]].set_visible(False)
            panel.spines[["left", "bottom"]].set_color(GREY)
            panel.tick_params(labelsize=8, color=GREY, labelcolor=INK)
            panel.grid(axis="y", color="#e6e6e6", lw=0.7)
        line[0].set_ylabel(f"{HYBRID} − other,\n{METRICS[metric].label}", fontsize=9)
    for panel, kind in zip(panels[0], found["scores"], strict=True):
        panel.set_title(kind, fontsize=10)
    whole.supxlabel(
        "SNR of the input (dB) · above zero the hybrid is better · bars: 95 % intervals over clips", fontsize=9
    )
    whole.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=len(others), fontsize=9)
    return whole
