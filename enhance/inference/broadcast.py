"""Chunks of WAV that libsndfile does not hand over: where a take belongs on the time line, what is marked in it.

``bext`` (EBU Tech 3285) has time reference, originator and coding history, ``iXML`` scene, take and track names,
``cue`` and the list ``adtl`` markers and their labels, ``smpl`` loops, ``axml``, ``_PMX`` and ``id3`` tags. They are
copied byte for byte: an output with the rate, the length and the beginning of its input has its time code and markers.
So are the list ``INFO`` of texts, of which libsndfile knows some, and the mask of the loudspeakers of the channels.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from enhance.errors import EnhanceError

WANTED = (b"bext", b"iXML", b"axml", b"cue ", b"smpl", b"_PMX", b"id3 ", b"ID3 ")
LABELS, TEXTS = b"adtl", b"INFO"  # lists: of the labels of markers, and of texts
EXTENSIBLE = 0xFFFE  # a format whose chunk has a mask of loudspeakers
MASK = 20  # where it is in that chunk, in bytes
LONGEST = 1 << 24  # bytes of a chunk that is copied; they have some thousand
LARGE = 0xFFFFFFFF  # a size of 32 bits that does not fit, or is not known


class Chunk(NamedTuple):
    """A piece of a RIFF file: where its content begins, in bytes, and how long it is without padding."""

    name: bytes
    start: int
    size: int


def read_chunks(path: Path) -> list[tuple[bytes, bytes]]:
    """Names and contents of such chunks of a WAV or RF64 file; none of any other file.

    What is cut off, or behind something that is no chunk, is left out. EnhanceError if the file cannot be read.
    """
    found = []
    try:
        with path.open("rb") as file:
            for name, start, size in _chunks(file):
                if name not in (*WANTED, b"LIST") or size > LONGEST:
                    continue
                file.seek(start)
                content = file.read(size)
                if name in WANTED or content[:4] in (LABELS, TEXTS):
                    found.append((name, content))
    except OSError as error:
        raise EnhanceError(f"{path}: cannot be read ({error.strerror})", "is it still there?") from None
    return found


def append_chunks(path: Path, chunks: list[tuple[bytes, bytes]]) -> None:
    """Add them at the end of a finished WAV file, each padded to an even length; audio stays as it is.

    A file of another kind, or one that would pass 4 GiB, is left alone. OSError if the disk does not take it.
    """
    if not chunks:
        return
    data = b"".join(
        name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2) for name, content in chunks
    )
    with path.open("rb+") as file:
        head = file.read(12)
        end = file.seek(0, os.SEEK_END)
        size = end + end % 2 + len(data) - 8
        if (head[:4], head[8:]) != (b"RIFF", b"WAVE") or size >= LARGE:
            return
        file.write(b"\0" * (end % 2) + data)
        file.seek(4)
        file.write(struct.pack("<I", size))


def copy_speakers(source: Path, target: Path) -> None:
    """Give a finished WAV file the loudspeakers of another with as many channels, if both say which these are.

    libsndfile writes its own for the number of channels, or none. OSError if the disk does not take it.
    """
    ours, theirs = _speakers(source), _speakers(target)
    if ours is None or theirs is None or ours[0] != theirs[0]:
        return
    with target.open("rb+") as file:
        file.seek(theirs[1])
        file.write(ours[2])


def _speakers(path: Path) -> tuple[int, int, bytes] | None:
    """Channels, where the mask of loudspeakers is in the file, in bytes, and the mask; None where there is none."""
    with path.open("rb") as file:
        for name, start, size in _chunks(file):
            if name == b"fmt " and size >= MASK + 4:
                file.seek(start)
                content = file.read(MASK + 4)
                kind, channels = struct.unpack("<HH", content[:4])
                return (channels, start + MASK, content[MASK:]) if kind == EXTENSIBLE else None
    return None


def _chunks(file: BinaryIO) -> Iterator[Chunk]:
    """The whole chunks of a WAV or RF64 file, in their order; nothing of any other file."""
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        return
    position, samples = 12, LARGE  # bytes of audio, where 32 bits do not hold them
    while position + 8 <= end:
        file.seek(position)
        name, size = struct.unpack("<4sI", file.read(8))
        start = position + 8
        if name == b"ds64" and size >= 16:
            samples = struct.unpack("<8xQ", file.read(16))[0]
        elif name == b"data" and size == LARGE:
            size = samples
        if not all(32 <= byte < 127 for byte in name) or start + size > end:
            return
        yield Chunk(name, start, size)
        position = start + size + size % 2
