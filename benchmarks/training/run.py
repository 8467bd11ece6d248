"""Speed of training steps of some recipes, float32 and bfloat16, eager and compiled, threads.

usage: run.py DATA [--threads 1,2] [--processes 1,2] [--models dcunet-10,dcunet-s,separator-s,stems-s] [--steps N]

DATA is a prepared data set (``enhance prepare``), for the loader; recipes of stems have noise in its place. Each case
runs in a process of its own, on random batches, the step alone; before them, the loader alone. With one thread the time
is the process's processor time, in which other work on the machine counts only for the caches that it takes; with two
it is wall time, which wants an idle machine. What the processor cannot do is recorded as that. Writes ``results.json``
here, in which cases that are not run keep what they had; ``README.md`` is made of it by ``benchmarks/report.py``.

Several processes of one thread each train together, as with ``enhance train --devices N``; wall time as well.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enhance.training.recipe import Recipe

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
RESULTS = HERE / "results.json"
RECIPES = {
    "dcunet-10": "recipes/open-speech/dcunet10.toml",
    "dcunet-s": "recipes/open-speech/default.toml",
    "separator-s": "recipes/librimix/default.toml",
    "stems-s": "recipes/musdb/default.toml",
}
PRECISIONS = ("32-true", "bf16-mixed")
WARM_UP, LOADED = 2, 40  # steps that are not counted; batches of the loader
STEMS = 16  # recordings of a made-up data set


def processor() -> dict[str, Any]:
    """What the machine is and can do."""
    import torch

    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": torch.ops.mkldnn._is_mkldnn_bf16_supported(),
        "torch": torch.__version__.partition("+")[0],
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []


def made_up_stems(recipe: Recipe, folder: Path) -> None:
    """A prepared data set of stems that are noise, with what the recipe asks for."""
    import numpy as np

    from enhance.data import stem_store
    from enhance.models import create

    model: Any = create(recipe.model, **recipe.model_options)
    names = [*recipe.data.sources, *recipe.data.others]
    shape = (len(names), model.channels, round(2 * recipe.data.seconds * model.sample_rate))
    draw = np.random.default_rng(0)
    tracks = (((f"{n}", "train"), draw.integers(-3000, 3000, shape, dtype=np.int16)) for n in range(STEMS))
    stem_store.write(folder, tracks, names, model.sample_rate, model.channels, {})


def measure(case: dict[str, Any], data: str, steps: int) -> dict[str, Any]:
    """Seconds a step of one case, or of its loader, and the audio in it; in this process."""
    from enhance.training.recipe import read

    recipe = read(ROOT / RECIPES[case["model"]], [])
    if recipe.data.kind != "stems":
        return _measured(case, data, steps)
    with tempfile.TemporaryDirectory() as folder:
        made_up_stems(recipe, Path(folder))
        return _measured(case, folder, steps)


def _measured(case: dict[str, Any], data: str, steps: int) -> dict[str, Any]:
    import torch

    from enhance.training import sources
    from enhance.training.profile import step_alone
    from enhance.training.recipe import read

    processes = case.get("processes", 1)
    changes = [f"data.path={data}", "data.workers=0", f"run.threads={case.get('threads', 1)}", "run.accelerator=cpu"]
    changes.append(f"run.devices={processes}")
    if "precision" in case:
        changes += [f"run.precision={case['precision']}", f"run.compile={str(case['compile']).lower()}"]
    recipe = read(ROOT / RECIPES[case["model"]], changes)
    if "precision" in case:
        step, batches = step_alone(recipe, sources.open_store(recipe))

        def once() -> object:
            return step(batches)
    else:
        examples = iter(sources.batches(recipe, 0))
        steps = LOADED

        def once() -> object:
            return next(examples)

    clock = time.process_time if case.get("threads", 1) * processes == 1 else time.perf_counter
    times = []
    for _ in range(WARM_UP + steps):
        began = clock()
        once()
        times.append(clock() - began)
    if processes > 1:
        torch.distributed.destroy_process_group()  # else gloo may abort the process at its end
    # Compiling takes part of the first step, and batches of the loader differ in what is done to them.
    found = median(times[WARM_UP:]) if "precision" in case else sum(times[WARM_UP:]) / steps
    return {"seconds": found, "audio": processes * recipe.optim.batch * recipe.data.seconds, "steps": steps} | {
        "recipe": RECIPES[case["model"]],
        "recipe_steps": recipe.optim.steps,
    }


def in_processes(case: dict[str, Any], data: str, steps: int) -> dict[str, Any]:
    """What :func:`measure` finds in a process of its own, or in the first of several that train together."""
    command = [sys.executable, __file__, data, "--steps", str(steps), "--case", json.dumps(case)]
    environment, count = {**os.environ, "OMP_NUM_THREADS": str(case.get("threads", 1))}, case.get("processes", 1)
    if count > 1:  # as torchrun starts them
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = str(server.getsockname()[1])
        environment |= {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "TORCHELASTIC_RUN_ID": "speed",
            "GROUP_RANK": "0",
        }
        environment |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    ranks = [{"RANK": str(n), "LOCAL_RANK": str(n)} if count > 1 else {} for n in range(count)]
    started = [subprocess.Popen(command, env=environment | rank, stdout=subprocess.PIPE, text=True) for rank in ranks]
    texts = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"{' '.join(command)}: failed")
    return json.loads(texts[0].splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--models", default=",".join(RECIPES))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(arguments.case, arguments.data, arguments.steps)))
        return
    about = processor()
    before = json.loads(arguments.output.read_text(encoding="utf-8")) if arguments.output.exists() else {}
    rows = before["rows"] if before.get("machine") == about else {}  # those of another machine have no place here
    models = arguments.models.split(",")
    threads, processes = (list(map(int, text.split(","))) for text in (arguments.threads, arguments.processes))
    grid = product(models, threads, processes, PRECISIONS, (False, True))
    cases = [
        {"model": m, "threads": t, "precision": p, "compile": c, **({"processes": n} if n > 1 else {})}
        for m, t, n, p, c in grid
        if t == 1 or n == 1
    ]
    for case in [*({"model": model} for model in models), *cases]:  # the loaders first
        if case.get("precision") == "bf16-mixed" and not about["bfloat16"]:
            found: dict[str, Any] = {"why_not": "processor without bfloat16"}
        elif int(case.get("threads", 1)) * int(case.get("processes", 1)) > (about["cores"] or 1):
            found = {"why_not": "not so many cores"}
        else:
            found = in_processes(case, arguments.data, arguments.steps)
        name = " ".join(map(str, case.values()))
        print(f"{name}: {found}", flush=True)
        rows[name] = {**case, **found}
        arguments.output.write_text(json.dumps({"machine": about, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
