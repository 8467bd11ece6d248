"""``data.toml`` of a recipe: which files hold a data set (pairs, recordings to mix, stems), and what is in it."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from enhance.errors import EnhanceError

NAME = "data.toml"
ENDINGS = (".zip", ".tar.gz")
Share = Annotated[float, Field(gt=0, lt=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Archive(_Table):
    """An archive to download; without an ``optional`` one the data set can be prepared too."""

    name: str
    urls: list[str] = Field(min_length=1, description="in order of preference")
    md5: str | None = None
    size: int | None = Field(None, gt=0, description="bytes")
    optional: bool = False

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if PurePath(name).name != name or not name.endswith(ENDINGS):
            raise ValueError(f"give the name of a {' or '.join(ENDINGS)} file, without folders")
        return name

    @property
    def stem(self) -> str:
        """Its name without the ending."""
        return next(self.name.removesuffix(ending) for ending in ENDINGS if self.name.endswith(ending))


class Half(_Table):
    """Folders, named as their archives, of the pairs for training or of those for the test."""

    noisy: str
    clean: str
    count: int = Field(gt=0, description="pairs that must be there")
    log: str | None = Field(None, description="file with lines of ID NOISE SNR")


class DataRecipe(_Table):
    """A data set of pairs, split by speaker: the name of a clip begins with its speaker and ``_``."""

    name: str
    sample_rate: int = Field(gt=0, description="of what is prepared, Hz")
    valid_speakers: list[str] = Field(min_length=1, description="of `train`, held out for validation")
    train: Half
    test: Half
    archives: list[Archive]


class Tree(_Table):
    """A folder of recordings of one kind. The unit of splits is what ``item`` finds, else the folder of a file."""

    source: str = Field(description="name of the collection")
    kind: Literal["speech", "noise", "music", "rir"]
    folders: list[str] = Field(min_length=1, description="what its path ends in, at any depth; one of these")
    item: str | None = Field(None, description="expression that finds the speaker or recording in a file's path")
    without: str | None = Field(None, description="expression for paths of files that are no recordings of that kind")
    licence: str = ""

    @field_validator("item", "without")
    @classmethod
    def _is_an_expression(cls, text: str | None) -> str | None:
        try:
            re.compile(text or "")
        except re.error as error:
            raise ValueError(f"not a regular expression ({error})") from None
        return text


class MixRecipe(_Table):
    """Recordings to be mixed: trees of folders, of which those that are there are taken, the first that matches."""

    name: str
    sample_rate: int = Field(gt=0, description="of what is prepared, Hz")
    rooms: int = Field(0, ge=0, description="simulated rooms to add")
    skip: list[str] = Field([], description="names of folders that are never looked into, such as test sets")
    trees: list[Tree] = Field(min_length=1)
    archives: list[Archive] = []


class StemRecipe(_Table):
    """Recordings whose sources lie apart, all of one length; :mod:`enhance.data.stems` says what each layout is.

    Folders are relative to the one that is given when it is prepared.
    """

    name: str
    layout: Literal["sources", "tracks", "moisesdb"]
    sample_rate: int = Field(gt=0, description="of what is prepared, Hz")
    channels: Literal[1, 2]
    sources: list[str] = Field(min_length=1)
    optional: list[str] = Field([], description="sources that are taken where the first recording has them")
    train: str = Field("", description="folder of the recordings for training; empty: the one that is given")
    valid: str | list[str] | Share = Field(
        description="held out: another folder, or of those for training a list or a share of their artists"
    )
    test: str | Share | None = Field(None, description="likewise, written out for `enhance bench`; nothing without it")

    @field_validator("sources", "optional")
    @classmethod
    def _are_names(cls, names: list[str]) -> list[str]:
        if bad := [name for name in names if not re.fullmatch(r"\w+", name) or name == "mixture"]:
            raise ValueError(f"{bad[0]!r} is no name of a source")
        return names

    @model_validator(mode="after")
    def _has_a_place_for_the_rest(self) -> StemRecipe:
        if self.layout == "moisesdb" and "other" not in self.sources:
            raise ValueError("sources: stems of MoisesDB that are none of them need 'other'")
        return self


FORMS: dict[str, type[DataRecipe | MixRecipe | StemRecipe]] = {"trees": MixRecipe, "layout": StemRecipe}


def read(folder: Path) -> DataRecipe | MixRecipe | StemRecipe:
    """The ``data.toml`` of a folder; EnhanceError with all mistakes in it.

    Of recordings if it has ``trees``, of stems if it has a ``layout``, else of pairs.
    """
    path = folder / NAME
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
        form = next((form for key, form in FORMS.items() if key in settings), DataRecipe)
        return form.model_validate(settings)
    except OSError as error:
        raise EnhanceError(f"{path}: cannot be read ({error.strerror})", "check its permissions") from None
    except ValidationError as error:
        mistakes = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise EnhanceError(f"{path}: {len(mistakes)} mistake(s)", "; ".join(mistakes)) from None
    except ValueError as error:  # of the syntax or of the encoding
        raise EnhanceError(f"{path}: not TOML", str(error)) from None


def check_place(folder: Path, marks: Mapping[str, str], settings: Any, force: bool) -> None:
    """EnhanceError unless ``folder`` is empty, or what the same ``settings`` prepared: its mark, by name, says which.

    With ``force`` other settings are no hindrance.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        about = json.loads((folder / marks[folder.name]).read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        raise EnhanceError(f"{folder}: holds something other than prepared data", "give another --data") from None
    if about != settings and not force:
        raise EnhanceError(f"{folder}: was prepared with other settings", "give --force to make it again")
