"""Numbers of a run: one JSON line each, and TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Log:
    """Writes to ``folder / name`` and ``folder / "tensorboard"``; does nothing unless ``active``."""

    def __init__(self, folder: Path, name: str, active: bool) -> None:
        self.folder, self.path, self.active = folder, folder / name, active

    def __enter__(self) -> Log:
        if self.active:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.folder / "tensorboard"))
        return self

    def __exit__(self, *_: object) -> None:
        if self.active:
            self.writer.close()

    def write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """``kind`` is train or valid; tables within ``values`` become paths in TensorBoard."""
        if not self.active:
            return
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
