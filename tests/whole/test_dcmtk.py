"""DCMTK against the whole archive: who has a certificate of ours is served what he may, everybody else gets no service at all."""

import re
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from tests import peers, samples
from tests.archives import ArchiveUnderTest, leadglass, wait_until
from tests.certificates import Identity, make_authority
from tests.whole.associating import FIND, associated
from tests.whole.relay import client_context, relay
from tests.whole.stock import FEW

ASSOCIATE_ACCEPT, ASSOCIATE_REJECT = 2, 3
CT = pydicom.dcmread(samples.sample("CT_small.dcm"))

Serving = ArchiveUnderTest


@pytest.fixture(scope="module")
def serving(stocked: Serving) -> Serving:
    return stocked


def find(archive: Serving, who: Identity, *keys: str, calling: str = "CT1") -> list[dict[str, str]]:
    """What findscu prints of each match, by keyword."""
    options = [word for key in keys for word in ("-k", key)]
    done = peers.scu("findscu", archive.dimse, "-S", *options, calling=calling, tls=who)
    assert done.returncode == 0, done.stdout
    assert "Received Final Find Response (Success)" in done.stdout, done.stdout
    matches = re.split(r"Find Response: \d+ \(Pending\)", done.stdout.split("Received Final")[0])[1:]
    line = re.compile(r"^I: \([0-9a-f]{4},[0-9a-f]{4}\) [A-Z]{2} (?:\[(.*?)\]|\(no value available\)|(\d+)) +#.* (\w+)$", re.MULTILINE)
    return [{name: (text or number).strip(" \0") for text, number, name in line.findall(match)} for match in matches]


def get(archive: Serving, who: Identity, folder: Path, *keys: str, calling: str = "CT1", offer: str = "+x=") -> list[Path]:
    """The files that getscu receives, bit preserving, through a relay: DCMTK 3.6.7's getscu speaks no TLS."""
    folder.mkdir()
    options = [word for key in keys for word in ("-k", key)]
    with relay(archive.dimse, client_context(archive.ca, who)) as through:
        done = peers.scu("getscu", through.address, "-S", "+B", offer, "-od", folder, *options, calling=calling)
    assert done.returncode == 0, done.stdout
    return sorted(folder.iterdir())


# What works


def test_storescu_stores_and_findscu_and_getscu_give_it_back(
    archive: ArchiveUnderTest, peers_of: dict[str, Identity], tmp_path: Path
) -> None:
    me = peers_of["CT1"]
    with archive.serving():
        stored = peers.scu("storescu", archive.dimse, "-v", files=[samples.sample("CT_small.dcm")], calling="CT1", tls=me)
        assert stored.returncode == 0, stored.stdout
        assert "Received Store Response (Success)" in stored.stdout
        (found,) = find(archive, me, "QueryRetrieveLevel=STUDY", "StudyInstanceUID", "PatientID", "PatientName")
        assert found["PatientID"] == CT.PatientID
        (file,) = get(archive, me, tmp_path / "got", "QueryRetrieveLevel=STUDY", f"StudyInstanceUID={CT.StudyInstanceUID}")
        received = pydicom.dcmread(file)
        assert received.PixelData == CT.PixelData
        echoed = peers.scu("echoscu", archive.dimse, calling="CT1", tls=me)
        assert echoed.returncode == 0, echoed.stdout
        assert archive.stop() == 0
    actions = {(entry["who"], entry["action"]) for entry in archive.trail() if entry["kind"] == "outcome"}
    assert actions >= {("peer:CT1", action) for action in ("store", "find", "get", "echo")}


_STUDY = f"StudyInstanceUID={CT.StudyInstanceUID}"
_SERIES = f"SeriesInstanceUID={CT.SeriesInstanceUID}"


def studies_of(*names: str) -> set[str]:
    return {str(pydicom.dcmread(samples.sample(name), stop_before_pixels=True).StudyInstanceUID) for name in names}


MR = pydicom.dcmread(samples.sample("MR_small.dcm"), stop_before_pixels=True)
EVERY = frozenset(FEW)

QUERIES: dict[str, tuple[str, frozenset[str]]] = {
    "single value": (f"PatientID={CT.PatientID}", frozenset({"CT_small.dcm"})),
    "single value, nobody": ("PatientID=NOBODY-HAS-THIS", frozenset()),
    "UID list": (f"StudyInstanceUID={CT.StudyInstanceUID}\\{MR.StudyInstanceUID}\\1.2.3", frozenset({"CT_small.dcm", "MR_small.dcm"})),
    "wildcard": ("PatientName=CompressedSamples^*", frozenset({"CT_small.dcm", "MR_small.dcm"})),
    "wildcard of one letter": ("PatientName=CompressedSamples^?T1", frozenset({"CT_small.dcm"})),
    "name in another case": ("PatientName=compressedsamples^ct1", frozenset({"CT_small.dcm"})),
    "universal": ("PatientName=", EVERY),
    "universal by asterisk": ("PatientName=*", EVERY),
    "range": ("StudyDate=20040101-20041231", frozenset({"CT_small.dcm", "MR_small.dcm"})),
    "range without an end": (
        "StudyDate=20040101-",
        frozenset(
            name
            for name in FEW
            if str(pydicom.dcmread(samples.sample(name), stop_before_pixels=True).get("StudyDate") or "0") >= "20040101"
        ),
    ),
    "modality": ("ModalitiesInStudy=MR", frozenset({"MR_small.dcm"})),
}


