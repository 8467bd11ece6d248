"""Voice Bank + DEMAND in miniature, and a server that has bad days."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import re
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from signals import voice

TRAIN = ("p226_001", "p227_001", "p227_002", "p287_001", "p287_002", "p228_001")
TEST = ("p232_001", "p257_001", "p257_002")
SECONDS = {name: 0.6 + 0.13 * number for number, name in enumerate(TRAIN + TEST)}
FOLDERS = {
    "clean_trainset_28spk_wav": TRAIN,
    "noisy_trainset_28spk_wav": TRAIN,
    "clean_testset_wav": TEST,
    "noisy_testset_wav": TEST,
}


def waves(name: str, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy and clean int16 ``(time,)`` of that pair."""
    seed = (TRAIN + TEST).index(name)
    clean = 0.5 * voice(SECONDS[name], seed, rate)
    noisy = clean + 0.05 * np.random.default_rng(seed).standard_normal(len(clean))
    return tuple(np.rint(wave.clip(-1, 1) * 32767).astype(np.int16) for wave in (noisy, clean))


def logs() -> dict[str, str]:
    """Name to text of the logs: ID, noise, SNR."""
    halves = {"log_trainset_28spk.txt": TRAIN, "log_testset.txt": TEST}
    return {log: "".join(f"{name} bus {2.5 + 5 * (n % 2)}\n" for n, name in enumerate(h)) for log, h in halves.items()}


def write_folders(root: Path, rate: int = 48000) -> Path:
    """The unpacked archives below ``root``."""
    for folder, names in FOLDERS.items():
        (root / folder).mkdir(parents=True)
        for name in names:
            soundfile.write(root / folder / f"{name}.wav", waves(name, rate)[folder.startswith("clean")], rate)
    for log, text in logs().items():
        (root / log).write_text(text)
    return root


def archives(folders: Path) -> dict[str, bytes]:
    """Name to bytes of the archives of what :func:`write_folders` wrote."""
    found = {}
    for name in (*FOLDERS, "logfiles"):
        inside = sorted((folders / name).glob("*")) if name in FOLDERS else sorted(folders.glob("log_*.txt"))
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in inside:
                archive.write(path, path.relative_to(folders))
        found[f"{name}.zip"] = file.getvalue()
    return found


def recipe(folder: Path, files: dict[str, bytes], address: str = "http://127.0.0.1:9") -> Path:
    """A folder with the ``data.toml`` of these archives."""
    folder.mkdir(parents=True, exist_ok=True)
    text = f"""name = "voicebank"
sample_rate = 16000
valid_speakers = ["p226", "p287"]
[train]
noisy = "noisy_trainset_28spk_wav"
clean = "clean_trainset_28spk_wav"
log = "log_trainset_28spk.txt"
count = {len(TRAIN)}
[test]
noisy = "noisy_testset_wav"
clean = "clean_testset_wav"
log = "log_testset.txt"
count = {len(TEST)}
"""
    for name, data in files.items():
        checked = "optional = true" if name == "logfiles.zip" else f'md5 = "{hashlib.md5(data).hexdigest()}"'
        text += f'[[archives]]\nname = "{name}"\n{checked}\nurls = ["{address}/{name}"]\n'
    (folder / "data.toml").write_text(text)
    return folder


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files``, answering each request as the next of ``plan`` says, and well when that is used up.

    ``requests`` are the paths that were asked for, with the range; ``sent`` counts bytes of files.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.plan, self.requests, self.sent = files, list[str](), list[tuple[str, str]](), 0
        self.tagged = True  # the answers have an ETag
        self.pause = 0.0  # seconds between blocks

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """A client that was killed is part of the tests."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range", "")
        server.requests.append((self.path, wanted))
        how = server.plan.pop(0) if server.plan else "well"
        data = server.files.get(self.path.strip("/"))
        if how.isdecimal() or data is None:
            self.send_response(int(how) if how.isdecimal() else 404)
            self.send_header("Retry-After", "7")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        tag = f'"{hashlib.sha256(data).hexdigest()}"'
        found = re.fullmatch(r"bytes=(\d+)-", wanted)
        start = int(found[1]) if found and "ignores" not in how else 0
        if server.tagged and self.headers.get("If-Range", tag) != tag:
            start = 0
        if start >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.answer(data, start, tag, how)

    def answer(self, data: bytes, start: int, tag: str, how: str) -> None:
        body = data[start:]
        announced = len(body) + 1000 * (("too long" in how) - ("too short" in how))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if self.server.tagged:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(announced))
        self.end_headers()
        if "breaks" in how or how == "stalls":
            body = body[: len(body) // 2]
        if how == "damages":
            body = bytes([body[0] ^ 1]) + body[1:]
        for place in range(0, len(body), 8192):
            self.server.sent += len(body[place : place + 8192])  # before the client has them, and asks
            self.wfile.write(body[place : place + 8192])
            time.sleep(self.server.pause)
        if how == "stalls":
            self.wfile.flush()
            time.sleep(1.0)
        self.close_connection = True


@contextlib.contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Server]:
    """A server of these files, in a thread."""
    with Server(files) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
