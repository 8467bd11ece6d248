"""Mixes the clips that `enhance bench` scores without arguments: enhance/bench/clips/, from Debian packages.

usage: make.py PACKAGES_DIR [--download]

PACKAGES_DIR holds the unpacked packages, each in a folder of its name; --download gets those that are missing
(1.3 GB, with apt-get and dpkg-deb, nothing is installed). Needs ffmpeg for G.722. What is mixed is in plan.py,
and no training of a shipped model may use it.

The signals are decoded, brought to 16 kHz, cut, joined and levelled, nothing else. The SNR is the ratio of the
energies of speech and noise in the whole clip. The same packages give the same files on every run.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import soundfile
import soxr
from plan import BSD_2_CLAUSE, CLIPS, LICENCES, Clip, Piece

from enhance import audio
from enhance.errors import EnhanceError
from enhance.files import replacing

RATE, RMS_DB, PEAK, SEED = 16000, -28.0, 0.9, 1
FADE = 320  # samples in which one piece goes over into the next
OUT = Path(__file__).parents[2] / "enhance/bench/clips"
GPL = Path("/usr/share/common-licenses/GPL-2")  # its text must go along with the clips under it


def main() -> None:
    parser = argparse.ArgumentParser(description="Mixes enhance/bench/clips/ from Debian packages.")
    parser.add_argument("packages", type=Path, help="folder of unpacked packages")
    parser.add_argument("--download", action="store_true", help="get the packages that are missing")
    arguments = parser.parse_args()
    try:
        find_packages(arguments.packages, arguments.download)
        make(arguments.packages)
    except EnhanceError as error:
        sys.exit(f"make.py: {error}")


def make(packages: Path) -> None:
    """Write the whole set; files of an earlier one go."""
    for folder in ("noisy", "clean"):
        shutil.rmtree(OUT / folder, ignore_errors=True)
    rng = np.random.default_rng(SEED)
    rows = []
    for clip in CLIPS:
        noisy, clean = mix(clip, packages, rng)
        row = {"id": clip.id, "noisy": f"noisy/{clip.id}.flac", "clean": f"clean/{clip.id}.flac"}
        for name, wave in (("noisy", noisy), ("clean", clean)):
            audio.write(OUT / row[name], wave, RATE, "PCM_16")
        row |= {"speaker": clip.speaker, "language": clip.language, "noise": clip.noise}
        rows.append(row | {"snr": f"{round(measured_snr(row), 1) + 0.0:.1f}"})  # + 0.0: no -0.0
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    texts = {"clips.csv": table.getvalue(), "README.md": readme(rows), "GPL-2.txt": GPL.read_text("utf-8")}
    for name, text in texts.items():
        with replacing(OUT / name) as path:
            path.write_bytes(text.encode())


def measured_snr(row: dict[str, str]) -> float:
    """SNR (dB) of the files of a row, as written."""
    noisy, clean = (audio.read(OUT / row[name])[0].astype(np.float64) for name in ("noisy", "clean"))
    return 10 * np.log10(np.sum(clean**2) / np.sum((noisy - clean) ** 2))


# ---- packages


def find_packages(folder: Path, download: bool) -> None:
    """EnhanceError for a package that is not there, unless it can be downloaded."""
    pieces = [piece for clip in CLIPS for piece in (*clip.speech_pieces, *clip.noise_pieces)]
    for name in sorted({piece.shelf.package for piece in pieces}):
        if (folder / name).is_dir():
            continue
        if not download:
            raise EnhanceError(f"{folder / name}: no such package", "unpack it there, or add --download")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(["apt-get", "download", "-qq", name], cwd=folder, check=True)
            (package,) = folder.glob(f"{name}_*.deb")
            subprocess.run(["dpkg-deb", "-x", package, folder / f"{name}.part"], check=True)
        except (OSError, ValueError, subprocess.CalledProcessError):
            raise EnhanceError(f"{name}: cannot be downloaded", "unpack it there by hand") from None
        package.unlink()
        (folder / f"{name}.part").rename(folder / name)


def load(piece: Piece, packages: Path) -> np.ndarray:
    """The piece as float32 ``(time,)`` at 16 kHz, first channel."""
    place = packages / piece.shelf.package / piece.shelf.folder
    try:
        if place.suffix == ".zip":
            with zipfile.ZipFile(place) as archive:
                data = archive.read(piece.file)
        else:
            data = (place / piece.file).read_bytes()
    except (OSError, KeyError):
        raise EnhanceError(f"{place / piece.file}: no such file", "is it another version of the package?") from None
    wave = decode(data, Path(piece.file).suffix)
    stop = len(wave) if piece.stop is None else round(piece.stop * RATE)
    return wave[round(piece.start * RATE) : stop]


def decode(data: bytes, ending: str) -> np.ndarray:
    """First channel of a sound file as float32 ``(time,)`` at 16 kHz; a .raw file is 16 bit at 16 kHz."""
    if ending == ".raw":
        return np.frombuffer(data, "<i2").astype(np.float32) / 32768
    if ending == ".g722":  # which soundfile does not know
        command = ["ffmpeg", "-v", "error", "-f", "g722", "-i", "-", "-f", "f32le", "-ar", str(RATE), "-"]
        return np.frombuffer(subprocess.run(command, input=data, check=True, capture_output=True).stdout, np.float32)
    wave, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return soxr.resample(wave[:, 0], rate, RATE)


# ---- mixing


def mix(clip: Clip, packages: Path, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Noisy and clean signal of a clip ``(time,)``."""
    speech = chain([load(piece, packages) for piece in clip.speech_pieces])
    pieces = [load(piece, packages) for piece in clip.noise_pieces]
    noise = babble(pieces, len(speech), rng) if clip.at_once else loop(chain(pieces), len(speech))
    noise = noise * rms(speech) / rms(noise) * 10 ** (-clip.snr / 20)
    mixture = speech + noise
    gain = min(10 ** (RMS_DB / 20) / rms(mixture), PEAK / np.abs(mixture).max())
    return gain * mixture, gain * speech


