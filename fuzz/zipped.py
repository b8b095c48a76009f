"""Zips, as an import meets them."""

import io
import tempfile
import zipfile
from pathlib import Path

from leadglass.errors import BadInput
from leadglass.wire.files import sources


def target(data: bytes) -> None:
    """Every entry can be read to its end, or says in our words why it cannot."""
    with tempfile.NamedTemporaryFile(suffix=".zip") as file:
        file.write(data)
        file.flush()
        for source in sources.find([Path(file.name)]):
            if isinstance(source, sources.Candidate):
                try:
                    with source.open() as entry:
                        while entry.read(65536):
                            pass
                except BadInput:
                    pass


def seeds() -> list[bytes]:
    """A stored and a deflated entry."""
    made = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        target_file = io.BytesIO()
        with zipfile.ZipFile(target_file, "w", method) as archive:
            archive.writestr("folder/a", b"content" * 50)
            archive.writestr("b", b"")
        made.append(target_file.getvalue())
    return made
