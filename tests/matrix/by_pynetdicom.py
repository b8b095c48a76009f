"""pynetdicom's rows."""

import threading

import pydicom
from pydicom.uid import UID, generate_uid
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association

from tests.matrix.bench import TRUSTED, Bench
from tests.matrix.cells import Peer, Service, Transport, Way
from tests.matrix.comparing import Original, assert_same_objects, padded
from tests.matrix.table import NOBODY_ASKED, SURVEY_ASKS, cannot, row
from tests.whole.associating import (
    FIND,
    MOVES,
    PATIENT_FIND,
    PATIENT_GET,
    VERIFICATION,
    Sent,
    associated,
    find,
    get_studies,
    send,
)
from tests.whole.receiving import receiver
from tests.whole.relay import client_context, server_context

ME, ASKS_US, IS_ASKED = Peer.PYNETDICOM, Way.ASKS_US, Way.IS_ASKED
TLS, PLAIN = Transport.TLS, Transport.PLAIN
COMMITMENT, COMMITMENT_INSTANCE = UID("1.2.840.10008.1.20.1"), UID("1.2.840.10008.1.20.1.1")


@row(ME, Service.ECHO, ASKS_US, by="AE.send_c_echo")
def echo(bench: Bench) -> None:
    with associated(bench.door, bench.tls, bench.calling) as association:
        assert association.send_c_echo().Status == 0


@row(ME, Service.STORE, ASKS_US, by="C_STORE with the file's own bytes", stocked=False)
def store(bench: Bench) -> None:
    with associated(bench.door, bench.tls, bench.calling, storage=bench.pairs) as association:
        statuses = {each.path.name: send(association, padded(each.sent)) for each in bench.originals}
    assert set(statuses.values()) == {0}, statuses
    received = get_studies(bench.archive.dimse, bench.identity, bench.studies, bench.pairs)
    assert sorted(received, key=str) == sorted((padded(each.sent) for each in bench.originals), key=str)


@row(ME, Service.FIND_STUDY_ROOT, ASKS_US, TLS, by="AE.send_c_find")
def find_in_study_root(bench: Bench) -> None:
    with associated(bench.door, bench.tls, bench.calling) as association:
        studies = find(association, "STUDY", StudyInstanceUID="", NumberOfStudyRelatedInstances="", PatientID="")
        assert sorted(str(each.StudyInstanceUID) for each in studies) == bench.studies
        assert sum(int(each.NumberOfStudyRelatedInstances) for each in studies) == len(bench.originals)
        assert images_below(association, FIND, [{"StudyInstanceUID": study} for study in bench.studies]) == {
            (each.study, each.series, each.uid) for each in bench.originals
        }


@row(ME, Service.FIND_PATIENT_ROOT, ASKS_US, TLS, by="AE.send_c_find")
def find_in_patient_root(bench: Bench) -> None:
    with associated(bench.door, bench.tls, bench.calling) as association:
        patients = find(association, "PATIENT", PATIENT_FIND, PatientID="", NumberOfPatientRelatedInstances="")
        assert {str(each.PatientID or "") for each in patients} == {each.patient for each in bench.originals}
        assert sum(int(each.NumberOfPatientRelatedInstances) for each in patients) == len(bench.originals)
        above = []
        for patient in bench.patients:
            found = find(association, "STUDY", PATIENT_FIND, PatientID=patient, StudyInstanceUID="")
            above += [{"PatientID": patient, "StudyInstanceUID": str(each.StudyInstanceUID)} for each in found]
        assert images_below(association, PATIENT_FIND, above) == {
            (each.study, each.series, each.uid) for each in bench.originals if each.patient
        }


def images_below(association: Association, model: UID, above: list[dict[str, str]]) -> set[tuple[str, str, str]]:
    """Study, series and image of every image, found level by level below these unique keys."""
    images = set()
    for keys in above:
        for series in find(association, "SERIES", model, **keys, SeriesInstanceUID="", Modality=""):
            uid = str(series.SeriesInstanceUID)
            for image in find(association, "IMAGE", model, **keys, SeriesInstanceUID=uid, SOPInstanceUID=""):
                images.add((keys["StudyInstanceUID"], uid, str(image.SOPInstanceUID)))
    return images


@row(ME, Service.GET_STUDY_ROOT, ASKS_US, TLS, by="AE.send_c_get")
def get_in_study_root(bench: Bench) -> None:
    assert_same_objects(get_studies(bench.door, bench.identity, bench.studies, bench.pairs), bench.originals)


@row(ME, Service.GET_PATIENT_ROOT, ASKS_US, TLS, by="AE.send_c_get")
def get_in_patient_root(bench: Bench) -> None:
    received: list[Sent] = []
    with associated(bench.door, bench.tls, bench.calling, storage=bench.pairs, receiving=received) as association:
        for patient in bench.patients:
            *_, (status, _) = association.send_c_get(keys_of("PATIENT", PatientID=patient), PATIENT_GET)
            assert status.Status == 0, (patient, status)
    assert_same_objects(received, [each for each in bench.originals if each.patient])


def keys_of(level: str, **keys: object) -> pydicom.Dataset:
    """The identifier of a retrieve."""
    made = pydicom.Dataset()
    made.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(made, keyword, value)
    return made


def move(bench: Bench, destination: str, model: UID, *requests: pydicom.Dataset, failing: int = 0) -> None:
    """Ask for these, by the trusted peer over TLS; of each so many objects have to fail, and all others arrive."""
    with associated(bench.archive.dimse, bench.identity, TRUSTED) as association:
        for request in requests:
            *_, (status, _) = association.send_c_move(request, destination, model)
            assert (status.Status, status.NumberOfFailedSuboperations) == (0xB000 if failing else 0, failing), status