@pytest.mark.parametrize("kind", list(QUERIES))
def test_findscu_finds_studies_by_every_kind_of_match(kind: str, serving: Serving, peers_of: dict[str, Identity]) -> None:
    key, expected = QUERIES[kind]
    keys = ["QueryRetrieveLevel=STUDY", key]
    if not key.startswith("StudyInstanceUID"):
        keys.append("StudyInstanceUID")
    found = find(serving, peers_of["CT1"], *keys)
    assert {match["StudyInstanceUID"] for match in found} == studies_of(*expected)
    assert len(found) == len(studies_of(*expected))


# What is refused


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_authority(tmp_path_factory.mktemp("foreign")).issue("CT1")


def no_certificate(archive: Serving, mine: Identity, foreign: Identity) -> ssl.SSLContext:
    return client_context(archive.ca)


def foreign_certificate(archive: Serving, mine: Identity, foreign: Identity) -> ssl.SSLContext:
    return client_context(archive.ca, foreign)


def own_certificate(archive: Serving, mine: Identity, foreign: Identity) -> ssl.SSLContext:
    return client_context(archive.ca, mine)


def another_peers_certificate(archive: Serving, mine: Identity, foreign: Identity) -> ssl.SSLContext:
    other = mine.certificate.parent.with_name("peer-FINDER")
    return client_context(archive.ca, Identity(other / "FINDER.cert.pem", other / "FINDER.key.pem", mine.authority))


STRANGERS: dict[str, tuple[Callable[[Serving, Identity, Identity], ssl.SSLContext], str, str]] = {
    "no certificate": (no_certificate, "CT1", "LEADGLASS"),
    "a foreign certificate": (foreign_certificate, "CT1", "LEADGLASS"),
    "another peer's certificate": (another_peers_certificate, "CT1", "LEADGLASS"),
    "an unknown AE title": (own_certificate, "NOBODY", "LEADGLASS"),
    "a wrong called AE title": (own_certificate, "CT1", "ANY-SCP"),
}

TOOLS: dict[str, list[str]] = {
    "echoscu": [],
    "storescu": [],
    "findscu": ["-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID"],
    "getscu": ["-S", "-k", "QueryRetrieveLevel=STUDY", "-k", _STUDY],
}


def attempt(tool: str, to: peers.DimseAddress, folder: Path, calling: str = "CT1") -> str:
    """What `tool` says of an attempt that must not succeed."""
    folder.mkdir(exist_ok=True)
    options = [*TOOLS[tool], *(["-od", str(folder)] if tool == "getscu" else []), "-to", "10"]
    files = [samples.sample("rtplan.dcm")] if tool == "storescu" else []
    done = peers.scu(tool, to, *options, files=files, calling=calling)
    assert done.returncode != 0, done.stdout
    assert not list(folder.iterdir())
    for answered in ("Received Echo Response", "Received Store Response", "Find Response", "Received Final", "Sub-Operations"):
        assert answered not in done.stdout
    return done.stdout


@pytest.mark.parametrize("tool", list(TOOLS))
@pytest.mark.parametrize("who", list(STRANGERS))
def test_a_stranger_is_refused_before_any_service(
    who: str, tool: str, serving: Serving, peers_of: dict[str, Identity], foreign: Identity, tmp_path: Path
) -> None:
    context, calling, called = STRANGERS[who]
    door = peers.DimseAddress(serving.dimse.port, called)
    with relay(door, context(serving, peers_of["CT1"], foreign)) as through:
        attempt(tool, through.address, tmp_path / "got", calling)
    kinds = {bytes(stream[:1]) for stream in through.answered}
    # TLS 1.3 tells a client without a good certificate only after its own handshake: then nothing at all came back.
    assert kinds <= {b"", bytes([ASSOCIATE_REJECT])}


def test_what_strangers_tried_changed_nothing(serving: Serving, peers_of: dict[str, Identity]) -> None:
    assert len(find(serving, peers_of["CT1"], "QueryRetrieveLevel=STUDY", "StudyInstanceUID")) == len(FEW)


@pytest.mark.parametrize("tool", list(TOOLS))
def test_a_plaintext_association_is_refused(tool: str, serving: Serving, tmp_path: Path) -> None:
    attempt(tool, serving.dimse, tmp_path / "got")


def test_unidentified_denials_are_counted_in_the_trail(archive: ArchiveUnderTest, peers_of: dict[str, Identity], tmp_path: Path) -> None:
    with archive.serving():
        with relay(archive.dimse, client_context(archive.ca, peers_of["CT1"])) as through:
            for _ in range(3):
                attempt("echoscu", through.address, tmp_path / "got", "NOBODY")
        assert archive.stop() == 0
    counted = [entry for entry in archive.trail() if entry["kind"] == "unidentified"]
    assert sum(entry["count"] for entry in counted) == 3
    assert {entry["door"] for entry in counted} == {"dimse"}


