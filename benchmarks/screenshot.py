"""Takes the picture of the listening page that the README shows: ``enhance bench --html`` in headless Chromium.

usage: screenshot.py PNG    (needs chromium on the path)
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

SIZE = (1400, 2250)  # of the window; the picture is half as large
CHROMIUM = [
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder) / "page.html", Path(folder) / "shot.png"
        bench = [sys.executable, "-m", "enhance.cli", "bench", "--html", str(page)]
        subprocess.run(bench, check=True, stdout=subprocess.DEVNULL)
        options = [f"--user-data-dir={folder}/profile", "--window-size={},{}".format(*SIZE), f"--screenshot={shot}"]
        subprocess.run([*CHROMIUM, *options, page.as_uri()], check=True, capture_output=True)
        picture = Image.open(io.BytesIO(shot.read_bytes())).convert("RGB")
    small = picture.resize((SIZE[0] // 2, SIZE[1] // 2), Image.Resampling.LANCZOS)
    small.quantize(192).save(sys.argv[1], optimize=True)


if __name__ == "__main__":
    main()
