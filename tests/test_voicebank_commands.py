"""The three commands of recipes/voicebank, as printed there, on archives in miniature."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import voicebank_toys as toys

from enhance.models.checkpoint import read_header
from enhance.training.loop import LOG

ROOT = Path(__file__).parent.parent
SMALLER = {"steps": 2, "batch": 1, "seconds": 1.024, "clips": 2, "every": 10}


@pytest.mark.slow
def test_prepare_train_and_bench_as_the_readme_says(
    cli: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    recipe = tmp_path / "recipes" / "voicebank"
    shutil.copytree(ROOT / "recipes" / "voicebank", recipe)
    base = (recipe / "base.toml").read_text(encoding="utf-8")
    for key, value in SMALLER.items():
        base, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", base)
        assert count == 1, key
    (recipe / "base.toml").write_text(base, encoding="utf-8")
    files = toys.archives(toys.write_folders(tmp_path / "original", 48000))
    toys.recipe(recipe, files)  # its own data.toml: the real one wants 11,572 pairs
    text = (recipe / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```sh\n(enhance prepare .*?)```", text, re.DOTALL)
    assert block is not None
    commands = [shlex.split(line) for line in block[1].splitlines()]
    assert [command[1] for command in commands] == ["prepare", "train", "bench"]
    monkeypatch.chdir(tmp_path)
    with toys.serving(files) as server:
        monkeypatch.setenv("ENHANCE_MIRROR", server.address)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        for command in commands:
            code, out, error = cli(*command[1:])
            assert code == 0, error
    assert "shipped" not in out
    assert f"test: {len(toys.TEST)} clips" in out
    assert "dcunet20/best" in out
    assert "3/3" in out
    header = read_header(tmp_path / "runs" / "dcunet20" / "best.safetensors")
    assert header["model"] == "DCUNet"
    rows = [json.loads(line) for line in (tmp_path / "runs" / "dcunet20" / LOG).read_text().splitlines()]
    assert list(rows[-1]["scores"]) == ["voicebank"]
