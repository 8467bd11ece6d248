"""Sound files in and out, and resampling. Waveforms are float32 ``(channels, time)``, full scale ±1.

Reading goes through soundfile, and through ffmpeg for what soundfile does not know (m4a, mp4, mkv, ...).
Everything works in blocks, so that memory does not grow with the length of a file.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from enhance import ffmpeg
from enhance.errors import EnhanceError
from enhance.files import replacing

if TYPE_CHECKING:
    import soundfile

# Ending of a file -> soundfile's name of the container
CONTAINERS = {
    ".wav": "WAV", ".wave": "WAV", ".rf64": "RF64", ".w64": "W64", ".flac": "FLAC", ".ogg": "OGG",
    ".oga": "OGG", ".opus": "OGG", ".mp3": "MP3", ".aif": "AIFF", ".aiff": "AIFF", ".aifc": "AIFF",
    ".au": "AU", ".snd": "AU", ".caf": "CAF", ".sph": "NIST",
}  # fmt: skip
VIDEOS = frozenset((
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".wmv", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".mxf", ".flv",
    ".3gp", ".ogv",
))  # fmt: skip
SOUNDS = CONTAINERS.keys() | {".m4a", ".m4b", ".aac", ".mka", ".wma", ".amr", ".ac3", ".ape", ".wv", ".mp2"}
TAGS = ("title", "artist", "album", "comment", "date", "genre", "copyright", "tracknumber", "license")
FLOATS = frozenset(("FLOAT", "DOUBLE"))
# Codecs that take samples over full scale as they are; what is neither here nor above is made of integers.
LOSSY = frozenset(("VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"))
# Sizes in headers of what was written into a pipe: none, or nearly the largest number of 31 or 32 bits.
ADD_PEAK_CHUNK = 0x1050  # SFC_SET_ADD_PEAK_CHUNK of sndfile.h, which soundfile has no method for
UNKNOWN_SIZES = (range(1), range(0x7FFF0000, 0x80000000), range(0xFFFF0000, 0x100000000))
# Of soundfile's levels from 0, the best, to 1: transparent, where its own are half as good as what ffmpeg writes.
COMPRESSION: dict[str, Any] = {
    "MPEG_LAYER_III": {"compression_level": 0.0, "bitrate_mode": "VARIABLE"},
    "VORBIS": {"compression_level": 0.2},
}
SLICE = 16384  # frames handed to libsndfile at once: its Vorbis encoder keeps them on the stack


@dataclass(frozen=True)
class Info:
    """What a sound file says of itself; ``container`` and ``subtype`` as soundfile calls them."""

    path: Path
    sample_rate: int  # Hz
    channels: int
    frames: int  # as the header promises, 0 if it does not
    container: str = ""  # empty where ffmpeg reads the file
    subtype: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    video: bool = False
    tracks: tuple[ffmpeg.Track, ...] = ()  # of sound, of what ffmpeg reads
    track: int = 1  # the one that is read, counted from 1

    @property
    def codec(self) -> str:
        """Of what ffmpeg reads, as it calls it."""
        return self.tracks[self.track - 1].codec if self.track <= len(self.tracks) else ""

    @property
    def layout(self) -> str:
        """How its loudspeakers stand, of what ffmpeg reads, as it calls it."""
        return self.tracks[self.track - 1].layout if self.track <= len(self.tracks) else ""

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


class Reader(Protocol):
    """A sound file opened for reading, block by block; ``warning`` is filled when it ends too early."""

    info: Info

    @property
    def warning(self) -> str: ...

    def read(self, frames: int) -> np.ndarray: ...

    def close(self) -> None: ...


class SoundFileReader:
    """A file that libsndfile reads."""

    def __init__(self, path: Path, sound: soundfile.SoundFile) -> None:
        self.sound = sound
        self.warning: str = ""
        self.position = 0
        tags = {name: text for name in TAGS if (text := _text(sound, name))}
        frames = max(sound.frames, self._promised())
        self.info = Info(path, sound.samplerate, sound.channels, frames, sound.format, sound.subtype, tags)

    def _promised(self) -> int:
        """Frames that a WAV or AIFF header promises where the file is shorter than that, else 0."""
        found = re.search(r"(?:data|SSND) *: (\d+) \(should be (\d+)\)", self.sound.extra_info)
        if found is None or any(int(found[1]) in sizes for sizes in UNKNOWN_SIZES) or int(found[2]) == 0:
            return 0
        return round(self.sound.frames * int(found[1]) / int(found[2]))

    def read(self, frames: int) -> np.ndarray:
        """The next ``frames`` samples ``(channels, frames)``, fewer at the end."""
        import soundfile

        block = np.empty((frames, self.info.channels), dtype=np.float32)
        try:
            count = len(self.sound.read(out=block))
        except soundfile.LibsndfileError:  # the rest is damaged; before that there may be good samples
            count = max(0, min(frames, self.sound.tell() - self.position))
        self.position += count
        if count < frames:
            self._check_length()
        return np.ascontiguousarray(block[:count].T)

    def _check_length(self) -> None:
        promised, rate = self.info.frames, self.info.sample_rate
        tolerance = promised // 50 if self.info.subtype.startswith("MPEG") else 0  # may be an estimate
        if self.position < promised - tolerance:
            self.warning = (
                f"{self.info.path}: cut off, the header promises {promised / rate:.2f} s; "
                f"used the {self.position / rate:.2f} s that are there"
            )

    def close(self) -> None:
        self.sound.close()


class FfmpegReader:
    """A file that ffmpeg decodes: its first track of sound, or the one of that number, counted from 1."""

    def __init__(self, path: Path, track: int = 1) -> None:
        self.decoder = decoder = ffmpeg.Decoder(path, track - 1)
        rate, tracks = decoder.sample_rate, decoder.tracks
        tags = {"tracknumber" if key == "track" else key: text for key, text in decoder.tags.items()}
        frames = round(decoder.seconds * rate)
        subtype = tracks[track - 1].subtype if track <= len(tracks) else ""
        self.info = Info(path, rate, decoder.channels, frames, "", subtype, tags, decoder.video, tracks, track)

    @property
    def warning(self) -> str:
        return self.decoder.warning

    def read(self, frames: int) -> np.ndarray:
        """The next ``frames`` samples ``(channels, frames)``, fewer at the end."""
        return self.decoder.read(frames)

    def close(self) -> None:
        self.decoder.close()


@contextlib.contextmanager
def opened(path: str | Path, track: int = 1) -> Iterator[Reader]:
    """A reader of that file, of the track of sound of that number, counted from 1, if it has several.

    EnhanceError if it is missing, unreadable, without sound or without that track, or needs ffmpeg.
    """
    reader = _open(Path(path), track)
    try:
        yield reader
    finally:
        reader.close()


def _text(sound: soundfile.SoundFile, name: str) -> str:
    """A tag. Before UTF-8, programs wrote the letters of their own system: most often those of Windows in the West."""
    import soundfile

    data = soundfile._snd.sf_get_string(sound._file, soundfile._str_types[name])  # pyright: ignore
    raw = soundfile._ffi.string(data) if data else b""  # pyright: ignore
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def _name(path: Path) -> Any:
    """A path as soundfile takes it; on POSIX a name is bytes, and need not be UTF-8."""
    return str(path) if os.name == "nt" else os.fsencode(path)


def _open(path: Path, track: int) -> Reader:
    import soundfile

    if path.is_dir():
        if not os.access(path, os.R_OK | os.X_OK):
            raise EnhanceError(f"{path}: this folder may not be looked into", "check its permissions")
        raise EnhanceError(f"{path}: is a folder", "give a sound file")
    if not path.exists():
        raise EnhanceError(f"{path}: no such file", "check the name")
    if not path.is_file():
        raise EnhanceError(f"{path}: is a pipe or a device", "give a sound file")
    if not os.access(path, os.R_OK):
        raise EnhanceError(f"{path}: may not be read", "check its permissions")
    if path.stat().st_size == 0:
        raise EnhanceError(f"{path}: holds no samples", "the file is empty; give a recording")
    try:
        reader = SoundFileReader(path, soundfile.SoundFile(_name(path)))
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a headerless .raw
        if ffmpeg.executable() is not None:
            return FfmpegReader(path, track)
    else:
        if track > 1:
            reader.close()
            ffmpeg.check_track(path, track - 1, 1)
        return reader
    if path.suffix.lower() in CONTAINERS:
        raise EnhanceError(f"{path}: not an audio file", "convert it to WAV, or install ffmpeg")
    raise EnhanceError(f"{path}: reading it needs ffmpeg", "install ffmpeg and put it on PATH")


def info(path: str | Path, track: int = 1) -> Info:
    """Rate, channels, frames and encoding of a sound file. Raises what :func:`opened` raises."""
    with opened(path, track) as reader:
        return reader.info


def blocks(reader: Reader, frames: int) -> Iterator[np.ndarray]:
    """The samples in blocks of ``frames``: float32 ``(channels, time)``.

    EnhanceError, with file and position, at a sample that is NaN or infinite, or if there are no samples.
    """
    path, rate, position = reader.info.path, reader.info.sample_rate, 0
    while (block := reader.read(frames)).shape[1]:
        if not np.isfinite(block).all():
            frame = position + int(np.argmin(np.isfinite(block).all(axis=0)))
            raise EnhanceError(
                f"{path}: sample {frame} (at {frame / rate:.3f} s) is NaN or infinite",
                "repair or export the file again",
            )
        position += block.shape[1]
        yield block
    if not position:
        raise EnhanceError(f"{path}: holds no samples", "give a recording")


def read(path: str | Path, track: int = 1) -> tuple[np.ndarray, int]:
    """A whole file, float32 ``(channels, time)``, and its rate. Raises what `opened` and `blocks` do."""
    with opened(path, track) as reader:
        return np.concatenate(list(blocks(reader, 1 << 20)), axis=1), reader.info.sample_rate


def integer_bits(subtype: str) -> int:
    """Bits of an integer sample, 0 for floats and lossy codecs; logarithmic and adaptive ones count as 16."""
    if subtype in FLOATS | LOSSY:
        return 0
    found = re.search(r"(?:PCM_[SU]?|ALAC_|DWVW_)(\d+)$", subtype)
    return int(found[1]) if found else 16


class SoundFileWriter:
    """Blocks of float32 ``(channels, time)`` into a file that libsndfile writes.

    Integer samples are rounded and clipped, never wrapped around; ``clipped`` counts samples beyond full
    scale. Rounding is the inverse of reading: what is read and written unchanged keeps its bits.
    """

    def __init__(
        self, path: Path, sample_rate: int, channels: int, container: str, subtype: str, tags: dict[str, str]
    ) -> None:
        import soundfile

        self.frames = 0
        self.clipped = 0
        self.bits = integer_bits(subtype)
        self.path = path
        try:
            form = _name(path), "w", sample_rate, channels, subtype
            self.sound = soundfile.SoundFile(*form, format=container, **COMPRESSION.get(subtype, {}))
        except soundfile.LibsndfileError as error:  # no room for the header
            raise OSError(error.error_string) from None
        # Of floats libsndfile writes the peak with the time of day: the same sound would not give the same bytes.
        soundfile._snd.sf_command(self.sound._file, ADD_PEAK_CHUNK, soundfile._ffi.NULL, 0)  # pyright: ignore
        for name, text in tags.items():
            with contextlib.suppress(soundfile.LibsndfileError):  # not every container has every tag
                setattr(self.sound, name, text)

    def write(self, wave: np.ndarray) -> None:
        """Append ``(channels, time)``; OSError if the disk does not take it."""
        import soundfile

        frames = np.ascontiguousarray(wave.T)
        if self.bits:
            frames = self._integers(frames)
        try:
            for start in range(0, len(frames), SLICE):
                self.sound.write(frames[start : start + SLICE])
        except (soundfile.LibsndfileError, AssertionError) as error:  # AssertionError: fewer than asked for
            raise OSError(str(error) or "write failed") from None
        self.frames += len(frames)

    def _integers(self, wave: np.ndarray) -> np.ndarray:
        self.clipped += int(np.count_nonzero(np.abs(wave) > 1))
        scale = 2.0 ** (self.bits - 1)
        exact = np.float32 if self.bits <= 24 else np.float64  # holds every integer of so many bits
        scaled = np.multiply(wave, scale, dtype=exact)
        np.rint(scaled, out=scaled)
        np.clip(scaled, -scale, scale - 1, out=scaled)
        integers = scaled.astype(np.int32)
        integers <<= 32 - self.bits  # libsndfile takes the upper bits
        return integers

    def finish(self) -> None:
        """End the file and read its header again: some of libsndfile's encoders are silent on a full disk."""
        import soundfile

        self.sound.close()
        try:
            there = soundfile.info(_name(self.path)).frames
        except soundfile.LibsndfileError as error:
            raise OSError(str(error)) from None
        if there < self.frames and not self.path.suffix.lower() == ".mp3":
            raise OSError(f"only {there} of {self.frames} frames were written")

    def close(self) -> None:
        import soundfile

        with contextlib.suppress(soundfile.LibsndfileError):
            self.sound.close()