@row(ME, Service.MOVE_STUDY_ROOT, ASKS_US, TLS, by="AE.send_c_move")
@row(ME, Service.STORE, IS_ASKED, by="AE.start_server, as a destination of C-MOVE")
def move_in_study_root(bench: Bench) -> None:
    with receiver(bench.peer.aet, tls=bench.peer.tls, port=bench.peer.port) as there:
        move(bench, bench.peer.aet, MOVES[0], keys_of("STUDY", StudyInstanceUID=bench.studies))
    assert_same_objects(there.received, bench.originals)


@row(ME, Service.MOVE_PATIENT_ROOT, ASKS_US, TLS, by="AE.send_c_move")
def move_in_patient_root(bench: Bench) -> None:
    with receiver(bench.peer.aet, tls=bench.peer.tls, port=bench.peer.port) as there:
        move(bench, bench.peer.aet, MOVES[1], *(keys_of("PATIENT", PatientID=patient) for patient in bench.patients))
    assert_same_objects(there.received, [each for each in bench.originals if each.patient])


@row(ME, Service.COMMIT, ASKS_US, TLS, by="AE.send_n_action")
def commit(bench: Bench) -> None:
    told: list[tuple[int | None, pydicom.Dataset]] = []
    came = threading.Event()

    def take(event: evt.Event) -> tuple[int, None]:
        told.append((event.event_type, event.event_information))
        came.set()
        return 0x0000, None

    entity = AE(ae_title=bench.calling)
    context = client_context(bench.identity.authority, bench.identity)
    association = entity.associate(
        bench.door.host,
        bench.door.port,
        [build_context(COMMITMENT)],
        bench.door.aet,
        tls_args=(context, bench.door.host),
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)],
    )
    assert association.is_established
    status, _ = association.send_n_action(asked_for(bench.originals), 1, COMMITMENT, COMMITMENT_INSTANCE)
    assert status.Status == 0
    assert came.wait(60)
    association.release()
    assert_committed(told, bench.originals)


@row(ME, Service.COMMIT, IS_ASKED, TLS, by="AE.start_server, told on a new association")
def commit_on_a_new_association(bench: Bench) -> None:
    told: list[tuple[int | None, pydicom.Dataset]] = []
    came = threading.Event()

    def take(event: evt.Event) -> tuple[int, None]:
        told.append((event.event_type, event.event_information))
        came.set()
        return 0x0000, None

    listening = AE(ae_title=bench.peer.aet)
    listening.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)
    server = listening.start_server(
        ("127.0.0.1", bench.peer.port),
        block=False,
        ssl_context=server_context(bench.identity),
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)],
    )
    try:
        entity = AE(ae_title=bench.calling)
        entity.add_requested_context(COMMITMENT)
        tls = client_context(bench.identity.authority, bench.identity)
        association = entity.associate(bench.door.host, bench.door.port, ae_title=bench.door.aet, tls_args=(tls, bench.door.host))
        assert association.is_established
        status, _ = association.send_n_action(asked_for(bench.originals), 1, COMMITMENT, COMMITMENT_INSTANCE)
        assert status.Status == 0
        association.release()
        assert came.wait(60)
    finally:
        if server is not None:
            server.shutdown()
    assert_committed(told, bench.originals)


def asked_for(originals: list[Original]) -> pydicom.Dataset:
    """The action information of a request to commit these (PS3.4 Table J.3-1)."""
    made = pydicom.Dataset()
    made.TransactionUID = generate_uid()
    made.ReferencedSOPSequence = [pydicom.Dataset() for _ in originals]
    for item, each in zip(made.ReferencedSOPSequence, originals, strict=True):
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = each.sent.sop_class, each.uid
    return made


def assert_committed(told: list[tuple[int | None, pydicom.Dataset]], originals: list[Original]) -> None:
    """One report came, and it says that all are safe (PS3.4 Table J.3-2)."""
    ((event_type, report),) = told
    assert event_type == 1
    assert "FailedSOPSequence" not in report
    assert {str(item.ReferencedSOPInstanceUID) for item in report.ReferencedSOPSequence} == {each.uid for each in originals}


NOT_WITHOUT_TLS = (
    Service.FIND_PATIENT_ROOT,
    Service.FIND_STUDY_ROOT,
    Service.GET_PATIENT_ROOT,
    Service.GET_STUDY_ROOT,
    Service.MOVE_PATIENT_ROOT,
    Service.MOVE_STUDY_ROOT,
    Service.COMMIT,
)


@row(ME, NOT_WITHOUT_TLS, ASKS_US, PLAIN, by="AE.associate", refused=True)
def is_offered_echo_and_store_alone_without_tls(bench: Bench) -> None:
    with associated(bench.door, None, bench.calling, storage=[("1.2.840.10008.1.20.1", "1.2.840.10008.1.2.1")]) as association:
        assert {each.abstract_syntax for each in association.accepted_contexts} == {VERIFICATION}
        assert len(association.rejected_contexts) == len(NOT_WITHOUT_TLS)


cannot(
    ME,
    (Service.ECHO, Service.FIND_PATIENT_ROOT, Service.FIND_STUDY_ROOT, Service.GET_PATIENT_ROOT, Service.GET_STUDY_ROOT),
    IS_ASKED,
    SURVEY_ASKS,
)
cannot(ME, (Service.MOVE_PATIENT_ROOT, Service.MOVE_STUDY_ROOT), IS_ASKED, NOBODY_ASKED)
cannot(ME, Service.COMMIT, IS_ASKED, "a peer without TLS is given echo and store alone", PLAIN)
