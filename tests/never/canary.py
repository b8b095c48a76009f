"""A patient of whom nothing may turn up where it does not belong, and the search for it in every form in which text hides."""

import base64
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote, quote_plus

_SHORTEST = 6
"""Characters of a planted text: what is shorter turns up by chance."""


@dataclass(frozen=True)
class Patient:
    """What was planted of a patient: texts that nothing else holds, and a pattern of pixels."""

    texts: tuple[str, ...]
    pixels: bytes

    def needles(self) -> Mapping[bytes, str]:
        return _needles(self)


CANARY_UID = "1.2.276.0.77733.9871"
CANARY_NAME = "Quastenflosser^Xaverine"
CANARY_OTHER_NAME = "Żółwińska^Ünsäglich"
CANARY_ID = "QX-7313-ZK"
CANARY_BIRTH = "18871113"
CANARY_DATE = "19520617"
CANARY_ACCESSION = "ACC-55221-YX"
CANARY_PHYSICIAN = "Zwirbeldings^Hektor"
CANARY_DESCRIPTION = "KNIE LINKS ZUGEKLAPPT"
CANARY_WARD = "GESCHLOSSENE WABE"
CANARY_PIXELS = bytes((value * 37 + 11) % 251 for value in range(64 * 64))
CANARY = Patient(
    (
        "Quastenflosser",
        "Xaverine",
        "Żółwińska",
        "Ünsäglich",
        CANARY_ID,
        CANARY_BIRTH,
        CANARY_DATE,
        CANARY_ACCESSION,
        "Zwirbeldings",
        CANARY_DESCRIPTION,
        CANARY_WARD,
        CANARY_UID,
    ),
    CANARY_PIXELS,
)

VISIBLE_UID = "1.2.276.0.55511.2468"
VISIBLE_NAME = "Offenbarer^Konstantia"
VISIBLE_ID = "OF-1024-KO"
VISIBLE_DATE = "20180309"
VISIBLE_ACCESSION = "ACC-88013-OK"
VISIBLE_PIXELS = bytes((value * 91 + 5) % 241 for value in range(64 * 64))
VISIBLE = Patient(("Offenbarer", "Konstantia", VISIBLE_ID, VISIBLE_ACCESSION, VISIBLE_UID), VISIBLE_PIXELS)
"""Whom the clinicians may see, and no stranger."""


def forms(data: bytes) -> Iterator[bytes]:
    """Bytes as they are, percent-encoded, in hexadecimal, in base64 at each of its three alignments."""
    yield data
    yield data.hex().encode()
    yield data.hex().upper().encode()
    for sign in ("%%%02X", "%%%02x", "\\x%02x", "\\u00%02x"):
        yield "".join(sign % byte for byte in data).encode()
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(bytes(shift) + data)
            # The characters at either end also encode what stands beside the text.
            yield encoded[4 if shift else 0 : len(encoded) - 4]


def _spellings(text: str) -> Iterator[bytes]:
    for cased in {text, text.lower(), text.upper()}:
        for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
            yield cased.encode(encoding)
        if not cased.isascii():
            yield cased.encode("ascii", "backslashreplace")
            yield cased.encode("ascii", "xmlcharrefreplace")
            yield json.dumps(cased)[1:-1].encode()
        yield quote(cased).encode()
        yield quote_plus(cased).encode()


@cache
def _needles(patient: Patient) -> Mapping[bytes, str]:
    found: dict[bytes, str] = {}
    for text in patient.texts:
        assert len(text) >= _SHORTEST
        found |= dict.fromkeys(_spellings(text), text)
        for encoding in ("utf-8", "utf-16-le"):
            found |= dict.fromkeys(forms(text.encode(encoding)), text)
    for at in range(4):
        found |= dict.fromkeys(forms(patient.pixels[1000 + at : 1024 + at]), "pixels")
    return found


def found_in(data: bytes, patients: Iterable[Patient] = (CANARY,)) -> set[str]:
    """Which of what was planted is in `data`, in whatever form."""
    if len(data) > 1 << 20 and not data.strip(b"\0"):
        return set()
    return {what for patient in patients for needle, what in patient.needles().items() if needle in data}


def found_under(*folders: Path, patients: Iterable[Patient] = (CANARY, VISIBLE)) -> dict[str, set[str]]:
    """Every file under the folders with something planted in its bytes or its name."""
    patients = tuple(patients)
    found = {}
    for folder in folders:
        for path in folder.rglob("*"):
            name = os.fsencode(path.relative_to(folder))
            try:
                content = path.read_bytes() if path.is_file() else b""
            except FileNotFoundError:
                continue  # a file of a process at work
            if what := found_in(name, patients) | found_in(content, patients):
                found[str(path)] = what
    return found
