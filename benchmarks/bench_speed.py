"""How long ``enhance bench`` takes: without arguments, and over DATA with one process and with two.

usage: bench_speed.py DATA [--limit N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path


def seconds(*arguments: str) -> float:
    """Wall time of the whole command, start included."""
    command = [sys.executable, "-m", "enhance.cli", "bench", *arguments, "--json"]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found: dict[str, float] = {"without arguments": seconds(), "clips": arguments.limit}
    for jobs in (1, 2):
        found[f"jobs {jobs}"] = seconds(str(arguments.data), "--limit", str(arguments.limit), "--jobs", str(jobs))
    found["speed-up"] = found["jobs 1"] / found["jobs 2"]
    for name, value in found.items():
        print(f"{name}: {value:.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
