"""Archives that hold the canary, or are the same without it; and everyone who comes to their doors."""

import io
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from cryptography.hazmat.primitives.asymmetric import ec
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.archives import ArchiveUnderTest, leadglass
from tests.certificates import Identity, make_authority
from tests.never import canary
from tests.peers import free_port

CT, MR, SC = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7"

POLICY = """
[[rule]]
roles = ["clinician"]
may = ["find", "get"]
[[rule.where]]
attribute = "Modality"
values = ["CT"]
quantifier = "all"

[[rule]]
users = ["bert"]
may = ["find", "get"]
[[rule.where]]
attribute = "InstitutionName"
values = ["OFFENES HAUS"]
quantifier = "any"

[[rule]]
users = ["wim"]
may = ["find", "get"]
studies = "every"

[[rule]]
roles = ["technologist"]
may = ["store"]
studies = "every"

[[rule]]
roles = ["administrator"]
may = ["administer"]

[[rule]]
roles = ["auditor"]
may = ["read-trail"]

[[rule]]
peers = ["STORER"]
may = ["store"]
studies = "every"

[[rule]]
peers = ["*"]
may = ["store", "find", "get", "move"]
[[rule.where]]
attribute = "Modality"
values = ["CT"]
quantifier = "all"

[[rule]]
local = true
may = ["administer", "read-trail", "store"]
studies = "every"
"""


