"""How an output file is encoded, and writing it."""

from __future__ import annotations

import contextlib
import io
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from enhance import ffmpeg
from enhance.audio import CONTAINERS, LOSSY, SOUNDS, VIDEOS, Info, SoundFileWriter, integer_bits
from enhance.errors import EnhanceError
from enhance.files import not_written, replacing
from enhance.inference.broadcast import append_chunks, copy_speakers, read_chunks
from enhance.inference.tags import put_tags, read_tags

HOLDERS = VIDEOS | {".m4a", ".m4b", ".mka"}  # of what may be a picture, or several tracks of sound
WAV_LIMIT = 4_000_000_000  # bytes of samples; beyond, a WAV is written as RF64


@dataclass(frozen=True)
class Encoding:
    """soundfile's names of container and subtype; empty where ffmpeg encodes, by the ending of the file."""

    container: str = ""
    subtype: str = ""
    codec: str = ""  # what ffmpeg writes, where that is what the input has; else the container's own
    whole: bool = False  # pictures, subtitles and other tracks of sound are copied from the input


def choose_encoding(target: Path, source: Info) -> Encoding:
    """The input's container and subtype if the ending is the same, else the nearest of the target's.

    EnhanceError if nothing here can write such a file.
    """
    suffix = target.suffix.lower()
    same = suffix == source.path.suffix.lower()
    if same and source.container and _writable(source.container, source.subtype, source):
        return _large(Encoding(source.container, source.subtype), source)
    lossless = same and not source.container and ffmpeg.keeps_all(source.codec)  # FLAC in Ogg, for instance
    if suffix in CONTAINERS and not lossless:
        encoding = Encoding(CONTAINERS[suffix], nearest_subtype(suffix, source.subtype))
        if _writable(encoding.container, encoding.subtype, source):
            return _large(encoding, source)
    elif suffix not in SOUNDS | VIDEOS:
        raise EnhanceError(
            f"{target}: {suffix or 'no ending'} is not a format that can be written",
            "take .wav, .flac, .mp3, .m4a, ...",
        )
    if ffmpeg.executable() is None:
        what = f"{source.channels} channels at {source.sample_rate} Hz as {suffix[1:]}"
        raise EnhanceError(f"{target}: writing {what} needs ffmpeg", "install it, or take .wav")
    whole = bool(source.tracks) and (suffix in VIDEOS if source.video else same and suffix in HOLDERS)
    codec = ffmpeg.encoder(source.codec, source.channels) if same else ""
    return Encoding("", source.subtype if codec else "", codec, whole)


def nearest_subtype(suffix: str, subtype: str) -> str:
    """The subtype of that ending's container that keeps the bits of ``subtype``, or as many as it can."""
    import soundfile

    container = CONTAINERS[suffix]
    if suffix == ".opus":
        return "OPUS"
    default = soundfile.default_subtype(container)
    available = soundfile.available_subtypes(container)
    if subtype in available and subtype not in LOSSY:
        return subtype
    if default in LOSSY:
        return default
    bits = sample_bits(subtype)
    depths = sorted((integer_bits(name), name) for name in available if re.fullmatch(r"PCM_S?\d+", name))
    return next((name for depth, name in depths if depth >= bits), depths[-1][1])


def sample_bits(subtype: str) -> int:
    """Bits of a sample; what has none, such as a lossy codec, counts as 16."""
    return {"FLOAT": 32, "DOUBLE": 64}.get(subtype) or integer_bits(subtype) or 16


def _large(encoding: Encoding, source: Info) -> Encoding:
    size = source.frames * source.channels * sample_bits(encoding.subtype) // 8
    if encoding.container in ("WAV", "WAVEX") and size > WAV_LIMIT:
        return Encoding("RF64", encoding.subtype)
    return encoding


def _writable(container: str, subtype: str, source: Info) -> bool:
    """Does libsndfile write that, with this rate and these channels? The way to know is to begin."""
    import soundfile

    rate, channels = source.sample_rate, source.channels
    try:
        with soundfile.SoundFile(io.BytesIO(), "w", rate, channels, subtype, format=container):
            return True
    except (soundfile.LibsndfileError, ValueError):
        return False


class Output:
    """An output file that is being written."""

    def __init__(self, target: Path, writer: SoundFileWriter | ffmpeg.Encoder) -> None:
        self.target = target
        self.writer = writer
        self.peak = 0.0

    @property
    def clipped(self) -> int:
        """Samples beyond full scale that an integer format cut off."""
        return getattr(self.writer, "clipped", 0)

    def write(self, wave: np.ndarray) -> None:
        """Append ``(channels, time)``; EnhanceError if the disk does not take it."""
        if wave.size:
            self.peak = max(self.peak, float(np.abs(wave).max()))
            with self._named():
                self.writer.write(wave)

    def finish(self) -> None:
        """End the file; EnhanceError if it is not complete."""
        with self._named():
            self.writer.finish()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Several outputs are written at once: the error names this one."""
        try:
            yield
        except OSError as error:
            raise not_written(self.target, error) from None


@contextlib.contextmanager
def written(target: Path, source: Info, encoding: Encoding) -> Iterator[Output]:
    """An output with the rate, channels and tags of ``source``; to be finished by the caller.

    A WAV has also those chunks of a WAV that :mod:`enhance.inference.broadcast` knows, a FLAC or MP3 file all tags of
    one of its kind: what is written has to begin where ``source`` does. It appears under its own name when the block is
    left without an error, readable by no one who cannot read ``source``.
    """
    chunks, tags = read_chunks(source.path), read_tags(source.path, source.container)
    with replacing(target) as temporary:
        rate, channels = source.sample_rate, source.channels
        if encoding.container:
            copied = bool(chunks) and encoding.container in ("WAV", "WAVEX")  # the texts are in the chunks
            sound = encoding.container, encoding.subtype, {} if copied else source.tags
            writer = SoundFileWriter(temporary, rate, channels, *sound)
        else:
            tracks = source.tracks if encoding.whole else ()
            more = encoding.codec, encoding.subtype, tracks, source.track - 1, source.layout
            writer = ffmpeg.Encoder(temporary, rate, channels, source.path, *more)
        with contextlib.closing(writer):
            yield Output(target, writer)
        append_chunks(temporary, chunks)
        copy_speakers(source.path, temporary)
        put_tags(temporary, encoding.container, tags)
        if not target.exists():
            allowed = source.path.stat().st_mode | stat.S_IWUSR
            with contextlib.suppress(OSError):  # not every file system has such rights
                temporary.chmod(temporary.stat().st_mode & allowed)
