"""``data.toml`` of a recipe: which archives hold a data set of pairs, and what is in them."""

from __future__ import annotations

import tomllib
from pathlib import Path, PurePath

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from enhance.errors import EnhanceError

NAME = "data.toml"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Archive(_Table):
    """A zip file to download; without an ``optional`` one the data set can be prepared too."""

    name: str
    urls: list[str] = Field(min_length=1, description="in order of preference")
    md5: str | None = None
    size: int | None = Field(None, gt=0, description="bytes")
    optional: bool = False

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if PurePath(name).name != name or not name.endswith(".zip"):
            raise ValueError("give the name of a .zip file, without folders")
        return name


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


def read(folder: Path) -> DataRecipe:
    """The ``data.toml`` of a folder; EnhanceError with all mistakes in it."""
    path = folder / NAME
    try:
        return DataRecipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise EnhanceError(f"{path}: cannot be read ({error.strerror})", "check its permissions") from None
    except ValidationError as error:
        mistakes = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise EnhanceError(f"{path}: {len(mistakes)} mistake(s)", "; ".join(mistakes)) from None
    except ValueError as error:  # of the syntax or of the encoding
        raise EnhanceError(f"{path}: not TOML", str(error)) from None
