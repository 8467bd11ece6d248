"""A listening page of toy scores and sounds."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from enhance.bench.page import Player, Sound, write_page
from enhance.bench.records import UNTOUCHED

RATE = 16000
SECONDS = 3.0
NASTY = 'a<b>&"quo\'te"</script><img src=x onerror=alert(1)> $title ${x}'
# Whose sound is to be heard is told from its frequency.
TONES = {UNTOUCHED: 500, "clean": 1000, "ours": 2000, "their's <1>": 3000}
METRICS = ["pesq_wb", "si_sdr"]


def score(mean: float, half: float = 0.1) -> dict:
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": 20}


def row(name: str, kind: str, pesq: float, sdr: float, **facts) -> dict:
    about = dict.fromkeys(("rtf", "parameters", "macs_per_second", "latency_ms", "version", "licence", "note"))
    scores = {"pesq_wb": score(pesq), "si_sdr": score(sdr, 1.0)}
    return {"name": name, "kind": kind, "scored": 20, "total": 21, **about, **facts, "scores": scores}


def summed() -> dict:
    rows = [
        row(UNTOUCHED, "mixture", 2.0, 8.0),
        row("ours", "model", 2.8, 17.0, rtf=0.2, parameters=105112, macs_per_second=2.4e8),
        row("their's <1>", "estimates", 2.5, 18.0, rtf=0.004, note="<i>a note</i>"),
    ]
    other = {**rows[0], "scores": {}}
    pair = {"system": "ours", "against": UNTOUCHED, "n": 20, "low": 0.6, "high": 1.0, "p": 0.0004}
    return {
        "data": {"name": "a & b", "path": "data/a & b", "fingerprint": "0123abcd", "clips": 21, "seconds": 63.0},
        "metrics": METRICS,
        "systems": rows,
        "groups": {"snr": {"2.5": [other, *rows[1:]]}},
        "comparisons": [
            {**pair, "metric": "pesq_wb", "difference": 0.8},
            {**pair, "metric": "si_sdr", "difference": 9.0, "low": None, "high": None, "p": None},
        ],
        "group_comparisons": {"snr": [{"group": "2.5", **pair, "metric": "pesq_wb", "difference": 0.75}]},
        "footer": {
            "enhance": "0.1.0",
            "pesq": "0.0.4",
            "device": "cpu",
            "jobs": "2",
            "command": "enhance bench 'a & b'",
        },
    }


def players(count: int = 3) -> list[Player]:
    time_axis = np.arange(round(SECONDS * RATE)) / RATE
    scores = {UNTOUCHED: {"pesq_wb": 2.0, "si_sdr": 8.0}, "clean": {}, "ours": {"pesq_wb": 2.75, "si_sdr": 17.0}}
    return [
        Player(
            NASTY if number == 0 else f"clip {number}",
            {"snr": "2.5", "noise": "<cafe>"},
            RATE,
            [
                Sound(name, 0.3 * np.sin(2 * np.pi * tone * time_axis), scores.get(name, {"pesq_wb": 2.5}))
                for name, tone in TONES.items()
            ],
        )
        for number in range(count)
    ]


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (300, 200), "white").save(stream, "PNG")
    return stream.getvalue()


def write(path: Path) -> None:
    write_page(path, summed(), players(), {"distributions": png(), "speed": png()}, "a & b: <21> clips")
