from __future__ import annotations

from pathlib import Path

import listening_page
import pytest


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A listening page of toy scores and sounds."""
    path = tmp_path_factory.mktemp("a page") / "listen.html"
    listening_page.write(path)
    return path
