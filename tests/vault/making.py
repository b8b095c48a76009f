"""Data sets and archives for the tests of the vault, small and made here, so that a test says what is in them."""

import struct
from dataclasses import dataclass, field
from pathlib import Path

from leadglass.dicom.header import Header, scan
from leadglass.dicom.predicate import EVERY_STUDY, StudyPredicate
from leadglass.dicom.syntax import EXPLICIT_LITTLE_ENDIAN
from leadglass.dicom.uid import Uid
from leadglass.seal.rootkey import RecoveryKey, RootKey
from leadglass.vault.deposit import Deposit
from leadglass.vault.folder import PACKED
from leadglass.vault.keys import Keys
from leadglass.vault.vault import Vault
from leadglass.vocabulary import StoreResult

ROOT = RootKey(b"R" * 32)
RECOVERY = RecoveryKey(b"r" * 32)
CT = "1.2.840.10008.5.1.4.1.1.2"
_LONG_VRS = {"OB", "OW", "UN", "SQ", "UT"}
TAGS = {
    "SpecificCharacterSet": (0x00080005, "CS"),
    "SOPClassUID": (0x00080016, "UI"),
    "SOPInstanceUID": (0x00080018, "UI"),
    "StudyDate": (0x00080020, "DA"),
    "StudyTime": (0x00080030, "TM"),
    "AccessionNumber": (0x00080050, "SH"),
    "Modality": (0x00080060, "CS"),
    "InstitutionName": (0x00080080, "LO"),
    "ReferringPhysicianName": (0x00080090, "PN"),
    "StudyDescription": (0x00081030, "LO"),
    "PatientName": (0x00100010, "PN"),
    "PatientID": (0x00100020, "LO"),
    "PatientBirthDate": (0x00100030, "DA"),
    "StudyInstanceUID": (0x0020000D, "UI"),
    "SeriesInstanceUID": (0x0020000E, "UI"),
    "SeriesNumber": (0x00200011, "IS"),
    "InstanceNumber": (0x00200013, "IS"),
}


def element(tag: int, vr: str, value: bytes) -> bytes:
    """One element in explicit little endian (PS3.5 7.1.2)."""
    value += (b"\0" if vr in {"UI", "OB"} else b" ") * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    length = struct.pack("<HI", 0, len(value)) if vr in _LONG_VRS else struct.pack("<H", len(value))
    return head + length + value


def data_set(pixels: bytes = bytes(64), /, **values: str) -> bytes:
    """A data set in explicit little endian with these values, and others where none is given."""
    texts = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": CT,
        "SOPInstanceUID": "1.2.3.1.1",
        "StudyDate": "20200102",
        "Modality": "CT",
        "PatientName": "DOE^JANE",
        "PatientID": "P1",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.1",
        "InstanceNumber": "1",
        **values,
    }
    elements = sorted((*TAGS[keyword], text) for keyword, text in texts.items())
    body = b"".join(element(tag, vr, text.encode()) for tag, vr, text in elements)
    return body + element(0x00280010, "US", struct.pack("<H", 8)) + element(0x7FE00010, "OW", pixels)


def header_of(data: bytes, transfer_syntax: str = EXPLICIT_LITTLE_ENDIAN) -> Header:
    """The header of a whole data set."""
    header = scan(data, transfer_syntax, complete=True)
    assert isinstance(header, Header)
    return header


@dataclass
class Archive:
    """A folder with keys and a vault, and the key to open it again."""

    home: Path
    reserve: int = 0
    packed: int = PACKED
    keys: Keys = field(init=False)
    vault: Vault = field(init=False)

    def create(self) -> "Archive":
        self.keys = Keys.create(self.home / "keys", ROOT, RECOVERY)
        self.vault = Vault.create(self.home, self.keys, reserve_bytes=self.reserve, packed=self.packed)
        return self

    def open(self) -> "Archive":
        self.keys = Keys.open(self.home / "keys", ROOT)
        try:
            self.vault = Vault.open(self.home, self.keys, reserve_bytes=self.reserve, packed=self.packed)
        except BaseException:
            self.keys.close()
            raise
        return self

    def open_keys(self) -> Keys:
        """The keys alone, for what needs no vault."""
        return Keys.open(self.home / "keys", ROOT)

    def close(self) -> None:
        self.vault.close()
        self.keys.close()

    def again(self) -> "Archive":
        """Stop and start."""
        self.close()
        return self.open()

    def begin(self, data: bytes, transfer_syntax: Uid = EXPLICIT_LITTLE_ENDIAN, predicate: StudyPredicate = EVERY_STUDY) -> Deposit:
        """Begin to deposit a data set, of which no byte is written yet."""
        return self.vault.deposit(header_of(data, transfer_syntax), transfer_syntax, predicate, route="test", sender={"aet": "TEST"})

    def store(
        self, data: bytes, transfer_syntax: Uid = EXPLICIT_LITTLE_ENDIAN, predicate: StudyPredicate = EVERY_STUDY, *, piece: int = 1 << 20
    ) -> StoreResult:
        """Deposit a whole data set in pieces."""
        deposit = self.begin(data, transfer_syntax, predicate)
        for at in range(0, len(data), piece):
            deposit.write(data[at : at + piece])
        return deposit.commit()
