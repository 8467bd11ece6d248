"""The project as a whole: lint, format, types, layers, start-up time, generated text."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["pyright", "--pythonpath", sys.executable],
        ["lint-imports"],
        ["python", "benchmarks/report.py", "--check"],
    ],
    ids=" ".join,
)
def test_checks_are_clean(command):
    result = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_help_is_quick_and_imports_nothing_heavy():
    """As quick as its libraries allow: at most half as much again as importing these takes."""
    program = (
        "import sys; from enhance.cli import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'torchaudio', 'scipy', 'museval', 'matplotlib', 'numpy'} & set(sys.modules)))"
    )
    libraries = "import typer, rich.panel, rich.table, rich.markdown, rich.console, rich.traceback"
    times: dict[str, list[float]] = {program: [], libraries: []}
    for text in [program, libraries] * 5:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times[text].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert text == libraries or result.stdout.rstrip().endswith("[]")
    assert min(times[program]) < 1.5 * min(times[libraries])  # of CPU time: tests may run beside other work


def test_import_is_free():
    program = "import sys, enhance; print('torch' in sys.modules, 'numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "False False\n"


def test_files_are_short():
    """Over 400 lines a file wants a reason; there is none yet."""
    long = [str(path) for path in ROOT.glob("enhance/**/*.py") if len(path.read_text().splitlines()) > 400]
    assert long == []
