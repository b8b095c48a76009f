"""DCMTK's rows. Of version 3.6.7 echoscu, storescu, findscu and storescp speak TLS; dcmsend, getscu and movescu go through a relay."""

import contextlib
import re
from collections.abc import Iterator

from tests import peers
from tests.matrix.bench import TRUSTED, Bench
from tests.matrix.cells import Peer, Service, Transport, Way
from tests.matrix.comparing import Original, assert_same_objects, original, readable_by_dcmtk
from tests.matrix.table import NOBODY_ASKED, SURVEY_ASKS, cannot, row
from tests.whole.associating import Sent
from tests.whole.relay import client_context, relay

ME, ASKS_US, IS_ASKED = Peer.DCMTK, Way.ASKS_US, Way.IS_ASKED
TLS, PLAIN = Transport.TLS, Transport.PLAIN

NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}

GETSCU_TAKES = {
    "+x=": NATIVE,
    "+xy": {"1.2.840.10008.1.2.4.50"},
    "+xx": {"1.2.840.10008.1.2.4.51"},
    "+xs": {"1.2.840.10008.1.2.4.70"},
    "+xt": {"1.2.840.10008.1.2.4.80"},
    "+xv": {"1.2.840.10008.1.2.4.90"},
    "+xw": {"1.2.840.10008.1.2.4.91"},
    "+xr": {"1.2.840.10008.1.2.5"},
    "+xd": {"1.2.840.10008.1.2.1.99"},
}
"""The transfer syntaxes of pydicom's files that we find in what each of getscu's options proposes: the first of them is taken, for all."""


@contextlib.contextmanager
def without_tls_of_its_own(bench: Bench) -> Iterator[peers.DimseAddress]:
    """The door as a program without TLS reaches it: as it is, or through a relay that shows the peer's certificate."""
    if bench.tls is None:
        yield bench.door
    else:
        with relay(bench.door, client_context(bench.archive.ca, bench.tls)) as through:
            yield through.address


@row(ME, Service.ECHO, ASKS_US, by="echoscu")
def echo(bench: Bench) -> None:
    done = peers.scu("echoscu", bench.door, calling=bench.calling, tls=bench.tls)
    assert done.returncode == 0, done.stdout
    assert "Received Echo Response (Success)" in done.stdout


@row(ME, Service.STORE, ASKS_US, by="storescu", stocked=False)
def store(bench: Bench) -> None:
    native = [each for each in bench.originals if each.sent.transfer_syntax in NATIVE]
    done = peers.scu("storescu", bench.door, "-R", files=[each.path for each in native], calling=bench.calling, tls=bench.tls)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("Received Store Response (Success)") == len(native)
    bench.assert_holds(native)


@row(ME, Service.STORE, ASKS_US, by="dcmsend", stocked=False)
def send(bench: Bench) -> None:
    sent = readable_by_dcmtk(bench.originals)
    options = ["--decompress-never", "--no-halt", "--no-uid-checks"]
    with without_tls_of_its_own(bench) as door:
        done = peers.scu("dcmsend", door, *options, files=[each.path for each in sent], calling=bench.calling)
    assert done.returncode == 0, done.stdout[-2000:]
    assert done.stdout.count("Received C-STORE Response (Success)") == len(sent), done.stdout[-2000:]
    bench.assert_holds(sent)


def find(bench: Bench, root: str, *keys: str) -> list[dict[str, str]]:
    """What findscu prints of each match, by keyword."""
    options = [word for key in keys for word in ("-k", key)]
    done = peers.scu("findscu", bench.door, root, *options, calling=bench.calling, tls=bench.tls)
    assert done.returncode == 0, done.stdout
    assert "Received Final Find Response (Success)" in done.stdout, done.stdout
    matches = re.split(r"Find Response: \d+ \(Pending\)", done.stdout.split("Received Final")[0])[1:]
    line = re.compile(r"^I: \([0-9a-f]{4},[0-9a-f]{4}\) [A-Z]{2} (?:\[(.*?)\]|\(no value available\)|(\d+)) +#.* (\w+)$", re.MULTILINE)
    return [{name: (text or number).strip(" \0") for text, number, name in line.findall(match)} for match in matches]


