"""Denoise a recording with a model that `enhance export` wrote. Needs numpy, soundfile and onnxruntime.

usage: onnx_denoise.py MODEL.onnx NOISY.wav CLEAN.wav
"""

import json
import sys

import numpy as np
import onnxruntime
import soundfile

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1  # a block is too short for more
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map
block, latency = int(about["block"]), int(about["latency"])  # samples
noisy, rate = soundfile.read(sys.argv[2], dtype="float32", always_2d=True)
if rate != int(about["sample_rate"]):
    sys.exit(f"{sys.argv[2]}: {rate} Hz, but the model wants {about['sample_rate']} Hz")
clean = np.empty_like(noisy)
for channel in range(noisy.shape[1]):
    wave = np.pad(noisy[:, channel], (0, latency + -(len(noisy) + latency) % block))
    state = {name: np.zeros(shape, np.float32) for name, shape in json.loads(about["state"]).items()}
    for start in range(0, len(wave), block):  # in a call: as each block arrives
        chunk = wave[None, None, start : start + block]
        estimates, *following = session.run(None, {"chunk": chunk, **state})
        state = dict(zip(state, following, strict=True))
        wave[start : start + block] = estimates[0, 0, 0]
    clean[:, channel] = wave[latency : latency + len(clean)]
soundfile.write(sys.argv[3], clean, rate)