def data_set(**values: object) -> Dataset:
    """An image with these elements, and those that it must have."""
    made = Dataset()
    made.SOPClassUID = CT
    made.Modality = "CT"
    made.InstanceNumber = "1"
    made.SeriesNumber = "1"
    made.Rows, made.Columns, made.BitsAllocated, made.BitsStored, made.HighBit = 64, 64, 8, 8, 7
    made.SamplesPerPixel, made.PixelRepresentation, made.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def encoded(made: Dataset, transfer_syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """A Part 10 file."""
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = transfer_syntax
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    whole = io.BytesIO()
    pydicom.dcmwrite(
        whole, made, implicit_vr=transfer_syntax.is_implicit_VR, little_endian=transfer_syntax.is_little_endian, enforce_file_format=True
    )
    return whole.getvalue()


def visible(study: int, series: int, instance: int, **values: object) -> Dataset:
    usual: dict[str, object] = {
        "PatientName": canary.VISIBLE_NAME,
        "PatientID": canary.VISIBLE_ID,
        "PatientSex": "F",
        "StudyDate": canary.VISIBLE_DATE,
        "AccessionNumber": f"{canary.VISIBLE_ACCESSION}",
        "InstitutionName": "OFFENES HAUS",
        "StudyInstanceUID": f"{canary.VISIBLE_UID}.{study}",
        "SeriesInstanceUID": f"{canary.VISIBLE_UID}.{study}.{series}",
        "SOPInstanceUID": f"{canary.VISIBLE_UID}.{study}.{series}.{instance}",
        "InstanceNumber": str(instance),
        "SeriesNumber": str(series),
        "PixelData": canary.VISIBLE_PIXELS,
    }
    return data_set(**{**usual, **values})


def hidden(study: int, series: int, instance: int, **values: object) -> Dataset:
    usual: dict[str, object] = {
        "SOPClassUID": MR,
        "Modality": "MR",
        "PatientName": canary.CANARY_NAME,
        "PatientID": canary.CANARY_ID,
        "PatientBirthDate": canary.CANARY_BIRTH,
        "StudyDate": canary.CANARY_DATE,
        "SeriesDate": canary.CANARY_DATE,
        "ContentDate": canary.CANARY_DATE,
        "AccessionNumber": canary.CANARY_ACCESSION,
        "ReferringPhysicianName": canary.CANARY_PHYSICIAN,
        "StudyDescription": canary.CANARY_DESCRIPTION,
        "SeriesDescription": canary.CANARY_DESCRIPTION,
        "InstitutionName": canary.CANARY_WARD,
        "StudyInstanceUID": f"{canary.CANARY_UID}.{study}",
        "SeriesInstanceUID": f"{canary.CANARY_UID}.{study}.{series}",
        "SOPInstanceUID": f"{canary.CANARY_UID}.{study}.{series}.{instance}",
        "InstanceNumber": str(instance),
        "SeriesNumber": str(series),
        "PixelData": canary.CANARY_PIXELS,
    }
    return data_set(**{**usual, **values})


def write_objects(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files to be taken in, in this order: with the canary, and without it."""
    # Answers come latest study first: hidden ones stand before, between and behind those that may be seen.
    between, latest = {"StudyDate": "20181224"}, {"StudyDate": "20200229"}
    utf8 = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": canary.CANARY_OTHER_NAME, **between}
    made: list[tuple[str, bytes]] = [
        ("v111", encoded(visible(1, 1, 1))),
        ("h111", encoded(hidden(1, 1, 1))),
        ("h112", encoded(hidden(1, 1, 2), ImplicitVRLittleEndian)),
        ("v112", encoded(visible(1, 1, 2), ImplicitVRLittleEndian)),
        ("h121", encoded(hidden(1, 2, 1, NumberOfFrames="2", PixelData=canary.CANARY_PIXELS * 2))),
        # One series of it is a CT: the rule wants all of them to be.
        ("h211", encoded(hidden(2, 1, 1, SOPClassUID=CT, Modality="CT", **utf8))),
        ("h221", encoded(hidden(2, 2, 1, **utf8))),
        # Another study of the patient who may be seen, and his latest.
        ("h311", encoded(hidden(3, 1, 1, PatientName=canary.VISIBLE_NAME, PatientID=canary.VISIBLE_ID, **latest))),
        ("v211", encoded(visible(2, 1, 1, StudyDate="20190410"))),
        ("v221", encoded(visible(2, 2, 1, StudyDate="20190410", NumberOfFrames="2", PixelData=canary.VISIBLE_PIXELS * 2))),
        # For conflicts: each is met once.
        *((f"h41{number}", encoded(hidden(4, 1, number))) for number in range(1, 25)),
    ]
    folder.mkdir(parents=True)
    paths = []
    for name, data in made:
        paths.append(folder / f"{name}.dcm")
        paths[-1].write_bytes(data)
    return paths, [path for path in paths if path.name.startswith("v")]


@dataclass
class House:
    """A founded archive, with all who come to its doors; copies of it are served."""

    archive: ArchiveUnderTest
    tokens: dict[str, str]
    peers: dict[str, Identity]
    strangers: dict[str, Identity] = field(default_factory=dict)
    recovery: dict[str, list[str]] = field(default_factory=dict)
    """The recovery codes of whoever signs in at the pages."""
    taker: int = 0
    """The port of TAKER, a destination of C-MOVE that whoever asks controls."""


EARLIER = """
import sys, time
now = time.time_ns
time.time_ns = lambda: now() - 3 * 86400 * 10**9
from leadglass.cli import main
main()
"""
"""The command line, three days ago: a token made then for a day has expired."""


def found_house(folder: Path) -> House:
    """Found an archive with everyone known to it; it is empty and does not serve."""
    archive = ArchiveUnderTest.found(folder / "archive")
    (archive.home / "policy.toml").write_text(POLICY)
    # Through the serving archive: each command on its own would open it anew.
    taker = free_port()
    with archive.serving():
        tokens, peers = _known_people(archive), _known_peers(archive, folder)
        archive.plaintext_peer("TAKER", taker)
        recovery = {name: _recovery_codes(archive, name) for name in ("anna", "bert", "tessa", "adam", "udo")}
    tokens["expired"] = _earlier("token", "create", archive.home, "--user", "anna", "--may", "find,get", "--days", "1")
    foreign = make_authority(folder / "foreign").issue("READER")
    return House(archive, tokens, peers, {"FOREIGN": Identity(foreign.certificate, foreign.key, archive.ca)}, recovery, taker)


def _recovery_codes(archive: ArchiveUnderTest, name: str) -> list[str]:
    said = leadglass("user", "factor", archive.home, name).stdout
    return [line.strip() for line in said.splitlines() if line.startswith("    ")]


def _known_people(archive: ArchiveUnderTest) -> dict[str, str]:
    tokens = {}
    for name, role in (("anna", "clinician"), ("bert", "technologist"), ("tessa", "technologist"), ("adam", "administrator")):
        may = {"anna": "find,get", "adam": "find,get"}.get(name, "find,get,store")
        tokens[name] = archive.token(name, role, may)
    tokens["auditor"] = archive.token("udo", "auditor", "find,get")
    tokens["anna, to find only"] = archive.token("anna", may="find")
    archive.token("wim", "technologist")
    wim = ("token", "create", archive.home, "--user", "wim", "--may", "find,get")
    # He may see everyone, and what he made this token for may not.
    tokens["wim, for some studies"] = leadglass(*wim, "--where", "InstitutionName=OFFENES HAUS").stdout.strip()
    tokens["disabled"] = archive.token("dora")
    leadglass("user", "disable", archive.home, "dora")
    tokens["held with its person"] = archive.token("hugo")
    leadglass("hold", archive.home, "hugo")
    tokens["held itself"] = archive.token("anna")
    *_, last = json.loads(leadglass("token", "list", archive.home, "--json").stdout)
    leadglass("hold", archive.home, last["id"])
    return tokens


def _known_peers(archive: ArchiveUnderTest, folder: Path) -> dict[str, Identity]:
    """With certificates that are handed in: their keys are quickly made."""
    authority = make_authority(folder / "theirs", "Their CA")
    peers = {}
    for aet, may in (
        ("STORER", "store"),
        ("READER", "find,get"),
        ("ALL", "store,find,get,move"),
        *((aet, "store,find,get") for aet in ("REVOKED", "HELD")),
    ):
        peers[aet] = authority.issue(aet, key=ec.generate_private_key(ec.SECP256R1()))
        of_it = ("--address", "127.0.0.0/8", "--may", may, "--certificate", peers[aet].certificate)
        leadglass("peer", "add", archive.home, aet, *of_it)
    leadglass("peer", "revoke", archive.home, "REVOKED")
    leadglass("hold", archive.home, "HELD")
    return peers


def _earlier(*arguments: str | Path) -> str:
    import subprocess  # noqa: PLC0415 - used here alone

    done = subprocess.run(
        [sys.executable, "-c", EARLIER, *map(str, arguments)], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