@row(ME, Service.FIND_STUDY_ROOT, ASKS_US, TLS, by="findscu")
def find_in_study_root(bench: Bench) -> None:
    found = find(bench, "-S", "QueryRetrieveLevel=STUDY", "StudyInstanceUID", "NumberOfStudyRelatedInstances")
    assert sorted(each["StudyInstanceUID"] for each in found) == bench.studies
    assert sum(int(each["NumberOfStudyRelatedInstances"]) for each in found) == len(bench.originals)
    for one in bench.originals[:3]:
        study, series = f"StudyInstanceUID={one.study}", f"SeriesInstanceUID={one.series}"
        found = find(bench, "-S", "QueryRetrieveLevel=SERIES", study, "SeriesInstanceUID")
        assert {each["SeriesInstanceUID"] for each in found} == {each.series for each in bench.originals if each.study == one.study}
        found = find(bench, "-S", "QueryRetrieveLevel=IMAGE", study, series, "SOPInstanceUID")
        assert {each["SOPInstanceUID"] for each in found} == {each.uid for each in bench.originals if each.series == one.series}


def get(bench: Bench, root: str, option: str, wanted: list[Original]) -> list[Sent]:
    """What getscu receives of these images of one series, byte for byte."""
    folder = bench.folder / wanted[0].uid
    folder.mkdir()
    one, images = wanted[0], "\\".join(each.uid for each in wanted)
    keys = [f"PatientID={one.patient}", f"StudyInstanceUID={one.study}", f"SeriesInstanceUID={one.series}", f"SOPInstanceUID={images}"]
    options = [word for key in ("QueryRetrieveLevel=IMAGE", *keys[root == "-S" :]) for word in ("-k", key)]
    with without_tls_of_its_own(bench) as door:
        done = peers.scu("getscu", door, root, "+B", option, "-od", folder, *options, calling=bench.calling)
    assert done.returncode == 0, done.stdout[-2000:]
    return [original(path).sent for path in sorted(folder.iterdir())]


def in_series_and_syntax(originals: list[Original]) -> list[tuple[str, list[Original]]]:
    """The images of each series that one of getscu's options takes, with the option."""
    groups: dict[tuple[str, str], list[Original]] = {}
    for each in originals:
        (option,) = [option for option, syntaxes in GETSCU_TAKES.items() if each.sent.transfer_syntax in syntaxes]
        groups.setdefault((each.series, option), []).append(each)
    return [(option, wanted) for (_, option), wanted in groups.items()]


@row(ME, Service.GET_STUDY_ROOT, ASKS_US, TLS, by="getscu")
def get_in_study_root(bench: Bench) -> None:
    for option, wanted in in_series_and_syntax(bench.originals):
        assert_same_objects(get(bench, "-S", option, wanted), wanted)


@row(ME, Service.GET_PATIENT_ROOT, ASKS_US, TLS, by="getscu")
def get_in_patient_root(bench: Bench) -> None:
    for option, wanted in in_series_and_syntax([each for each in bench.originals if each.patient]):
        assert_same_objects(get(bench, "-P", option, wanted), wanted)


@row(ME, Service.FIND_PATIENT_ROOT, ASKS_US, TLS, by="findscu")
def find_in_patient_root(bench: Bench) -> None:
    found = find(bench, "-P", "QueryRetrieveLevel=PATIENT", "PatientID", "NumberOfPatientRelatedInstances")
    assert {each["PatientID"] for each in found} == {each.patient for each in bench.originals}
    assert sum(int(each["NumberOfPatientRelatedInstances"]) for each in found) == len(bench.originals)
    for patient in bench.patients[:3]:
        found = find(bench, "-P", "QueryRetrieveLevel=STUDY", f"PatientID={patient}", "StudyInstanceUID")
        assert {each["StudyInstanceUID"] for each in found} == {each.study for each in bench.originals if each.patient == patient}


