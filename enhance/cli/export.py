"""``enhance export``: a model for programs without PyTorch."""

from __future__ import annotations

from pathlib import Path

import typer

from enhance.console import note
from enhance.errors import EnhanceError


def export(
    model: str = typer.Argument(..., metavar="MODEL", help="Name from `enhance models`, or a file."),
    output: Path = typer.Option(..., "--output", "-o", metavar="OUT.onnx", help="Where to write."),
    force: bool = typer.Option(False, "--force", "-f", help="Overwrite an output that exists."),
) -> None:
    """Write a streaming model as an ONNX file: one block in, one block out, its memory beside them.

    The file is compared with PyTorch before it appears; examples/onnx_denoise.py shows how to use it.
    """
    if output.suffix != ".onnx":
        raise EnhanceError(f"{output}: not a name for an ONNX file", "end it with .onnx")
    if output.exists() and not force:
        raise EnhanceError(f"{output}: exists", "choose another name with -o, or add --force")
    from enhance.inference.export import export_onnx
    from enhance.models.checkpoint import load_model

    export_onnx(load_model(model), model, output, progress=note)
    note(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")
