"""Files of 16-bit samples that are read through memory maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from enhance.errors import EnhanceError

BYTES = 2  # a sample
AGAIN = "copy or prepare it again"  # what to do about a damaged data set


def opened(path: Path, samples: int) -> np.ndarray:
    """The samples of a file, int16. EnhanceError unless there are as many as ``samples``, which its index says."""
    try:
        size = path.stat().st_size
        if size == samples * BYTES:
            return np.memmap(path, dtype="<i2", mode="r") if samples else np.zeros(0, "<i2")
        reason = f"{size:,} bytes of {samples * BYTES:,}"
    except OSError as error:
        reason = error.strerror or str(error)
    raise EnhanceError(f"{path}: incomplete ({reason})", AGAIN)
