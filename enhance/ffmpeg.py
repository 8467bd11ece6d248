"""ffmpeg as a child process: what soundfile cannot read or write goes through a pipe, in flat memory.

Samples travel as float32. Only local files are opened. Of several tracks of sound one is read; beside what is written
in its place, the others can be copied.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from enhance.errors import EnhanceError, NotEncoded
from enhance.mpeg import broadcast

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
# The others that are written again as what they were: ffmpeg's names of codecs, and of what encodes them well.
LOSSY = {
    "aac": "aac",
    "mp2": "mp2",
    "mp3": "libmp3lame",
    "opus": "libopus",
    "vorbis": "libvorbis",
    "ac3": "ac3",
    "eac3": "eac3",
}
BIT_RATE = 96_000  # a channel, of what loses something
BITS = 3.5  # and no more than so many a sample: codecs refuse what is too much for a low rate
SURROUND = 6  # channels, the most of ac3 and eac3
OPUS_LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")  # its encoder refuses all others
MOVIES = frozenset((".mov", ".mp4", ".m4v"))
PHONE_TAGS = r"^ +com\.(apple\.quicktime|android)\."  # place, camera and date of a recording
TAGS = ("title", "artist", "album", "comment", "date", "genre", "copyright", "track")
NO_REASON = (
    "Conversion failed!", "Thread message queue blocking", "Qavg:", "video:", "frame=", "size=", "Output file is empty",
)  # fmt: skip
NEVER_BEGAN = r"Error (initializing|opening) output|Could not write header|Unable to (find|choose) an? \w*.*format"
TRACK_TAGS = ("title", "handler_name")


@dataclass(frozen=True)
class Track:
    """A track of sound, as ffmpeg describes it."""

    coding: str  # for instance ``alac (alac), 48000 Hz, stereo, s32p (24 bit) (default)``
    tags: tuple[str, ...] = ()  # ``name=text``, among them its language

    @property
    def codec(self) -> str:
        """ffmpeg's name, empty if it knows none."""
        found = re.match(r"\w+", self.coding)
        return found[0] if found and found[0] != "none" else ""

    @property
    def subtype(self) -> str:
        """soundfile's name of samples with as many bits; empty if the codec loses something."""
        found = re.search(r", (u8|s16|s32|s64|flt|dbl)p?(?: \((\d+) bit\))?", self.coding)
        if found is None or not keeps_all(self.codec):
            return ""
        if found[1] in ("flt", "dbl"):
            return {"flt": "FLOAT", "dbl": "DOUBLE"}[found[1]]
        return f"PCM_{max(16, int(found[2] or found[1][1:]))}"

    @property
    def layout(self) -> str:
        """ffmpeg's name of how its loudspeakers stand, such as ``5.1(side)``; ``3 channels`` if that is not known."""
        found = re.search(r" Hz, ([^,]+)", self.coding)
        return found[1] if found else ""

    @property
    def default(self) -> bool:
        """Whether players take it if nobody chooses."""
        return "(default)" in self.coding


def keeps_all(codec: str) -> bool:
    """Whether this codec, as ffmpeg calls it, loses nothing, and ffmpeg writes it."""
    return codec in LOSSLESS or re.fullmatch(r"pcm_[suf]\d+[bl]e|pcm_u8", codec) is not None


def encoder(codec: str, channels: int) -> str:
    """What writes such a codec again, empty if that is not to be had: then the container has one of its own."""
    if keeps_all(codec):
        return codec
    name = LOSSY.get(codec, "")
    fits = channels <= SURROUND or codec not in ("ac3", "eac3")
    return name if fits and name in _encoders() else ""


@functools.cache
def _encoders() -> frozenset[str]:
    listing = subprocess.run([executable() or "ffmpeg", "-hide_banner", "-encoders"], capture_output=True, check=False)
    return frozenset(re.findall(r"^ A\S{5} (\S+)", listing.stdout.decode(errors="replace"), flags=re.MULTILINE))


def speakers(layout: str) -> int:
    """How many loudspeakers a layout of that name has; 0 if not all are on one level: encoders refuse those."""
    name = layout.partition("(")[0]
    if re.fullmatch(r"\d\.\d", name):
        return int(name[0]) + int(name[2])
    return {"mono": 1, "stereo": 2, "quad": 4, "hexagonal": 6, "octagonal": 8}.get(name, 0)


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


