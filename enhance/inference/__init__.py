"""Files in, files out: decode, resample, model in blocks, upper band, encode."""
