"""Recipes: one flat TOML an experiment, the only description of a training run."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from enhance import losses
from enhance.data import stem_labels
from enhance.data.mixing import MixingConfig, Range
from enhance.data.stem_dataset import StemConfig
from enhance.data.stem_labels import contradicted
from enhance.errors import EnhanceError
from enhance.nn.precision import Precision

ALL = "all"  # modules of a model
Decay = Annotated[float, Field(ge=0, lt=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(_Table):
    """Where the examples come from."""

    path: Annotated[str, BeforeValidator(str)] = Field(
        description="prepared data set, relative to the working directory; of shards also a URL that fsspec opens"
    )
    kind: Literal["mixtures", "pairs", "shards", "stems"] = Field(
        "mixtures", description="mixed on the fly, pairs as they are, mixed on the fly from shards, or stems"
    )
    remix: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of examples, of pairs with the noise of another one, of stems each from another recording",
    )
    sources: list[str] = Field([], description="of stems: the targets")
    others: list[str] = Field([], description="of stems: what else is in the mixture")
    gain_db: Range = Field((0.0, 0.0), description="of stems: random gain of each, (lowest, highest)")
    swap: float = Field(0.0, ge=0, le=1, description="of stems: how often the two channels of one are exchanged")
    seconds: float = Field(2.0, gt=0, description="length of a training example")
    epoch_hours: float = Field(
        10.0, gt=0, description="audio of an epoch, whose number is part of every example's key; not of shards"
    )
    workers: int = Field(1, ge=0, description="processes that mix")
    mixing: MixingConfig = MixingConfig()  # pyright: ignore[reportCallIssue]

    @property
    def targets(self) -> list[str] | None:
        """Names of several sources, None where the target is clean speech."""
        if self.kind == "stems":
            return self.sources
        return None if self.mixing.sources is None else [*self.mixing.sources]


class OptimConfig(_Table):
    """AdamW or Muon with warm-up and cosine decay, clipping and an average of the weights."""

    optimizer: Literal["adamw", "muon"] = Field("adamw", description="muon: for matrices, and AdamW for the rest")
    lr: float = Field(1e-3, gt=0, description="learning rate after the warm-up")
    final_lr: float = Field(1e-5, ge=0, description="learning rate after the last step")
    warmup: int = Field(300, ge=0, description="steps")
    steps: int = Field(10000, gt=0)
    batch: int = Field(16, gt=0, description="examples a batch and process")
    accumulate: int = Field(1, gt=0, description="batches an update")
    weight_decay: float = Field(1e-2, ge=0)
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    clip: float = Field(5.0, gt=0, allow_inf_nan=True, description="largest norm of the gradient")
    ema: Decay = Field(0.998, description="decay of the average of the weights, per step")


class RunConfig(_Table):
    """How the machine is used."""

    devices: int = Field(1, gt=0, description="processes a machine, one a GPU")
    nodes: int = Field(1, gt=0, description="machines")
    precision: Precision = Field("bf16-mixed", description="32-true also where the processor has no bfloat16")
    compile: bool = True
    channels_last: bool = Field(False, description="images of convolutions in the order that some backends prefer")
    save_every: int = Field(200, gt=0, description="steps between two saves of the state")
    log_every: int = Field(50, gt=0, description="steps between two lines of the log")
    threads: int = Field(1, gt=0, description="threads of the training process on a CPU")
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"


class ValidConfig(_Table):
    """The fixed list of mixtures of the held-out speakers and noises, and when it is scored."""

    every: int = Field(1000, gt=0, description="steps")
    clips: int = Field(8, gt=0, description="mixtures of each kind")
    seconds: float = Field(4.0, gt=0)


class Dimension(_Table):
    """What a setting may be in a search: one of ``choices``, or between ``low`` and ``high`` (whole if both are)."""

    choices: list[bool | int | float | str] | None = Field(None, min_length=1)
    low: int | float | None = None
    high: int | float | None = None
    step: int | float | None = None
    log: bool = False

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Dimension:
        if (self.choices is None) == (self.low is None or self.high is None):
            raise ValueError("give either choices, or low and high")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("low is above high")
        if self.step is not None and (
            self.step <= 0 or (all(isinstance(x, int) for x in (self.low, self.high)) and self.step % 1)
        ):
            raise ValueError("step must be above zero, and whole where low and high are")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other")
        return self

    def example(self) -> Any:
        """A value of it."""
        return self.choices[0] if self.choices is not None else self.low


class Stage(_Table):
    """Steps in which one module of a cascade learns, and the others stay as they are."""

    train: str = Field(ALL, description="name of the module; its own estimate has the loss")
    steps: int | None = Field(None, gt=0, description="all that are left, of the last stage, unless given")
    lr: float | None = Field(
        None, gt=0, description="learning rate after the warm-up in place of optim.lr; it decays to optim.final_lr"
    )


class RefineConfig(_Table):
    """Stems whose label is not what a separator hears in them; ``enhance refine`` writes what it hears."""

    model: str = Field(description="separator of the same sources: a checkpoint, or the name of a shipped model")
    labels: Path = Field(description="table that `enhance refine` writes and `enhance train` reads")
    activity: float = Field(0.5, gt=0, lt=1, description="least share of a stem's energy that is its label's")
    flagged: Literal["leave out", "relabel"] = Field("leave out", description="relabel: where another source has it")


class SearchConfig(_Table):
    """What ``enhance train --tune`` varies: ``space`` maps settings such as ``optim.lr`` to what they may be."""

    trials: int = Field(20, gt=0, description="that are finished or given up")
    pruner: Literal["median", "hyperband"] = "median"
    space: dict[str, Dimension] = Field(min_length=1)


class Recipe(_Table):
    """A training run. ``loss`` maps names of losses to weights, ``loss_options`` to their arguments."""

    name: str
    model: str = Field(description="preset")
    model_options: dict[str, Any] = {}
    init: Path | list[Path] | dict[str, Path] | None = Field(
        None,
        description="checkpoint to start from, or the name of a shipped model; of several, the mean of the weights; of "
        "a cascade also a table, with a checkpoint for each module",
    )
    seed: int = Field(1, ge=0, lt=2**64)
    loss: dict[str, float] = Field(min_length=1)
    loss_options: dict[str, dict[str, Any]] = {}
    permute: bool = Field(False, description="the sources have no order: each example's targets take the best one")
    auxiliary: dict[str, float] = Field({}, description="losses of a cascade's earlier estimates, and their weights")
    stages: list[Stage] = Field([], description="the first of optim.steps; in those left over, all is trained")
    data: DataConfig
    optim: OptimConfig = OptimConfig()  # pyright: ignore[reportCallIssue]
    run: RunConfig = RunConfig()  # pyright: ignore[reportCallIssue]
    valid: ValidConfig = ValidConfig()  # pyright: ignore[reportCallIssue]
    refine: RefineConfig | None = None
    search: SearchConfig | None = None

    @field_validator("loss", "auxiliary")
    @classmethod
    def _losses_exist(cls, weights: dict[str, float]) -> dict[str, float]:
        for name in weights:
            _create_loss(name, {})
        return weights

    @field_validator("loss_options")
    @classmethod
    def _options_exist(cls, options: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, arguments in options.items():
            _create_loss(name, arguments)
        return options

    @model_validator(mode="after")
    def _stages_fit(self) -> Recipe:
        if any(stage.steps is None for stage in self.stages[:-1]):
            raise ValueError("stages: only the last one may leave out its steps")
        taken = sum(stage.steps or 1 for stage in self.stages)
        if taken > self.optim.steps:
            raise ValueError(f"stages take {taken} steps, optim.steps is {self.optim.steps}")
        return self

    @model_validator(mode="after")
    def _targets_fit(self) -> Recipe:
        if self.data.kind == "pairs" and self.data.mixing.sources is not None:
            raise ValueError("data.mixing.sources: pairs have one target")
        if (self.data.kind == "stems") != bool(self.data.sources):
            raise ValueError("data.sources: name the targets of stems, and of nothing else")
        if self.refine is not None and self.data.kind != "stems":
            raise ValueError("refine: is for data.kind = stems")
        if both := set(self.data.sources) & set(self.data.others):
            raise ValueError(f"data.others: {min(both)} is a target")
        return self

    @property
    def stems(self) -> StemConfig:
        """How examples are made of stems. EnhanceError where the table of ``refine`` is missing or none."""
        data, relabelled = self.data, {}
        if self.refine is not None:
            relabelled = contradicted(stem_labels.read(self.refine.labels), self.refine.activity)
            if self.refine.flagged == "leave out":
                relabelled = dict.fromkeys(relabelled)
        return StemConfig(data.sources, data.others, data.remix, data.gain_db, data.swap, relabelled)

    def stage(self, step: int) -> tuple[Stage, int]:
        """The stage of that step, counted from zero, and the step that it begins with."""
        begin = 0
        for stage in self.stages:
            end = self.optim.steps if stage.steps is None else begin + stage.steps
            if step < end:
                return stage, begin
            begin = end
        return Stage(train=ALL, steps=None, lr=None), begin


def _create_loss(name: str, options: dict[str, Any]) -> None:
    """ValueError, which pydantic collects, where there is no such loss or option."""
    try:
        losses.create(name, **options)
    except EnhanceError as error:
        raise ValueError(str(error)) from None


def read(path: Path, overrides: list[str]) -> Recipe:
    """The recipe of a TOML file, or of ``default.toml`` in a folder, with ``table.key=value`` overrides.

    ``base = "other.toml"`` in it names a recipe whose settings hold where it gives none. Raises EnhanceError
    with all mistakes in one report, unknown keys with the nearest known one.
    """
    if path.is_dir():
        path = path / "default.toml"
    settings = _merged(path)
    for override in overrides:
        _override(settings, override)
    settings.setdefault("name", path.stem if path.stem != "default" else path.parent.name)
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        raise EnhanceError(f"{path}: {error.error_count()} mistake(s)", "\n" + "\n".join(_mistakes(error))) from None


def _merged(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path in above:
        raise EnhanceError(f"{path}: is its own base", "break the circle of base = …")
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EnhanceError(f"{path}: no such recipe", "give a folder of recipes/ or a TOML file in it") from None
    except ValueError as error:  # of the syntax or of the encoding
        raise EnhanceError(f"{path}: not TOML", str(error)) from None
    base = settings.pop("base", None)
    return _overlay(_merged(path.parent / base, (*above, path)), settings) if base else settings


def _overlay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """``above`` on ``below``, table by table; the tables of losses and interferers are replaced whole."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = _overlay(below[key], value) if both and key not in ("loss", "auxiliary", "interferers") else value
    return merged


def _override(settings: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise EnhanceError(f"--set {override}", "write it as --set table.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word: a string without quotes
    *tables, last = key.strip().split(".")
    for table in tables:
        settings = settings.setdefault(table, {})
        if not isinstance(settings, dict):
            raise EnhanceError(f"--set {override}", f"{table} is not a table")
    settings[last] = value


def _mistakes(error: ValidationError) -> Iterator[str]:
    for mistake in error.errors():
        key = ".".join(map(str, mistake["loc"])) or "recipe"
        message = mistake["msg"].removeprefix("Value error, ")
        if mistake["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, _known_keys(Recipe), n=1, cutoff=0.3)
            message = "unknown" + (f", did you mean {near[0]}?" if near else "")
        yield f"  {key}: {message}"


def _known_keys(table: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in table.model_fields.items():
        keys.append(prefix + name)
        for kind in (field.annotation, *get_args(field.annotation)):  # a table, a list of them, one or none
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                keys += _known_keys(kind, f"{prefix}{name}.")
    return keys


def dump(recipe: Recipe) -> str:
    """The resolved recipe as JSON, to be written beside the checkpoint."""
    return json.dumps(recipe.model_dump(mode="json"), indent=2)
