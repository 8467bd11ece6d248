"""``enhance models``: what there is."""

from __future__ import annotations

import json
from typing import Any

import typer

from enhance.console import stderr, stdout


def models(
    cost: bool = typer.Option(
        False, "--cost", help="Multiply-accumulates per second of audio too: counting them takes ten seconds."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object a line for each model, with its cost."),
) -> None:
    """List the models: size, rate, sources, whether weights are shipped, and how to cite them."""
    from enhance.models import presets
    from enhance.models.checkpoint import shipped

    weights = shipped()
    with stderr().status("counting parameters and operations"):
        rows = [_describe(name, name in weights, cost or as_json) for name in presets()]
    if as_json:
        for row in rows:
            print(json.dumps(row))
    else:
        _print_table(rows)


def _describe(name: str, has_weights: bool, cost: bool) -> dict[str, Any]:
    import torch

    from enhance.models import REGISTRY, create
    from enhance.models.cost import macs_per_second, parameters

    # Operations are counted on shapes without numbers; to load what these need takes longer than to draw all weights.
    with torch.device("meta" if cost else "cpu"):
        model = create(name)
    return {
        "name": name,
        "parameters": parameters(model),
        **({"macs_per_second": macs_per_second(model)} if cost else {}),
        "sample_rate": model.sample_rate,
        "sources": list(model.sources),  # pyright: ignore[reportArgumentType]
        "weights": has_weights,
        "citation": REGISTRY[type(model).__name__][1],
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("model", no_wrap=True)
    costs = "macs_per_second" in rows[0]
    for title in ("parameters", *["GMAC/s"] * costs, "Hz"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("sources")
    table.add_column("weights", no_wrap=True)
    table.add_column("paper")
    for row in rows:
        table.add_row(
            row["name"],
            f"{row['parameters']:,}",
            *([f"{row['macs_per_second'] / 1e9:.3f}"] if costs else []),
            str(row["sample_rate"]),
            ", ".join(row["sources"]),
            "shipped" if row["weights"] else "none",
            row["citation"],
        )
    stdout().print(table)