@row(ME, Service.MOVE_STUDY_ROOT, ASKS_US, TLS, by="movescu")
@row(ME, Service.STORE, IS_ASKED, by="storescp, as a destination of C-MOVE")
def move_in_study_root(bench: Bench) -> None:
    studies = "StudyInstanceUID=" + "\\".join(bench.studies)
    assert_same_objects(moved(bench, ("-S", "QueryRetrieveLevel=STUDY", studies)), bench.originals)


@row(ME, Service.MOVE_PATIENT_ROOT, ASKS_US, TLS, by="movescu")
def move_in_patient_root(bench: Bench) -> None:
    asked = [("-P", "QueryRetrieveLevel=PATIENT", f"PatientID={patient}") for patient in bench.patients]
    assert_same_objects(moved(bench, *asked), [each for each in bench.originals if each.patient])


def moved(bench: Bench, *requests: tuple[str, str, str]) -> list[Sent]:
    """What storescp receives by this transport when movescu, as the trusted peer and through a relay, asks for these."""
    here, folder = bench.peer, bench.folder / "storescp"
    with (
        peers.storescp(folder, aet=here.aet, tls=here.tls, port=here.port),
        relay(bench.archive.dimse, client_context(bench.archive.ca, bench.identity)) as through,
    ):
        for root, *keys in requests:
            options = [word for key in keys for word in ("-k", key)]
            done = peers.scu("movescu", through.address, root, "-aem", here.aet, *options, calling=TRUSTED, timeout=120)
            assert done.returncode == 0, done.stdout
            assert "Received Final Move Response (Success)" in done.stdout, done.stdout
    return [original(path).sent for path in (folder / "received").iterdir()]


@row(ME, (Service.FIND_STUDY_ROOT, Service.FIND_PATIENT_ROOT), ASKS_US, PLAIN, by="findscu", refused=True)
def is_not_offered_a_query_without_tls(bench: Bench) -> None:
    for root in ("-S", "-P"):
        refused(bench, "findscu", root, "-k", "StudyInstanceUID")


@row(ME, (Service.GET_STUDY_ROOT, Service.GET_PATIENT_ROOT), ASKS_US, PLAIN, by="getscu", refused=True)
def is_not_offered_a_retrieve_without_tls(bench: Bench) -> None:
    for root in ("-S", "-P"):
        refused(bench, "getscu", root, "-od", str(bench.folder), "-k", f"StudyInstanceUID={bench.studies[0]}")
    assert list(bench.folder.iterdir()) == []


@row(ME, (Service.MOVE_STUDY_ROOT, Service.MOVE_PATIENT_ROOT), ASKS_US, PLAIN, by="movescu", refused=True)
def is_not_offered_a_move_without_tls(bench: Bench) -> None:
    for root in ("-S", "-P"):
        refused(bench, "movescu", root, "-aem", bench.calling, "-k", f"StudyInstanceUID={bench.studies[0]}")


def refused(bench: Bench, tool: str, *options: str) -> None:
    """The association stands, and the service is not in it."""
    done = peers.scu(tool, bench.door, "-k", "QueryRetrieveLevel=STUDY", *options, calling=bench.calling)
    assert done.returncode != 0, done.stdout
    assert "No Acceptable Presentation Contexts" in done.stdout or "No presentation context" in done.stdout, done.stdout


cannot(ME, Service.COMMIT, ASKS_US, "DCMTK 3.6.7 has no program for storage commitment")
cannot(ME, Service.COMMIT, IS_ASKED, "DCMTK 3.6.7 has no program for storage commitment")
cannot(
    ME,
    (Service.ECHO, Service.FIND_PATIENT_ROOT, Service.FIND_STUDY_ROOT, Service.GET_PATIENT_ROOT, Service.GET_STUDY_ROOT),
    IS_ASKED,
    SURVEY_ASKS,
)
cannot(ME, (Service.MOVE_PATIENT_ROOT, Service.MOVE_STUDY_ROOT), IS_ASKED, NOBODY_ASKED)
