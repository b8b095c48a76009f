"""The SOP classes and transfer syntaxes that leadglass knows by name (PS3.4 annexes B and C, PS3.6 annex A)."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from leadglass.dicom.dictionary import UIDS
from leadglass.dicom.levels import Root
from leadglass.dicom.uid import Uid
from leadglass.errors import ConfigurationError

VERIFICATION = Uid("1.2.840.10008.1.1")

PATIENT_ROOT_FIND = Uid("1.2.840.10008.5.1.4.1.2.1.1")
PATIENT_ROOT_MOVE = Uid("1.2.840.10008.5.1.4.1.2.1.2")
PATIENT_ROOT_GET = Uid("1.2.840.10008.5.1.4.1.2.1.3")
STUDY_ROOT_FIND = Uid("1.2.840.10008.5.1.4.1.2.2.1")
STUDY_ROOT_MOVE = Uid("1.2.840.10008.5.1.4.1.2.2.2")
STUDY_ROOT_GET = Uid("1.2.840.10008.5.1.4.1.2.2.3")

FIND = frozenset({PATIENT_ROOT_FIND, STUDY_ROOT_FIND})
GET = frozenset({PATIENT_ROOT_GET, STUDY_ROOT_GET})
MOVE = frozenset({PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE})

ROOT_OF: Mapping[Uid, Root] = MappingProxyType(
    {
        **dict.fromkeys((PATIENT_ROOT_FIND, PATIENT_ROOT_MOVE, PATIENT_ROOT_GET), Root.PATIENT),
        **dict.fromkeys((STUDY_ROOT_FIND, STUDY_ROOT_MOVE, STUDY_ROOT_GET), Root.STUDY),
    }
)
"""The information model of each query and retrieve SOP class (PS3.4 C.6)."""

DICOM_ROOT = "1.2.840.10008."

STORAGE_COMMITMENT = Uid("1.2.840.10008.1.20.1")
STORAGE_COMMITMENT_INSTANCE = Uid("1.2.840.10008.1.20.1.1")
"""The push model's class and its well-known instance (PS3.4 J.3)."""

_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
_STORAGE_ELSEWHERE = frozenset(
    {
        "1.2.840.10008.5.1.4.34.1",  # RT Beams Delivery Instruction Storage, as trial implementations had it
        "1.2.840.10008.5.1.4.34.7",  # RT Beams Delivery Instruction Storage
        "1.2.840.10008.5.1.4.34.10",  # RT Brachy Application Setup Delivery Instruction Storage
    }
)
"""The classes of PS3.4 B.5 whose UID does not begin as the others do."""
_STORAGE_SINCE = {
    "1.2.840.10008.5.1.4.1.1.9.100.1": "Waveform Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.9.100.2": "Waveform Acquisition Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage",
    "1.2.840.10008.5.1.4.1.1.66.8": "Height Map Segmentation Storage",
}
"""The classes of PS3.4 B.5 that came after pydicom's list of UIDs."""
_OF_NO_PATIENT = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.200.1",  # CT Defined Procedure Protocol Storage
        "1.2.840.10008.5.1.4.1.1.200.3",  # Protocol Approval Storage
        "1.2.840.10008.5.1.4.1.1.200.7",  # XA Defined Procedure Protocol Storage
        "1.2.840.10008.5.1.4.1.1.201.1",  # Inventory Storage
    }
)
"""Of PS3.4 annex GG, not B: their objects belong to no study, so there is no place for them here."""


def _of_type(kind: str) -> dict[str, str]:
    return {uid: name for uid, (name, uid_type, *_) in UIDS.items() if uid_type == kind}


STORAGE: dict[Uid, str] = {
    Uid(uid): name
    for uid, name in (_STORAGE_SINCE | _of_type("SOP Class")).items()
    # Below that root are also a few query and inventory services.
    if uid not in _OF_NO_PATIENT and (uid in _STORAGE_ELSEWHERE or (uid.startswith(_STORAGE_ROOT) and "Storage" in name))
}
"""Every Storage SOP class of PS3.4 B.5, the retired ones too, with its name."""


def storage_with(additional: Iterable[str]) -> frozenset[Uid]:
    """Every Storage SOP class, these private or retired ones too; ConfigurationError for what cannot be one."""
    added = [Uid(text) for text in additional]
    for uid in added:
        if uid in STORAGE:
            raise ConfigurationError(f"{uid} is {STORAGE[uid]}, which is stored already; leave it out")
        name, kind, _, retired, *_ = UIDS.get(uid, ("", "", "", ""))
        if retired and kind == "SOP Class" and "Image Storage" in name:
            continue
        if name:
            raise ConfigurationError(f"{uid} is {name} ({kind}), which is no Storage SOP class")
        if uid.startswith(DICOM_ROOT):
            raise ConfigurationError(f"{uid} is in no edition of PS3.6 that this leadglass knows; a private SOP class has its owner's root")
    return frozenset(STORAGE).union(added)


NEWER_TRANSFER_SYNTAXES: Final = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}
"""Of PS3.6 as it is now; pydicom 3.0 does not know them."""


TRANSFER_SYNTAXES: frozenset[Uid] = frozenset(
    Uid(uid)
    for uid, name in (_of_type("Transfer Syntax") | NEWER_TRANSFER_SYNTAXES).items()
    # These two are forms of a MIME message or of a rendering service, in which no object is stored.
    if uid not in {"1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.6.2"} and "SMPTE" not in name
)
"""Every transfer syntax in which an object can be handed to us and kept as it came."""
