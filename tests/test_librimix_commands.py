"""The three commands of recipes/librimix, as printed there, on a tree in miniature."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import librimix_toys as toys
import pages
import pytest

from enhance.models.checkpoint import read_header
from enhance.training.loop import LOG

ROOT = Path(__file__).parent.parent
SMALL = (
    "--set model_options.widths=[4,6,8] --set model_options.hidden=8 --set model_options.blocks=1 "
    "--set run.precision=32-true"
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["librimix", "librimix-noisy"])
def test_prepare_train_and_bench_as_the_readme_says(
    name: str, cli: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "recipes" / "librimix", "recipes/librimix")
    toys.write(tmp_path / "LibriMix/Libri2Mix/wav16k/min")
    prepare, train, bench = pages.commands(Path("recipes/librimix/README.md"))
    if name == "librimix-noisy":
        train = train.replace("recipes/librimix", "recipes/librimix/noisy.toml")
        bench = bench.replace("mix_clean", "mix_both").replace("runs/librimix/", "runs/librimix-noisy/")
    for command in (prepare, f"{pages.shortened(train)} {SMALL}", f"{bench} --json --jobs 1"):
        code, out, error = cli(*shlex.split(command)[1:])
        assert code == 0, f"{command}\n{error}"
    header = read_header(Path("runs") / name / "best.safetensors")
    assert header["sources"] == ["s1", "s2"]
    row = json.loads((Path("runs") / name / LOG).read_text().splitlines()[-1])
    assert {kind: list(scores) for kind, scores in row["scores"].items()} == {"s1+s2": ["s1", "s2"]}
    summary = json.loads(out)
    assert summary["metrics"] == ["si_sdr", "si_sdr_improvement"]
    assert [system["scored"] for system in summary["systems"]] == [3, 3]
    assert summary["systems"][0]["scores"]["si_sdr_improvement"]["mean"] == 0
