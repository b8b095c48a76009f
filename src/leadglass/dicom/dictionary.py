"""What PS3.6 says of a tag, a keyword and a UID, from pydicom's tables without the rest of pydicom.

`import pydicom` brings numpy and the pixel decoders into every process and a third of the time a command takes to begin
(docs/decisions/few-dependencies.md), so its two files of tables, which import nothing, are run by themselves.
"""

import importlib.machinery
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

ElementEntry = tuple[str, str, str, str, str]
"""VR, VM, name, "Retired" or nothing, keyword."""


def _table(name: str) -> ModuleType:
    package = importlib.machinery.PathFinder.find_spec("pydicom")
    if package is None or package.origin is None:
        raise ModuleNotFoundError(
            "pydicom, whose data dictionary leadglass reads, is not installed: install leadglass anew", name="pydicom"
        )
    module = ModuleType(f"leadglass.dicom.dictionary.{name}")
    importlib.machinery.SourceFileLoader(module.__name__, str(Path(package.origin).with_name(f"{name}.py"))).exec_module(module)
    return module


_elements = _table("_dicom_dict")

ELEMENTS: Final[Mapping[int, ElementEntry]] = _elements.DicomDictionary
"""By tag: what PS3.6 clauses 6 to 9 register."""

# (mask, tag under the mask, entry), such as 60xx,3000.
_REPEATERS: Final[tuple[tuple[int, int, ElementEntry], ...]] = tuple(
    (int("".join("0" if digit == "x" else "F" for digit in masked), 16), int(masked.replace("x", "0"), 16), entry)
    for masked, entry in _elements.RepeatersDictionary.items()
)

UIDS: Final[Mapping[str, tuple[str, str, str, str, str]]] = _table("_uid_dict").UID_dictionary
"""By UID: name, type, what more there is to say, "Retired" or nothing, keyword (PS3.6 annex A)."""


def repeating(tag: int) -> ElementEntry | None:
    """What is registered of a tag in a repeating group, 50xx and 60xx above all (PS3.5 7.6)."""
    return next((entry for mask, masked, entry in _REPEATERS if tag & mask == masked), None)


def keyword_of(tag: int) -> str | None:
    """The keyword of a registered tag, None for every other.

    >>> keyword_of(0x00100010), keyword_of(0x60023000), keyword_of(0x00091001)
    ('PatientName', 'OverlayData', None)
    """
    entry = ELEMENTS.get(tag) or repeating(tag)
    return None if entry is None else entry[4] or None


def tag_of(keyword: str) -> int | None:
    """The tag that a keyword of PS3.6 stands for.

    >>> f"{tag_of('PatientName'):08X}", tag_of("PatientsName")
    ('00100010', None)
    """
    return _tags_by_keyword().get(keyword)


@cache
def _tags_by_keyword() -> dict[str, int]:
    return {entry[4]: tag for tag, entry in ELEMENTS.items() if entry[4]}