def write(path: str | Path, wave: np.ndarray, sample_rate: int, subtype: str | None = None) -> None:
    """Write float32 ``(channels, time)`` or ``(time,)``; the ending says the container.

    ``subtype`` is soundfile's name (``"PCM_16"``, ``"PCM_24"``, ``"FLOAT"``), by default the container's
    usual one. The file appears complete or not at all. EnhanceError for an ending that soundfile cannot
    write, or if the disk does not take it.
    """
    import soundfile

    path = Path(path)
    container = CONTAINERS.get(path.suffix.lower())
    if container is None:
        raise EnhanceError(f"{path}: not an ending that can be written", "take .wav or .flac")
    if subtype is None:
        subtype = "OPUS" if path.suffix.lower() == ".opus" else str(soundfile.default_subtype(container))
    wave = np.atleast_2d(wave)
    with replacing(path) as temporary:
        writer = SoundFileWriter(temporary, sample_rate, len(wave), container, subtype, {})
        with contextlib.closing(writer):
            writer.write(wave)
            writer.finish()


def resample(wave: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """``(..., time)`` at another rate (Hz): float32 ``(..., ceil(time * to_rate / from_rate))``, no delay."""
    if from_rate == to_rate:
        return np.asarray(wave, dtype=np.float32)
    import soxr

    flat = np.reshape(wave, (-1, np.shape(wave)[-1])).astype(np.float32)  # (rows, T)
    length = -(-flat.shape[1] * to_rate // from_rate)
    padded = np.pad(flat, ((0, 0), (0, from_rate // to_rate + 2)))  # the last samples as well
    result = soxr.resample(padded.T, from_rate, to_rate, quality="VHQ").T[:, :length]
    return np.ascontiguousarray(result).reshape(*np.shape(wave)[:-1], -1)
