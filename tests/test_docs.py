"""The documentation: built strictly, complete without a network, and every command on it run."""

from __future__ import annotations

import base64
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pages
import pytest

from enhance.training import recipe

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
# Commands that other tests run: those of the README, and those of recipes whose data are downloaded.
ELSEWHERE = {
    command
    for page, test in (
        ("README.md", "test_readme"),
        ("recipes/voicebank/README.md", "test_voicebank_commands"),
        ("recipes/musdb/README.md", "test_song_commands"),
        ("recipes/moisesdb/README.md", "test_song_commands"),
        ("recipes/librimix/README.md", "test_librimix_commands"),
    )
    for command in pages.commands(ROOT / page)
    if (ROOT / "tests" / f"{test}.py").exists()
}
# What is not run, and why; their options are parsed all the same, and packages and recipes looked up.
NOT_RUN = {
    "tensorboard --logdir runs": "serves until it is stopped",
    "pip install '.[tune]'": "changes the environment",
    "pip install '.[dnsmos]'": "changes the environment",
    "pip install '.[live]'": "changes the environment",
    "pip install '.[export]'": "changes the environment",
    "pip install '.[ray]'": "changes the environment",
    "pip install '.[s3]'": "changes the environment",
    "enhance denoise s3://bucket/noisy/ -o s3://bucket/clean/ --jobs 4 --records done.jsonl": (
        "needs a bucket: tests/inference/test_remote.py"
    ),
    "ray start --head --port 6379": "runs until it is stopped",
    "ray start --address HOST:6379": "HOST is for the reader",
    "enhance denoise recordings/ -o far/ --engine ray --records far.jsonl": (
        "takes ten seconds to start a cluster: tests/inference/test_ray_engine.py"
    ),
    "enhance denoise recordings/ -o far/ --engine ray --address auto --records far.jsonl": "likewise",
    "enhance live --list-devices": "no sound card",
    "enhance live": "no sound card",
    'enhance live --input "USB Audio" --output 3 --rate 48000': "no sound card",
    "arecord -q -t raw -f S16_LE -r 48000 -c 1 | enhance live --stdin --rate 48000 | "
    "aplay -q -t raw -f S16_LE -r 48000 -c 1": "no sound card",
    "enhance prepare recipes/musan-mix --data runs/data/musan-mix": "downloads 11 GB: tests/data/test_musan_mix.py",
    "enhance prepare recipes/musan-mix --data runs/data/musan-mix --from /data/musan --from /data/DNS-Challenge": (
        "the collections are no part of the repository: tests/data/test_musan_mix.py"
    ),
    "enhance prepare recipes/musan-mix --data runs/data/musan-mix --shards": "as before",
    "enhance train recipes/musan-mix": "its data are no part of the repository",
    "enhance train recipes/musan-mix/shards.toml": "its data are no part of the repository",
    "enhance train recipes/musan-mix/shards.toml --set data.path=s3://bucket/musan-mix/shards": "needs a bucket",
    "enhance denoise noisy.wav -o clean.wav --model runs/musan-mix/best.safetensors": "as in the README, of that run",
    "enhance prepare runs/data/open-speech --data FOLDER [--data FOLDER] --rooms 500": "FOLDER is for the reader",
    "enhance prepare runs/data/mine --speech clean-speech/ --noise noises/ [--music music/] [--rir responses/]": (
        "as in the README, with what may be left out"
    ),
    "enhance bench FIELD --models dcunet-s --metrics dnsmos_ovrl,dnsmos_p808": (
        "takes half a minute to load its package: tests/metrics/test_metrics_dnsmos.py"
    ),
    "enhance train recipes/open-speech": "its data are no part of the repository",
    "python benchmarks/hybrid/compare.py runs/data/open-speech waveform=runs/waveform/best.safetensors "
    "spectrogram=runs/spectrogram/best.safetensors hybrid=runs/hybrid-dcunet/best.safetensors": (
        "needs three networks: tests/benchmarks/test_hybrid_comparison.py"
    ),
    "enhance blend fit VALIDATION --models runs/a/best.safetensors,runs/b/best.safetensors -o blend.toml": (
        "needs two networks: tests/cli/test_blend.py"
    ),
    "enhance separate talk.mp4 -o stems/ --blend blend.toml": "likewise",
    "enhance separate 'SONGS/*/mixture.wav' -o separated/ --model runs/mine/best.safetensors": (
        "needs songs and a network for them: tests/cli/test_bench_sources.py"
    ),
    "enhance bench SONGS --estimates separated/ --models runs/mine/best.safetensors,blend.toml": "likewise",
    "enhance train recipes/voicebank --devices 2": "two processes: tests/training/test_ddp.py",
    "enhance train recipes/voicebank/ablation --sweep": "twelve large nets: tests/training/test_sweep_and_tune.py",
    "enhance bench runs/data/voicebank/test --models runs/dcunet20/best.safetensors "
    "--metrics csig,cbak,covl,pesq_wb,seg_snr": "needs the data set, and the net trained on it",
}


