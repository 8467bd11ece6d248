"""What MkDocs adds to the pages while it builds them: everything here comes from the program, nothing is kept twice.

* the pages beside the weights (``enhance/pretrained/*.md``), in the navigation below "Models",
* sounds and the listening page of ``enhance bench --html``, made by the model in the package,
* pictures of ``benchmarks/results``,
* tables of a command's options (``<!-- options: denoise -->``, ``<!-- options: blend fit -->``), of a recipe's
  ``settings``, ``losses``, ``metrics``; the name of the ``default model``.
"""

from __future__ import annotations

import inspect
import re
import tempfile
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.models import OptionInfo

ROOT = Path(__file__).parent.parent
PICTURES = ("speed.png", "distributions.png", "gain.png")
METRICS = ("pesq_wb", "si_sdr")
VALUES = {  # how a value is called whose option has no name for it
    bool: "", int: "N", int | None: "N", float: "NUMBER", str: "TEXT", str | None: "TEXT", list[str]: "TEXT",
    Path: "PATH", Path | None: "PATH", list[Path]: "PATH",
}  # fmt: skip
CLIPS = 6  # of the twelve in the package: the page holds their sounds


def on_config(config: MkDocsConfig) -> None:
    """The model cards, below "Models"."""
    section = next(group for entry in config.nav or [] for group in entry.get("Look it up", []) if "Models" in group)
    section["Models"] += [{card.stem: f"models/{card.name}"} for card in cards()]


def cards() -> list[Path]:
    """The pages beside the weights."""
    return sorted((ROOT / "enhance" / "pretrained").glob("*.md"))


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Pages, pictures and sounds that do not lie in ``docs/``."""
    for card in cards():
        files.append(File.generated(config, f"models/{card.name}", abs_src_path=str(card)))
    for name in PICTURES:
        path = ROOT / "benchmarks" / "results" / name
        files.append(File.generated(config, f"results/{name}", abs_src_path=str(path)))
    noisy = ROOT / "examples" / "noisy.wav"
    files.append(File.generated(config, "listen/noisy.wav", abs_src_path=str(noisy)))
    for name, content in sounds().items():
        files.append(File.generated(config, f"listen/{name}", content=content))


@cache  # `mkdocs serve` builds again at every change
def sounds() -> dict[str, bytes]:
    """``clean.wav``, what the default model makes of the example, and ``page.html``, where one listens to more."""
    import enhance
    from enhance import audio
    from enhance.bench.listening import write_listening_page
    from enhance.bench.run import Request, prepare, run
    from enhance.bench.summary import footer, summarise
    from enhance.models.checkpoint import DEFAULT

    bench = prepare(Request(models=(DEFAULT,), metrics=METRICS, limit=CLIPS))
    records = run(bench)
    about = {**bench.about, "seconds": sum(record.seconds for record in records if record.system == DEFAULT)}
    command = ["enhance", "bench", "--models", DEFAULT, "--metrics", ",".join(METRICS), "--limit", str(CLIPS)]
    foot = footer([*command, "--html", "page.html"], bench.job.device, bench.request.jobs)
    summary = summarise(records, bench.systems, bench.clips, METRICS, None, about, foot)
    wave, rate = audio.read(ROOT / "examples" / "noisy.wav")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_listening_page(folder / "page.html", bench, summary, records)
        audio.write(folder / "clean.wav", enhance.denoise(wave, rate), rate)
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Tables and names in the place of their marks."""
    markdown = re.sub(r"<!-- options: (\w+(?: \w+)?) -->", lambda found: "\n".join(options(found[1])), markdown)
    for name, table in {"settings": settings, "losses": losses, "metrics": metrics}.items():
        if (mark := f"<!-- {name} -->") in markdown:
            markdown = markdown.replace(mark, "\n".join(table()))
    if (mark := "<!-- default model -->") in markdown:
        from enhance.models.checkpoint import DEFAULT

        markdown = markdown.replace(mark, f"`{DEFAULT}`")
    return markdown


def options(command: str) -> Iterator[str]:
    """A table of what ``enhance COMMAND`` takes, from the program itself."""
    from enhance import cli

    *groups, name = command.split()
    app: Any = cli.app
    for group in groups:
        app = next(each.typer_instance for each in app.registered_groups if each.name == group)
    known = {each.name or each.callback.__name__: each.callback for each in app.registered_commands}
    function: Any = known[name]
    kinds = typing.get_type_hints(function)
    yield from ("| option | meaning | default |", "| --- | --- | --- |")
    for parameter in inspect.signature(function).parameters.values():
        about = parameter.default  # typer's: what the command line shows
        name = about.metavar or parameter.name.upper()
        if isinstance(about, OptionInfo):
            names = about.param_decls or (f"--{parameter.name.replace('_', '-')}",)
            name = " ".join((", ".join(names), about.metavar or VALUES[kinds[parameter.name]])).strip()
        default = "" if about.default in (None, False, "", [], ...) else f"`{about.default}`"
        yield f"| `{cell(name)}` | {cell(about.help or '')} | {default} |"


def settings() -> Iterator[str]:
    """A table of every setting of a recipe, from the class that checks it."""
    from enhance.training.recipe import Recipe

    yield from ("| setting | default | meaning |", "| --- | --- | --- |")
    for key, field in fields(Recipe):
        default = "" if field.is_required() else f"`{field.default}`"
        yield f"| `{key}` | {cell(default)} | {cell(field.description or '')} |"


def losses() -> Iterator[str]:
    """A table of the losses that a recipe may name, with their options."""
    from enhance.losses import LOSSES

    yield from ("| loss | options | what |", "| --- | --- | --- |")
    for name, function in LOSSES.items():
        known = list(inspect.signature(function).parameters.values())[3:]
        given = ", ".join(f"`{option.name}={option.default}`" for option in known)
        summary = (inspect.getdoc(function) or "").partition("\n\n")[0]
        yield f"| `{name}` | {cell(given)} | {cell(summary)} |"


def metrics() -> Iterator[str]:
    """A table of the metrics that ``enhance bench`` knows."""
    from enhance.metrics import METRICS

    yield from ("| name | score | unit | better | needs |", "| --- | --- | --- | --- | --- |")
    for name, metric in METRICS.items():
        needs = {"the clean reference": metric.needs_reference, "the mixture": metric.needs_mixture}
        wanted = " and ".join(what for what, needed in needs.items() if needed)
        better = "higher" if metric.higher_is_better else "lower"
        yield f"| `{name}` | {metric.label} | {metric.unit} | {better} | {wanted} |"


def fields(table: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """The settings of a table and of the tables in it, by their full names."""
    for name, field in table.model_fields.items():
        kinds = typing.get_args(field.annotation) or (field.annotation,)  # a table, or a table or None
        if isinstance(kinds[0], type) and issubclass(kinds[0], BaseModel):
            yield from fields(kinds[0], f"{prefix}{name}.")
        else:
            yield prefix + name, field


def cell(text: str) -> str:
    """Text that does not end a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
