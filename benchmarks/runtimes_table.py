"""The page of ``runtimes.py``, which ``report.py`` makes, and what the README says of real-time factors."""

from __future__ import annotations

from typing import Any

AT_ONCE = ("noisereduce", "logMMSE", "NSNet2", "Conv-TasNet")  # peers that a file goes through whole: peers/adapters.py


def page(found: dict[str, Any], systems: list[dict[str, Any]]) -> str:
    """Markdown: a streaming model in PyTorch and in ONNX Runtime, block by block and in long chunks; other tools."""
    long = max(row["chunk_ms"] for row in found["times"])
    files = {row["name"]: row["rtf"] for row in found["times"] if row["chunk_ms"] == long}
    peers = ["| on whole files | delay if live (ms) | real-time factor |", "| --- " * 3 + "|"]
    for row in sorted((row for row in systems if row["rtf"]), key=lambda row: row["rtf"]):
        delay = "" if row["latency_ms"] is None else f"{row['latency_ms']:.0f}"
        peers.append(f"| {row['name']} | {delay} | {row['rtf']:.2g} |")
    lines = ["| | audio at a time (ms) | median (ms) | 99 % within (ms) | real-time factor |", "| --- " * 5 + "|"]
    for row in found["times"]:
        numbers = f"{row['chunk_ms']:.1f} | {row['median_ms']:.2f} | {row['p99_ms']:.2f} | {row['rtf']:.3f}"
        lines.append(f"| {row['name']} | {numbers} |")
    delays = ", ".join(
        f"{row['delay_ms']:.0f} ms at {row['name'].rpartition(', ')[2]}" for row in found["times"] if "delay_ms" in row
    )
    return f"""# PyTorch and ONNX Runtime

`{found["model"]}` on one thread, processor time (`python benchmarks/runtimes.py --json benchmarks/results/runtimes.json`).
The file that `enhance export` writes has {found["bytes"] / 1e6:.1f} MB and differs from PyTorch by {found["difference"]:.0e} at most over {found["minutes"]} minutes.

{chr(10).join(lines)}

Delay of `enhance live`, a block included: {delays}.
In long chunks ONNX Runtime takes {files["ONNX Runtime"] / files["PyTorch"]:.2f} of PyTorch's time, so `enhance denoise` has no such engine.

Other tools (`benchmarks/peers`) and our models, in the same run: {", ".join(AT_ONCE)} and ours take a file at once, the
others go through it in blocks of their own. The delay is what a live stream would lag, of those that can be live.

{chr(10).join(peers)}
"""


def footing(found: dict[str, Any]) -> str:
    """What real-time factors in the README's tables are not alike in."""
    times = found["times"]
    block = min(row["chunk_ms"] for row in times if row["name"] == "PyTorch")
    live = {row["name"]: row["rtf"] for row in times if row["chunk_ms"] == block}
    return (
        f"Real-time factors are of files. {', '.join(AT_ONCE)} and our models take one at once, the others go through it "
        f"in blocks,\nas live sound comes: `{found['model']}` takes {live['PyTorch']:.3f} so in PyTorch, and "
        f"{live['ONNX Runtime']:.3f} in ONNX Runtime ([more](benchmarks/results/runtimes.md))."
    )
