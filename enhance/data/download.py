"""Downloads that outlive broken connections: resumed, tried again, elsewhere too, and checked.

While a file comes it is called ``NAME.part``; ``NAME.part.json`` beside it says of which file it is a part.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from enhance import __version__
from enhance.console import warn
from enhance.errors import EnhanceError
from enhance.files import not_written, remove_stale, replacing

CHUNK = 1 << 18  # bytes
TRIES = 5  # at one address that bring nothing new, in a row
WRONG = 3  # downloads from one address with a wrong checksum
PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds; doubled with each fruitless try
TIMEOUT = 60.0  # seconds without a byte
PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))  # answers that may be different in a while

Progress = Callable[[int, "int | None"], object]  # bytes that are there, and of how many if that is known


class _Failed(Exception):
    """One try came to nothing; ``final`` where another one at this address would too."""

    def __init__(self, reason: str, final: bool = False, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.final, self.pause = final, pause


@dataclass
class _Source:
    """Of what a part is: ``validator`` is the ETag or the date that the server gave the file."""

    url: str = ""
    validator: str = ""
    total: int | None = None  # bytes


class _Part:
    """What is there of a file, with its source, both surviving the process."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".part")
        self.note = target.with_name(target.name + ".part.json")
        self.source = _Source()
        with contextlib.suppress(OSError, ValueError, TypeError):
            self.source = _Source(**json.loads(self.note.read_text(encoding="utf-8")))

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def begin(self, source: _Source) -> None:
        """Empty, of that source: in this order, so that no byte is ever taken for one of another file."""
        self.clear()
        self.source = source
        with replacing(self.note) as temporary:
            temporary.write_text(json.dumps(asdict(source)), encoding="utf-8")

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.source = _Source()