def one_clock(path: Path, *maps: str) -> list[str]:
    """Arguments by which the time of an input begins with the first of these tracks and those of other outputs.

    In what is broadcast ffmpeg has it begin with the first track that it uses: sound would be read on one clock, and
    pictures copied on another. An output that takes nothing uses those tracks; it costs no decoding.
    """
    if not broadcast(path):  # the others have one clock anyway, and what is not used need not be read
        return []
    return [*(part for each in maps for part in ("-map", each)), "-c", "copy", "-t", "0", "-f", "null", "-"]


class Decoder:
    """A track of sound of a file, counted from 0, as blocks of float32 ``(channels, time)`` at its own rate.

    Attributes: ``sample_rate``, ``channels``, ``seconds`` (of the container, 0 if unknown), ``tags``,
    ``video`` (is there a picture beside the sound), ``tracks`` (all of them), ``warning``. Raises EnhanceError if the
    file has no such track, no sound at all, or is no media file.
    """

    def __init__(self, path: Path, track: int = 0) -> None:
        self.path, self.track = path, track
        self.warning = ""
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        sound = ["-map", f"0:a:{track}", "-af", KEEP_TIME, "-c:a", "pcm_f32be", "-f", "au", "-"]
        others = one_clock(path, "0:u", "-0:d?")  # ``u``: a track of unknown format would end it
        self.process = start([*input_arguments(path), *sound, *others], self.log, "stdout")
        try:
            self.sample_rate, self.channels = self._header()
            text = read_log(self.log)
        except BaseException:
            self.close()
            raise
        lines = of_input(text).splitlines()
        self.video = any("Video:" in line and "attached pic" not in line for line in lines)
        found = re.search(r"Duration: (\d+):(\d+):(\d+\.\d+)", text)
        self.seconds = 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3]) if found else 0.0
        banner = text.partition("Duration:")[0]
        pairs = re.findall(r"^ {4}(\w+) *: (.*)$", banner, flags=re.MULTILINE)
        self.tags = {key.lower(): value for key, value in pairs if key.lower() in TAGS}
        self.tracks = sound_tracks(text)

    def _header(self) -> tuple[int, int]:
        """Rate and channel count from the header of the AU stream."""
        assert self.process.stdout is not None
        head = self.process.stdout.read(24)
        if len(head) < 24:
            self.process.wait()
            text = read_log(self.log)
            if "matches no streams" in text:
                check_track(self.path, self.track, len(sound_tracks(text)))
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


def check_track(path: Path, track: int, tracks: int) -> None:
    """EnhanceError unless the file has a track of that number, counted from 0."""
    if tracks and track >= tracks:
        what = f"{path}: --track {track + 1}, but there is one sound track"
        if tracks > 1:
            raise EnhanceError(what.replace("is one sound track", f"are {tracks} sound tracks"), f"give 1 to {tracks}")
        raise EnhanceError(what, "leave it out")


def of_input(text: str) -> str:
    """What ffmpeg says of its input, without what it says of outputs."""
    return re.split(r"^(?:Stream mapping:|Output #)", text, maxsplit=1, flags=re.MULTILINE)[0]


def sound_tracks(text: str) -> tuple[Track, ...]:
    """The tracks of sound of the input, from what ffmpeg says of it."""
    found = []
    for stream in re.split(r"^ +Stream #0:\d+", of_input(text), flags=re.MULTILINE)[1:]:
        about = re.match(r"(?:\[[^]]*\])?(?:\(([^)]*)\))?: Audio: (.*)", stream)
        if about is not None:
            tags = re.findall(r"^ {6}(\w+) *: (.*)$", stream, flags=re.MULTILINE)
            kept = [f"{name}={value}" for name, value in tags if name in TRACK_TAGS]
            found.append(Track(about[2], (*([f"language={about[1]}"] if about[1] else []), *kept)))
    return tuple(found)


