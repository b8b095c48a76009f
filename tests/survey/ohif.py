"""The OHIF viewer as it is published (@ohif/app), served as its manual says: any path that is no file gets its page."""

import contextlib
import mimetypes
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.architecture.tree import ROOT
from tests.survey.servers import Asked, Listener, answering

DIST = ROOT / ".venv/npm/node_modules/@ohif/app/dist"
PUBLISHED, BEHIND = b"'http://localhost/pacs/dicom-web'", b"'/imaging/rs'"
"""The one service of its configuration, after public demonstrations elsewhere, that who runs it makes his own; and what it is made here."""


@contextlib.contextmanager
def ohif(behind: str = "") -> Iterator[Listener]:
    """Its server. `behind`: the root of a DICOMweb service that it passes on to under a path that its configuration names."""
    if not DIST.is_dir():
        pytest.skip("OHIF is not installed: `make peers` installs it")
    root = DIST.resolve()

    def answer(asked: Asked) -> None:
        path = asked.path.partition("?")[0]
        if behind and asked.path.startswith("/imaging/rs/"):
            told = httpx.get(behind + asked.path.removeprefix("/imaging/rs"), headers={"Accept": asked.headers["Accept"]}, timeout=10)
            asked.answer(told.content, told.headers.get("Content-Type", ""), status=told.status_code)
            return
        file = (root / path.lstrip("/")).resolve()
        if not file.is_relative_to(root) or not file.is_file():
            file = root / "index.html"
        content = file.read_bytes()
        if behind and file.name == "app-config.js":
            assert PUBLISHED in content
            content = content.replace(PUBLISHED, BEHIND)
        asked.answer(content, _type_of(file))

    with answering(answer) as listener:
        yield listener


def _type_of(file: Path) -> str:
    return mimetypes.guess_type(file.name)[0] or "application/octet-stream"
