"""The command line: one file a command. This one gathers them and turns errors into lines and exit codes.

Exit codes: 0 all done; 1 some inputs failed, the rest is done; 2 wrong usage, nothing done;
130 interrupted. Heavy packages are imported inside the commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import os
import signal
import sys

import typer

from enhance import __version__
from enhance.cli import bench, blend, denoise, export, live, models, prepare, refine, separate, train
from enhance.console import stderr
from enhance.errors import EnhanceError

app = typer.Typer(
    name="enhance",
    help="Speech enhancement: denoise recordings, train models, score them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"enhance {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    if debug:
        os.environ["ENHANCE_DEBUG"] = "1"


app.command(name="denoise")(denoise.denoise)
app.command(name="separate")(separate.separate)
app.add_typer(blend.app, name="blend")
app.command(name="train")(train.train)
app.command(name="prepare")(prepare.prepare)
app.command(name="refine")(refine.refine)
app.command(name="models")(models.models)
app.command(name="bench")(bench.bench)
app.command(name="live")(live.live)
app.command(name="export")(export.export)


def _ended(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def main() -> None:
    """Entry point of ``enhance``."""
    for name in ("SIGTERM", "SIGHUP"):  # so that `finally` removes what is half-written
        if (number := getattr(signal, name, None)) and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _ended)
    try:
        app()
    except EnhanceError as error:
        if os.environ.get("ENHANCE_DEBUG"):
            raise
        stderr().print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)