@pytest.mark.parametrize(
    ("peer", "refused"),
    [("FINDER", ["storescu", "getscu"]), ("STORER", ["findscu", "getscu"]), ("GETTER", ["storescu", "findscu"])],
)
def test_a_peer_has_only_the_services_it_was_given(
    peer: str, refused: list[str], serving: Serving, peers_of: dict[str, Identity], tmp_path: Path
) -> None:
    with relay(serving.dimse, client_context(serving.ca, peers_of[peer])) as through:
        echoed = peers.scu("echoscu", through.address, calling=peer)
        assert echoed.returncode == 0, echoed.stdout
        for tool in refused:
            attempt(tool, through.address, tmp_path / "got", peer)


def test_a_denied_request_of_a_known_peer_is_in_the_trail(archive: ArchiveUnderTest, peers_of: dict[str, Identity]) -> None:
    # A service that a peer may not use is not even negotiated: the right has to go while an association lasts.
    with archive.serving(), associated(archive.dimse, peers_of["FINDER"], "FINDER") as association:
        policy = archive.home / "policy.toml"
        policy.write_text(policy.read_text().replace('may = ["store", "find", "get", "move"]', 'may = ["store"]'))
        leadglass("policy", "apply", archive.home)
        query = pydicom.Dataset()
        query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", ""
        answers = [(status.Status, found) for status, found in association.send_c_find(query, FIND)]
        assert answers == [(0x0124, None)]
        (denied,) = [entry for entry in archive.trail("--who", "peer:FINDER") if entry["kind"] == "denied"]
        assert (denied["action"], denied["door"], denied["address"]) == ("find", "dimse", "127.0.0.1")


def test_revoking_a_peer_cuts_its_live_association_and_shuts_it_out(
    archive: ArchiveUnderTest, peers_of: dict[str, Identity], tmp_path: Path
) -> None:
    with (
        archive.serving(),
        associated(archive.dimse, peers_of["CT1"]) as revoked,
        associated(archive.dimse, peers_of["FINDER"], "FINDER") as other,
    ):
        assert revoked.send_c_echo().Status == 0
        began = time.monotonic()
        leadglass("peer", "revoke", archive.home, "CT1")
        wait_until(lambda: revoked.is_aborted)
        assert time.monotonic() - began < 10
        assert other.send_c_echo().Status == 0
        with relay(archive.dimse, client_context(archive.ca, peers_of["CT1"])) as through:
            for tool in TOOLS:
                attempt(tool, through.address, tmp_path / "got")
        assert {bytes(stream[:1]) for stream in through.answered} <= {b"", bytes([ASSOCIATE_REJECT])}


def test_an_address_outside_the_peers_own_is_refused(archive: ArchiveUnderTest, tmp_path: Path) -> None:
    elsewhere = archive.peer("FAR", address="10.1.2.0/24")
    with archive.serving():
        with relay(archive.dimse, client_context(archive.ca, elsewhere)) as through:
            for tool in TOOLS:
                attempt(tool, through.address, tmp_path / "got", "FAR")
        assert {bytes(stream[:1]) for stream in through.answered} <= {b"", bytes([ASSOCIATE_REJECT])}


# The plaintext door


def test_the_unsafe_plaintext_door_is_for_marked_peers_to_echo_and_store(
    archive: ArchiveUnderTest, peers_of: dict[str, Identity], tmp_path: Path
) -> None:
    old = ("peer", "add", archive.home, "OLDMR", "--address", "127.0.0.0/8", "--unsafe-plaintext", "--may")
    assert "may only be given store" in leadglass(*old, "store,find", code=2).stderr
    leadglass(*old, "store")
    leadglass("peer", "add", archive.home, "FARMR", "--address", "10.0.0.0/8", "--may", "store", "--unsafe-plaintext")
    with archive.serving("--unsafe-dimse-plaintext", "127.0.0.1:0"):
        door = archive.plaintext
        assert "unsafe setting" in archive.log()
        assert peers.scu("echoscu", door, calling="OLDMR").returncode == 0
        stored = peers.scu("storescu", door, files=[samples.sample("MR_small.dcm")], calling="OLDMR")
        assert stored.returncode == 0, stored.stdout
        for tool in ("findscu", "getscu"):
            attempt(tool, door, tmp_path / "got", "OLDMR")
        for stranger in ("CT1", "FARMR", "NOBODY"):
            for tool in TOOLS:
                attempt(tool, door, tmp_path / "got", stranger)
        # And the mark is for the plaintext door alone: it has no key to show at the other.
        with relay(archive.dimse, client_context(archive.ca, peers_of["CT1"])) as through:
            attempt("echoscu", through.address, tmp_path / "got", "OLDMR")
        (found,) = find(archive, peers_of["CT1"], "QueryRetrieveLevel=STUDY", "StudyInstanceUID")
        assert found["StudyInstanceUID"] == MR.StudyInstanceUID