@pytest.fixture
def work(tmp_path: Path, audio_folders: dict[str, Path], ffmpeg: str, store, untrained: str, monkeypatch) -> Path:
    """What a reader has who has done what the README says: also a prepared data set and a checkpoint."""
    pages.fill(tmp_path, audio_folders, ffmpeg)
    (tmp_path / "runs" / "data").mkdir(parents=True)
    (tmp_path / "runs" / "data" / "mine").symlink_to(store.folder)
    (tmp_path / "runs" / "mine").mkdir()
    shutil.copy(untrained, tmp_path / "runs" / "mine" / "best.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_examples(page, work, cli):
    """In the order of the page: files that it shows are written, commands run, Python examples executed."""
    for block in pages.blocks(page):
        if block.kind == "python" and not block.title:
            exec(compile(block.text, page.name, "exec"), {})
        elif block.title and not block.title.startswith(("enhance/", "examples/", "tests/")):
            (work / block.title).write_text(block.text, encoding="utf-8")
    if page.stem.startswith("add-a-"):
        return  # in a copy of the repository, below
    for command in pages.commands(page):
        if command in NOT_RUN:
            assert_plausible(command)
        elif command not in ELSEWHERE:
            pages.run_here(command, cli)


def assert_plausible(command: str) -> None:
    """All that can be said of a command without running it."""
    if extra := re.fullmatch(r"pip install '\.\[(\w+)\]'", command):
        assert extra[1] in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    elif " enhance " in f" {command}":
        pages.options_exist(command)
        for folder in re.findall(r"train (recipes/[\w/.-]+)", command):
            for path in (ROOT / folder).glob("*.toml") if "--sweep" in command else [ROOT / folder]:
                recipe.read(path, [])
    else:
        assert shutil.which(shlex.split(command)[0], path=str(Path(sys.executable).parent))


def test_what_is_not_run_is_on_a_page():
    printed = {command for page in PAGES for command in pages.commands(page)}
    assert NOT_RUN.keys() <= printed
    assert not NOT_RUN.keys() & ELSEWHERE


# A model and a metric in a file each, in a copy of the repository


@pytest.fixture
def edited(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reader's folder as a checkout, changed as the two pages say."""
    for name in ("enhance", "tests"):
        shutil.copytree(ROOT / name, work / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", work)
    for page in ("add-a-model", "add-a-metric"):
        for block in pages.blocks(DOCS / f"{page}.md"):
            if block.title:
                edit(work / block.title, block.text)
    imports = work / "enhance" / "metrics" / "__init__.py"
    imports.write_text(re.sub(r"(from enhance\.metrics import .*)", r"\1, lsd", imports.read_text()))
    monkeypatch.setenv("PYTHONPATH", str(work))
    return work


def edit(path: Path, text: str) -> None:
    """Write a new file; in one that exists, replace the line of that name or begin the registry with the entry."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    name = text.partition(" = ")[0]
    if not before:
        after = text
    elif name.isidentifier():
        after = re.sub(rf"^{name} = .*\n", text, before, flags=re.MULTILINE)
    else:
        after = re.sub(r"^(REGISTRY|METRICS): .*\{\n", lambda found: found[0] + text, before, flags=re.MULTILINE)
    assert after != before
    path.write_text(after, encoding="utf-8")


IN_ONE_PROCESS = """
import shlex, sys
import pytest
from enhance.cli import main
commands = [shlex.split(command) for command in sys.argv[1:]]
for name, *arguments in commands:
    sys.argv = [name, *arguments]
    if name == "enhance":
        main()
    else:
        assert name == "pytest" and pytest.main(arguments) == 0, arguments
"""


@pytest.mark.slow
def test_a_model_and_a_metric_in_a_file_each(edited):
    """They keep the promises that the tests of the registries hold them to, and work in every command."""
    printed = [command for page in ("add-a-model", "add-a-metric") for command in pages.commands(DOCS / f"{page}.md")]
    commands = [pages.shortened(command) for command in printed if command not in ELSEWHERE]
    assert {command.split()[0] for command in commands} == {"enhance", "pytest"}
    pages.run(shlex.join([sys.executable, "-c", IN_ONE_PROCESS, *commands]), edited)


def test_the_metric_has_a_known_answer(monkeypatch):
    import numpy as np

    monkeypatch.syspath_prepend(DOCS / "examples")
    from lsd import lsd  # pyright: ignore[reportMissingImports]

    wave = np.random.default_rng(0).standard_normal(16000)
    assert lsd(wave, wave, 16000) == 0
    assert lsd(wave, 2 * wave, 16000) == pytest.approx(20 * np.log10(2), abs=1e-6)


# The site


def test_tables_of_options_of_commands_and_of_those_in_a_group(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    import hooks  # pyright: ignore[reportMissingImports]

    page = hooks.on_page_markdown("<!-- options: refine -->\n\n<!-- options: blend fit -->")
    assert "<!--" not in page
    for option in ("RECIPE", "--set TEXT", "DATA", "--models, -m TEXT", "--output, -o FILE", "--limit N"):
        assert f"| `{option}` | " in page


class Links(HTMLParser):
    """Addresses that a browser would load by itself, and those that a reader may follow within the site."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.followed: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        loads = tag != "a" and given.get("rel") not in ("canonical", "prev", "next")
        for address in filter(None, (given.get("src"), given.get("href"))):
            (self.loaded if loads else self.followed).append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built strictly: a warning is an error."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.mark.slow
def test_the_site(site):
    html = {path.relative_to(site).as_posix(): path for path in site.rglob("*.html")}
    links = {name: Links(path) for name, path in html.items()}
    assert_nothing_from_the_network(site, links)
    assert_no_link_is_broken(site, links)
    for card in (ROOT / "enhance" / "pretrained").glob("*.md"):
        assert f'href="models/{card.stem}.html"' in html["index.html"].read_text(encoding="utf-8")
    flac = base64.b64encode(b"fLaC")[:-3].decode()  # how such a file begins
    assert html["listen/page.html"].read_text(encoding="utf-8").count(flac) == 6 * 3  # noisy, clean, ours
    assert (site / "listen" / "clean.wav").read_bytes() != (site / "listen" / "noisy.wav").read_bytes()


def assert_nothing_from_the_network(site: Path, links: dict[str, Links]) -> None:
    for name, found in links.items():
        assert not [address for address in found.loaded if re.match(r"(https?:)?//", address)], name
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import )['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style


def assert_no_link_is_broken(site: Path, links: dict[str, Links]) -> None:
    """Also those in HTML that is written as such, which MkDocs does not look at."""
    for name, found in links.items():
        if name == "404.html":
            continue  # its addresses are those of a server
        for address in (*found.loaded, *found.followed):
            path = address.partition("#")[0]
            if path and not re.match(r"\w+:", path):
                assert ((site / name).parent / path).exists(), f"{name}: {address}"