def rms(wave: np.ndarray) -> float:
    return float(np.sqrt(np.mean(wave.astype(np.float64) ** 2)))


def chain(waves: list[np.ndarray]) -> np.ndarray:
    """One after another, with a short cross-fade of constant power."""
    rise = np.sin(np.linspace(0, np.pi / 2, FADE, dtype=np.float32))
    joined = waves[0]
    for wave in waves[1:]:
        middle = joined[-FADE:] * rise[::-1] + wave[:FADE] * rise
        joined = np.concatenate((joined[:-FADE], middle, wave[FADE:]))
    return joined


def loop(wave: np.ndarray, frames: int) -> np.ndarray:
    """The first ``frames`` samples of the signal repeated without end."""
    times = 1 + max(0, frames - len(wave)) // (len(wave) - FADE) + 1
    return chain([wave] * times)[:frames]


def babble(voices: list[np.ndarray], frames: int, rng: np.random.Generator) -> np.ndarray:
    """All voices at once, equally loud, each repeated and begun anywhere."""
    total = np.zeros(frames, np.float32)
    for voice in voices:
        start = int(rng.integers(len(voice)))
        total += loop(voice, start + frames)[start:] / rms(voice)
    return total


# ---- licences


def combined(licences: list[str]) -> str:
    """The licence of a work made from works under these: the strictest of them.

    EnhanceError if they do not permit a common work: neither CC BY 3.0 nor CC BY-SA 3.0 goes with the GPL.
    """
    if any(name.startswith("GPL") for name in licences) and any(name.startswith("CC-BY") for name in licences):
        raise EnhanceError(f"{', '.join(sorted(set(licences)))}: cannot be mixed", "take another noise")
    return max(licences, key=list(LICENCES).index)


def readme(rows: list[dict[str, str]]) -> str:
    """The text beside the clips: what they are, their sources and their licences."""
    linked = {name: f"[{title}]({address})" for name, (title, address) in LICENCES.items()}
    clips, sources = [], []
    for clip, row in zip(CLIPS, rows, strict=True):
        seconds = soundfile.info(str(OUT / row["noisy"])).duration
        spoken = [piece.shelf.licence for piece in clip.speech_pieces]
        both = combined(spoken + [piece.shelf.licence for piece in clip.noise_pieces])
        clips.append([
            clip.id, f"{seconds:.1f}", clip.speaker, clip.language, clip.noise, row["snr"],
            linked[both], linked[combined(spoken)],
        ])  # fmt: skip
        for part, pieces in (("speech", clip.speech_pieces), ("noise", clip.noise_pieces)):
            for piece in dict.fromkeys(pieces):
                shelf = piece.shelf
                file = f"`{shelf.folder}/{piece.file}`"
                sources.append([clip.id, part, f"`{shelf.package}`", file, shelf.author, linked[shelf.licence]])
    return TEXT.format(
        clips=table(["clip", "s", "speaker", "language", "noise", "SNR", "licence of noisy", "of clean"], clips),
        sources=table(["clip", "part", "Debian package", "file", "author", "licence"], sources),
        bsd=BSD_2_CLAUSE,
    )


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


TEXT = """# The clips of `enhance bench`

What `enhance bench` scores without arguments: real speech in real noise, 16 kHz, mono. `clips.csv` lists them.
The SNR (dB) is that of the whole clip, energy of speech over energy of noise, measured in the files. They are enough
to compare two models at a glance and no substitute for a test set: there are few of them.

No recording here was used in training the shipped models, and none may be used in training one that is scored on them.

The files are excerpts, joined, resampled and levelled, of recordings in Debian packages (bookworm); noise was added
to speech. Each clip keeps the licence of its parts, the strictest where they differ; the MIT licence of the program
does not extend to them. `GPL-2.txt` is the text that goes along with those under the GPL.

{clips}

## Sources

{sources}

The clips with recordings of `pocketsphinx-testdata` carry this notice:

{bsd}

This file is written, and the clips are mixed, by `benchmarks/bench_set/make.py`.
"""

if __name__ == "__main__":
    main()
