"""The DICOMweb door: its resources, and the media types of frames."""

from collections.abc import Iterator
from typing import Final

from leadglass.dicom.sopclasses import TRANSFER_SYNTAXES
from leadglass.wire.dicomweb import accept
from leadglass.wire.dicomweb.app import ROOT, DicomWeb
from tools.conformance.markdown import code, table
from tools.conformance.services import named

_SERVICES: Final = {"qido": "Search (QIDO-RS)", "wado": "Retrieve (WADO-RS)", "stow": "Store (STOW-RS)"}


def _routes() -> Iterator[tuple[str, str, str]]:
    for path, handlers in DicomWeb.table():
        for method, handler in handlers.items():
            yield _SERVICES[handler.__module__.rpartition(".")[2]], method, ROOT + path


def overview() -> str:
    """The DICOMweb services."""
    found = {service for service, _, _ in _routes()}
    return table(("DICOMweb service", "User agent", "Origin server"), [(each, "No", "Yes") for each in _SERVICES.values() if each in found])


def resources() -> str:
    """Every resource with its methods."""
    rows = sorted(_routes(), key=lambda row: (list(_SERVICES.values()).index(row[0]), row[2]))
    return table(("Service", "Method", "Resource"), [(service, method, code(path)) for service, method, path in rows])


def frame_types() -> str:
    """The media type of frames in each compressed transfer syntax."""
    rows = [(named(uid), code(kind)) for uid, kind in accept.IMAGE_TYPES.items() if uid in TRANSFER_SYNTAXES]
    return table(("Stored in", "Media type of its frames"), rows)