class Encoder:
    """Blocks of float32 ``(channels, time)`` into a file whose ending says the container.

    Tags come from the file ``origin``. With ``tracks``, those of its sound, what is written takes the place of the one
    at ``place``, and the others, pictures and subtitles are copied. ``codec`` and ``subtype`` are those of
    :func:`encoder` and of a :class:`Track`, empty for what the container has by default. ``layout`` is that of a
    :class:`Track`, if empty of the one at ``place``.
    """

    def __init__(
        self,
        path: Path,
        sample_rate: int,
        channels: int,
        origin: Path,
        codec: str = "",
        subtype: str = "",
        tracks: Sequence[Track] = (),
        place: int = 0,
        layout: str = "",
    ) -> None:
        self.path = path
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        suffixes = origin.suffix.lower(), path.suffix.lower()
        layout = layout or (tracks[place].layout if tracks else "")
        arguments = ["-f", "f32le", "-ar", str(sample_rate), "-ac", str(channels)]
        arguments += [*placed(layout, channels, codec, suffixes[1]), "-i", "pipe:0", *input_arguments(origin)]
        if tracks:
            arguments += one_clock(origin, f"1:a:{place}")
        arguments += ["-map_metadata", "1", *(phone_tags(origin) if set(suffixes) <= MOVIES else ())]
        arguments += copied(tracks, place, same=suffixes[0] == suffixes[1]) if tracks else ["-map", "0:a"]
        arguments += [*quality(sample_rate, channels, codec, subtype, place if tracks else 0), f"file:{path}"]
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
        text = read_log(self.log)
        began = re.search(NEVER_BEGAN, text) is None
        raise (OSError if began else NotEncoded)(f"ffmpeg: {last_line(text)}")

    def close(self) -> None:
        stop(self.process)
        self.log.close()


def placed(layout: str, channels: int, codec: str, suffix: str) -> list[str]:
    """Arguments of raw samples for where their loudspeakers stand; none, so that ffmpeg guesses, if that is unknown."""
    opus = codec == "libopus" or (not codec and suffix in (".webm", ".opus"))
    refused = speakers(layout) != channels or (opus and layout not in OPUS_LAYOUTS)
    return [] if refused else ["-channel_layout", layout]


def phone_tags(origin: Path) -> list[str]:
    """Arguments that keep what a phone says of a recording, if it is one.

    They have ffmpeg write all tags by their names, where not all players look for the title of a film.
    """
    listing = subprocess.run(
        [executable() or "ffmpeg", "-hide_banner", *input_arguments(origin)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    banner = listing.stderr.decode(errors="replace").partition("Duration:")[0]
    if re.search(PHONE_TAGS, banner, flags=re.MULTILINE) is None:
        return []
    brands = ("major_brand", "minor_version", "compatible_brands")  # of the input: the output has its own
    return ["-movflags", "use_metadata_tags", *(part for name in brands for part in ("-metadata", f"{name}="))]


def copied(tracks: Sequence[Track], place: int, same: bool) -> list[str]:
    """Arguments that put the first input in the ``place`` of a track of the second, and copy all else of that.

    Into another container subtitles and attachments may not fit, and other tracks are encoded as it has them.
    """
    arguments = ["-map", "1:v?", "-c:v", "copy"]
    for number, track in enumerate(tracks):
        if number == place:
            arguments += ["-map", "0:a"]
            for tag in track.tags:
                arguments += [f"-metadata:s:a:{number}", tag]
            if track.default:
                arguments += [f"-disposition:a:{number}", "default"]
        else:
            arguments += ["-map", f"1:a:{number}", *([f"-c:a:{number}", "copy"] if same else [])]
    if same:
        arguments += ["-map", "1:s?", "-c:s", "copy", "-map", "1:t?", "-c:t", "copy"]
    return arguments


def quality(sample_rate: int, channels: int, codec: str, subtype: str, place: int) -> list[str]:
    """Arguments for how the track at that place is encoded."""
    arguments = [f"-c:a:{place}", codec] if codec else []
    if not keeps_all(codec):
        return [*arguments, f"-b:a:{place}", str(round(min(BIT_RATE, BITS * sample_rate)) * channels)]
    if codec in LOSSLESS and subtype.startswith("PCM"):
        bits = int(subtype.removeprefix("PCM_"))
        form = LOSSLESS[codec][bits > 16]
        arguments += [f"-sample_fmt:a:{place}", form, f"-bits_per_raw_sample:a:{place}", str(bits)]
    return arguments


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
    """The last line that says what went wrong, without the address ffmpeg puts before it."""
    lines = [re.sub(r"^\[[^]]*\] *", "", line).strip() for line in text.splitlines()]
    told = (line for line in reversed(lines) if line and not line.startswith(NO_REASON))
    return next(told, "no message")
