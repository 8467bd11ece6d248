"""What is broadcast, told from its first bytes: MPEG-TS and MPEG-PS (ISO/IEC 13818-1)."""

from __future__ import annotations

from pathlib import Path

SYNC, PACK = 0x47, b"\0\0\1\xba"  # what packets of MPEG-TS begin with, and packs of MPEG-PS


def broadcast(path: Path) -> bool:
    """Whether this is MPEG-TS, with or without the time stamps of cameras and discs, or MPEG-PS."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    packets = (head[first::size] for size in (188, 192, 204) for first in range(size))
    return len(head) > 1024 and (PACK in head or any(set(starts) == {SYNC} for starts in packets))
