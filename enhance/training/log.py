"""Numbers of a run: one JSON line each, and TensorBoard."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from enhance.files import not_written, replacing


class Log:
    """Writes to ``folder / name`` and ``folder / "tensorboard"``; does nothing unless ``active``.

    ``reached`` is, by kind of line, the step that the saved state knows of. Lines beyond it are of a process that was
    killed before it saved again: they are dropped, since those steps come again. EnhanceError if the disk refuses.
    """

    def __init__(self, folder: Path, name: str, active: bool, reached: dict[str, int]) -> None:
        self.folder, self.path, self.active, self.reached = folder, folder / name, active, reached

    def __enter__(self) -> Log:
        if self.active:
            from torch.utils.tensorboard import SummaryWriter

            with self._writing():
                self._drop_what_comes_again()
                self.writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.reached["train"] + 1)
        return self

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise not_written(self.path, error) from None

    def _drop_what_comes_again(self) -> None:
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        kept = [line for line in lines if self._is_known(line)]
        if kept != lines:
            with replacing(self.path) as temporary:
                temporary.write_text("".join(kept), encoding="utf-8")

    def _is_known(self, line: str) -> bool:
        """False for a line that the state does not know of, and for one that was cut off."""
        try:
            row = json.loads(line)
        except ValueError:
            return False
        return line.endswith("\n") and row["step"] <= self.reached[row["kind"]]

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self.active:
            return
        # What ended the run is not to be hidden by what that does to the log.
        with self._writing() if kind is None else contextlib.suppress(OSError):
            self.writer.close()

    def write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """``kind`` is train or valid; tables within ``values`` become paths in TensorBoard."""
        if not self.active:
            return
        with self._writing():
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
            for name, value in _flat(values):
                self.writer.add_scalar(f"{kind}/{name}", value, step)


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """The numbers in nested dictionaries, with their paths."""
    found = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)):
            found.append((prefix + name, value))
    return found