def fetch(
    urls: Sequence[str],
    target: Path,
    md5: str | None,
    progress: Progress = lambda there, total: None,
    size: int | None = None,
) -> None:
    """Download ``target`` from the first of ``urls`` (http, https) that gives the file with that MD5.

    Goes on with what an earlier call left, starts again where a server cannot do that, and does nothing if
    the file is there and was checked: ``NAME.md5`` beside it, in the format of md5sum, says so. Without
    ``md5`` the announced length is all that is checked. ``size`` in bytes is compared before anything is taken.
    EnhanceError, with the reason of each address, if none gives it; if the file that is there is another one;
    if the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(target)
    remove_stale([part.note])
    if not _stamped(target, md5):
        if not target.exists():
            _download_from_any(urls, part, md5, size, progress)
            part.path.replace(target)
        elif md5 and (found := _md5(target)) != md5:
            raise EnhanceError(f"{target}: has the MD5 {found} instead of {md5}", "delete it to have it downloaded")
    part.clear()
    if md5 and not _stamped(target, md5):
        _stamp(target).write_text(f"{md5}  {target.name}\n", encoding="utf-8")


def _stamp(target: Path) -> Path:
    return target.with_name(target.name + ".md5")


def _stamped(target: Path, md5: str | None) -> bool:
    """Was this file checked, and not touched since? One without MD5 is complete if it has its name."""
    if md5 is None or not target.exists():
        return target.exists()
    stamp = _stamp(target)
    if not stamp.exists() or stamp.stat().st_mtime_ns < target.stat().st_mtime_ns:
        return False
    return stamp.read_text(encoding="utf-8").split()[:1] == [md5]


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _download_from_any(urls: Sequence[str], part: _Part, md5: str | None, size: int | None, progress: Progress) -> None:
    reasons = []
    for url in urls:
        reason = _download(url, part, md5, size, progress)
        if reason is None:
            return
        reasons.append(f"{url}: {reason}")
    target = part.path.with_suffix("")
    hint = f"run it again later to go on, or put the file there yourself: {target}"
    raise EnhanceError(f"{target.name}: cannot be downloaded ({'; '.join(reasons)})", hint)


def _download(url: str, part: _Part, md5: str | None, size: int | None, progress: Progress) -> str | None:
    """The whole file into ``part``, or why this address did not give it."""
    fruitless, wrong, most = 0, 0, part.size
    while True:
        pause = 0.0
        try:
            _try(url, part, md5, size, progress)
            if md5 is None or (found := _md5(part.path)) == md5:
                return None
            part.clear()
            reason, wrong, most = f"MD5 {found} instead of {md5}", wrong + 1, 0
            if wrong == WRONG:
                return reason
        except _Failed as failure:
            reason, pause = str(failure), failure.pause
            if failure.final:
                return reason
        if part.size > most:
            fruitless, most = 0, part.size
        else:
            fruitless += 1
            if md5 and part.size and _md5(part.path) == md5:  # the announced length was not true
                return None
            if fruitless == TRIES:
                return reason
        pause = min(max(pause, PAUSE * 2**fruitless / 2), LONGEST_PAUSE)
        warn(f"{part.path.stem}: {reason}; trying again in {pause:g} s")
        time.sleep(pause)


def _try(url: str, part: _Part, md5: str | None, size: int | None, progress: Progress) -> None:
    """One request, its answer appended to ``part``; _Failed if the file is not complete then."""
    if not md5 and (part.source.url != url or not part.source.validator):
        part.clear()  # nothing would tell a mixture of two files
    response = _open(url, part)
    if response is None:
        return
    with response:
        total = _continue(response, url, part, size)
        progress(part.size, total)
        try:
            with part.path.open("ab") as file:
                there = file.tell()
                while block := _receive(response):
                    there += file.write(block)
                    progress(there, total)
        except OSError as error:
            raise not_written(part.path, error) from None
    if total is not None and there != total:
        raise _Failed(f"broke off after {there:,} of {total:,} bytes")


def _open(url: str, part: _Part) -> HTTPResponse | None:
    """The server's answer to a request for what is missing; None if it says that nothing is."""
    headers = {"User-Agent": f"enhance/{__version__}", "Accept-Encoding": "identity"}
    have, source = part.size, part.source
    if have:
        headers["Range"] = f"bytes={have}-"
        if source.url == url and source.validator:
            headers["If-Range"] = source.validator
    try:
        return urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        with error:
            if error.code != 416:
                wanted = error.headers.get("Retry-After", "")
                pause = float(wanted) if wanted.isdecimal() else 0.0
                raise _Failed(f"HTTP {error.code} {error.reason}", error.code not in PASSING, pause) from None
            if error.headers.get("Content-Range") == f"bytes */{have}":
                return None
        part.clear()
        raise _Failed("the file there is shorter than what was got") from None
    except ValueError as error:  # not an address
        raise _Failed(str(error), final=True) from None
    except (OSError, HTTPException) as error:
        raise _Failed(_reason(error)) from None


def _continue(response: HTTPResponse, url: str, part: _Part, size: int | None) -> int | None:
    """Bytes of the whole file, if the answer says so; ``part`` becomes what the answer continues."""
    headers = response.headers
    length = headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else None
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
        total = int(found[2]) if found and found[2] != "*" else None
        expected = part.source.total
        if found is None or int(found[1]) != part.size or (total and expected and total != expected):
            part.clear()
            raise _Failed("the file there is not the one that was begun")
    if size is not None and total not in (None, size):
        raise _Failed(f"offers {total:,} bytes instead of {size:,}")
    if response.status != 206:
        tag = headers.get("ETag", "")  # a weak one, W/"...", is not for ranges
        part.begin(_Source(url, tag if tag.startswith('"') else headers.get("Last-Modified", ""), total))
    missing = (total or 0) - part.size
    if missing > (free := shutil.disk_usage(part.path.parent).free):
        raise EnhanceError(
            f"{part.path.parent}: {free / 1e9:.1f} GB free, but {part.path.stem} needs {missing / 1e9:.1f} GB",
            "make room or choose another folder",
        )
    return total


def _receive(response: HTTPResponse) -> bytes:
    try:
        return response.read1(CHUNK)
    except (OSError, HTTPException) as error:
        raise _Failed(_reason(error)) from None


def _reason(error: Exception) -> str:
    """One line: of urllib's errors the cause, of those without text the kind."""
    return str(getattr(error, "reason", "") or error) or type(error).__name__
