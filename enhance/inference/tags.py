"""Tags before the sound, byte for byte: the metadata blocks of FLAC, the ID3v2 tag of MP3.

libsndfile hands over a handful of texts; others, pictures, chapters and cue sheets it does not.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import BinaryIO, NamedTuple

from enhance.errors import EnhanceError

COMMENTS = 4  # a block of texts, which begins with the name of the encoder
WANTED = (2, COMMENTS, 5, 6)  # of FLAC: what applications keep, texts, a cue sheet, pictures (RFC 9639, section 8)


class Tags(NamedTuple):
    """What a file has before its sound: blocks of a FLAC file, or the one tag of an MP3 file."""

    container: str  # as soundfile calls it
    blocks: list[tuple[int, bytes]]  # kind and content


def read_tags(path: Path, container: str) -> Tags:
    """Of a FLAC or MP3 file, none of any other; what is cut off is left out.

    EnhanceError if the file cannot be read.
    """
    found: list[tuple[int, bytes]] = []
    if container in ("FLAC", "MP3"):
        try:
            with path.open("rb") as file:
                tag = _id3(file)
                if container == "FLAC":
                    found = [block for block in _flac_blocks(file, len(tag)) if block[0] in WANTED]
                elif tag:
                    found = [(0, tag)]
        except OSError as error:
            raise EnhanceError(f"{path}: cannot be read ({error.strerror})", "is it still there?") from None
    return Tags(container, found)


def put_tags(path: Path, container: str, tags: Tags) -> None:
    """Give a finished file of the same container these in place of its own; audio stays as it is.

    ``path`` is the temporary name of the file, beside which another is used in between.

    OSError if the disk does not take it.
    """
    if not tags.blocks or tags.container != container:
        return
    other = path.with_suffix(".tagged")  # still a temporary name, if that of path is
    try:
        with path.open("rb") as file, other.open("wb") as target:
            own = _id3(file)
            if container == "FLAC":
                blocks = _flac_blocks(file, len(own))
                audio = file.tell()
                target.write(_flac_head(blocks, tags.blocks))
            else:
                audio = len(own)
                target.write(tags.blocks[0][1])
            file.seek(audio)
            shutil.copyfileobj(file, target)
        other.replace(path)
    finally:
        other.unlink(missing_ok=True)


def _id3(file: BinaryIO) -> bytes:
    """The ID3v2 tag that a file begins with (ID3v2.4.0, section 3.1), empty if there is none or it is cut off."""
    head = file.read(10)
    if head[:3] != b"ID3" or len(head) < 10 or any(byte & 0x80 for byte in head[6:]):
        return b""
    size = sum(byte << 7 * place for place, byte in enumerate(reversed(head[6:])))
    size += 10 if head[5] & 0x10 else 0  # a footer
    rest = file.read(size)
    return head + rest if len(rest) == size else b""


def _flac_blocks(file: BinaryIO, start: int) -> list[tuple[int, bytes]]:
    """All metadata blocks of a FLAC file; none if it is damaged. Afterwards the file is where its audio begins."""
    file.seek(start)
    found, last = [], file.read(4) != b"fLaC"
    while not last:
        head = file.read(4)
        size = int.from_bytes(head[1:], "big")
        content = file.read(size)
        if len(head) < 4 or len(content) < size:
            return []
        last = bool(head[0] & 0x80)
        found.append((head[0] & 0x7F, content))
    return found


def _flac_head(own: list[tuple[int, bytes]], wanted: list[tuple[int, bytes]]) -> bytes:
    """The beginning of a FLAC file whose encoder wrote ``own``: what is ``wanted`` in place of the same kinds."""
    encoder = next((_vendor(content)[0] for kind, content in own if kind == COMMENTS), None)
    blocks = [block for block in own if block[0] not in WANTED]
    for kind, content in wanted:
        if kind == COMMENTS and encoder is not None:
            content = encoder + _vendor(content)[1]
        blocks.append((kind, content))
    flags = [0] * (len(blocks) - 1) + [0x80]  # the last one says so
    return b"fLaC" + b"".join(
        bytes([flag | kind]) + len(content).to_bytes(3, "big") + content
        for flag, (kind, content) in zip(flags, blocks, strict=True)
    )


def _vendor(comments: bytes) -> tuple[bytes, bytes]:
    """The name of the encoder, with its length before it, and the texts."""
    end = 4 + int.from_bytes(comments[:4], "little")
    return comments[:end], comments[end:]
