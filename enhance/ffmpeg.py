"""ffmpeg as a child process: what soundfile cannot read or write goes through a pipe, in flat memory.

Samples travel as float32. Only local files are opened, and only the first audio stream counts unless another is named.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import IO

import numpy as np

from enhance.errors import EnhanceError

AU_FLOAT = 6
# Silence in place of what is missing at the start or in between, so that sound and picture stay together.
KEEP_TIME = "aresample=async=1:first_pts=0"
# Codecs that lose nothing and that ffmpeg writes, as it calls them, beside pcm_...; and the sample formats of 16 and
# more bits that their encoders take.
LOSSLESS = {
    "alac": ("s16p", "s32p"),
    "flac": ("s16", "s32"),
    "wavpack": ("s16p", "s32p"),
    "tta": ("s16", "s32"),
}
TAGS = ("title", "artist", "album", "comment", "date", "genre", "copyright", "track")


def executable() -> str | None:
    """Path of ``ffmpeg``, None if it is not installed."""
    return shutil.which("ffmpeg")


def start(arguments: list[str], log: IO[bytes], pipe: str) -> subprocess.Popen[bytes]:
    """ffmpeg with a pipe to stdin or stdout, in a session of its own: Ctrl-C reaches it through us."""
    program = executable()
    if program is None:
        raise EnhanceError("ffmpeg is not installed", "install it and put it on PATH")
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, pipe: subprocess.PIPE}
    command = [program, "-hide_banner", "-nostats", "-y", *arguments]
    return subprocess.Popen(command, stderr=log, start_new_session=True, **streams)  # type: ignore[call-overload]


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that is no longer wanted."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    if process.poll() is None:
        process.kill()
    process.wait()


def input_arguments(path: Path) -> list[str]:
    # A play list may name addresses on the network: nothing but local files is opened.
    return ["-protocol_whitelist", "file,pipe,fd", "-i", f"file:{path}"]


class Decoder:
    """An audio stream of a file, the first by default, as blocks of float32 ``(channels, time)`` at its own rate.

    Attributes: ``sample_rate``, ``channels``, ``seconds`` (of the container, 0 if unknown), ``tags``,
    ``video`` (is there a picture beside the sound), ``codec`` and ``subtype`` (of a stream that lost nothing: ffmpeg's
    name, and soundfile's of samples with as many bits; else empty), ``warning``. Raises EnhanceError if the file has no
    sound or is no media file at all.
    """

    def __init__(self, path: Path, stream: int = 0) -> None:
        self.path = path
        self.warning = ""
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        sound = ["-map", f"0:a:{stream}", "-af", KEEP_TIME, "-c:a", "pcm_f32be", "-f", "au", "-"]
        self.process = start([*input_arguments(path), *sound], self.log, "stdout")
        try:
            self.sample_rate, self.channels = self._header()
            text = read_log(self.log)
        except BaseException:
            self.close()
            raise
        self.video = any("Video:" in line and "attached pic" not in line for line in text.splitlines())
        found = re.search(r"Duration: (\d+):(\d+):(\d+\.\d+)", text)
        self.seconds = 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3]) if found else 0.0
        banner = text.partition("Duration:")[0]
        pairs = re.findall(r"^ {4}(\w+) *: (.*)$", banner, flags=re.MULTILINE)
        self.tags = {key.lower(): value for key, value in pairs if key.lower() in TAGS}
        self.codec, self.subtype = lossless(text.partition("Stream mapping:")[0], stream)

    def _header(self) -> tuple[int, int]:
        """Rate and channel count from the header of the AU stream."""
        assert self.process.stdout is not None
        head = self.process.stdout.read(24)
        if len(head) < 24:
            self.process.wait()
            text = read_log(self.log)
            if "matches no streams" in text:
                raise EnhanceError(f"{self.path}: has no sound", "give a file with an audio stream")
            raise EnhanceError(f"{self.path}: not an audio file", "neither libsndfile nor ffmpeg can read it")
        magic, offset, _, encoding, sample_rate, channels = struct.unpack(">4s5I", head)
        assert magic == b".snd"
        assert encoding == AU_FLOAT
        self.process.stdout.read(offset - 24)
        return sample_rate, channels

    def read(self, frames: int) -> np.ndarray:
        """The next ``frames`` samples ``(channels, frames)``, fewer at the end."""
        assert self.process.stdout is not None
        data = self.process.stdout.read(frames * self.channels * 4)
        whole = len(data) // (4 * self.channels)
        if whole < frames and self.process.wait() != 0:
            reason = last_line(read_log(self.log))
            self.warning = f"{self.path}: damaged ({reason}); used what could be read"
        samples = np.frombuffer(data, dtype=">f4", count=whole * self.channels)
        return np.ascontiguousarray(samples.reshape(whole, self.channels).T, dtype=np.float32)

    def close(self) -> None:
        stop(self.process)
        self.log.close()


def lossless(text: str, stream: int) -> tuple[str, str]:
    """Codec, and soundfile's name of its samples, of an audio stream that lost nothing; else both are empty.

    ``text`` is what ffmpeg says of the input, for instance ``Audio: alac (alac), 48000 Hz, stereo, s32p (24 bit)``.
    """
    found = re.findall(r"Audio: (\w+)[^\n]*?, (u8|s16|s32|s64|flt|dbl)p?(?: \((\d+) bit\))?", text)
    if stream >= len(found):
        return "", ""
    codec, sample, bits = found[stream]
    if codec not in LOSSLESS and not re.fullmatch(r"pcm_[suf]\d+[bl]e|pcm_u8", codec):
        return "", ""
    if sample in ("flt", "dbl"):
        return codec, {"flt": "FLOAT", "dbl": "DOUBLE"}[sample]
    return codec, f"PCM_{max(16, int(bits or sample[1:]))}"


class Encoder:
    """Blocks of float32 ``(channels, time)`` into a file whose ending says the container.

    Tags come from the file ``origin``; with ``video`` its pictures and subtitles are copied untouched. ``codec`` and
    ``subtype`` are those of :func:`lossless`, empty for what the container has by default.
    """

    def __init__(
        self,
        path: Path,
        sample_rate: int,
        channels: int,
        origin: Path | None,
        video: bool,
        codec: str = "",
        subtype: str = "",
    ) -> None:
        self.path = path
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        arguments = ["-f", "f32le", "-ar", str(sample_rate), "-ac", str(channels), "-i", "pipe:0"]
        if origin is not None:
            arguments += [*input_arguments(origin), "-map_metadata", "1"]
        if video:
            arguments += ["-map", "1:v?", "-c:v", "copy"]
            if origin is not None and origin.suffix.lower() == path.suffix.lower():
                arguments += ["-map", "1:s?", "-c:s", "copy"]
        if codec:
            quality = ["-c:a", codec]
            if codec in LOSSLESS and subtype.startswith("PCM"):
                bits = int(subtype.removeprefix("PCM_"))
                quality += ["-sample_fmt", LOSSLESS[codec][bits > 16], "-bits_per_raw_sample", str(bits)]
        else:
            quality = ["-b:a", f"{96 * channels}k"]
        arguments += ["-map", "0:a", *quality, f"file:{path}"]
        self.process = start(arguments, self.log, "stdin")

    def write(self, wave: np.ndarray) -> None:
        """Append ``(channels, time)``; OSError with ffmpeg's reason if it has given up."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(np.ascontiguousarray(wave.T, dtype="<f4").tobytes())
        except BrokenPipeError:
            self._failed()

    def finish(self) -> None:
        """End the file; OSError if ffmpeg failed."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            self._failed()
        if self.process.wait() != 0:
            self._failed()

    def _failed(self) -> None:
        self.process.wait()
        raise OSError(f"ffmpeg: {last_line(read_log(self.log))}")

    def close(self) -> None:
        stop(self.process)
        self.log.close()


def read_log(log: IO[bytes]) -> str:
    """What ffmpeg has said so far.

    It shares the file's position with us and may be writing: after a ``seek`` its next line would land on the first.
    """
    if hasattr(os, "pread"):
        data = os.pread(log.fileno(), 200_000, 0)
    else:  # Windows
        log.seek(0)
        data = log.read(200_000)
    return data.decode("utf-8", errors="replace")


def last_line(text: str) -> str:
    """The last line that says something, without the address ffmpeg puts before it."""
    lines = [re.sub(r"^\[[^]]*\] *", "", line).strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if line and line != "Conversion failed!"), "no message")
