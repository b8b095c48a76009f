"""dicomweb-client against the archive: a token does what its role may, none gets not a byte, and what is hidden does not exist."""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient

from tests import samples
from tests.archives import ArchiveUnderTest, leadglass
from tests.dicomweb.client import AS_STORED, path_to, uids_of
from tests.whole.stock import FEW, few

CT, MR = samples.sample("CT_small.dcm"), samples.sample("MR_small.dcm")

NARROW = """
[[rule]]
roles = ["clinician"]
may = ["find", "get"]
[[rule.where]]
attribute = "Modality"
values = ["MR"]

[[rule]]
roles = ["technologist"]
may = ["store", "find"]
studies = "every"

[[rule]]
local = true
may = ["administer", "read-trail", "store"]
studies = "every"
"""


@dataclass(frozen=True)
class Web:
    archive: ArchiveUnderTest
    technologist: str
    clinician: str
    auditor: str

    def client(self, token: str | None) -> DICOMwebClient:
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.archive.ca)
        if token is not None:
            session.headers["Authorization"] = f"Bearer {token}"
        return DICOMwebClient(self.archive.web, session=session)


@pytest.fixture(scope="module")
def web(new_archive: Callable[[], ArchiveUnderTest]) -> Iterator[Web]:
    archive = new_archive()
    with archive.serving():
        made = Web(
            archive,
            technologist=archive.token("tom", "technologist", "store,find"),
            clinician=archive.token("clara"),
            auditor=archive.token("otto", "auditor", "find,get"),
        )
        made.client(made.technologist).store_instances([pydicom.dcmread(path) for path in few() if "J2K" not in path.name])
        yield made


def test_a_token_stores_searches_and_retrieves(web: Web) -> None:
    searching = web.client(web.technologist)
    found = searching.search_for_studies(search_filters={"ModalitiesInStudy": "CT"}, fields=["PatientName"])
    assert [pydicom.Dataset.from_json(row).StudyInstanceUID for row in found] == [uids_of(CT)[0]]
    client = web.client(web.clinician)
    study, series, instance = uids_of(CT)
    assert len(client.search_for_series(study)) == len(client.search_for_instances(study, series)) == 1
    received = client.retrieve_instance(study, series, instance)
    assert received.PixelData == pydicom.dcmread(CT).PixelData
    (metadata,) = client.retrieve_study_metadata(study)
    assert pydicom.Dataset.from_json(metadata, lambda *_: b"").PatientID == pydicom.dcmread(CT).PatientID
    (frame,) = client.retrieve_instance_frames(study, series, instance, [1])
    assert frame == pydicom.dcmread(CT).PixelData
    assert len(client.retrieve_study(uids_of(MR)[0])) == 1


def test_without_a_token_it_is_401_and_not_a_byte_more(web: Web) -> None:
    study, series, instance = uids_of(CT)
    seen = set()
    for path in ("/studies", "/studies/1.2.3", f"/studies/{study}", path_to(study, series, instance), f"/studies/{study}/metadata"):
        for token in (None, "lg_" + "A" * 43):
            fields = {"Accept": AS_STORED, **({"Authorization": f"Bearer {token}"} if token else {})}
            answer = requests.get(web.archive.web + path, headers=fields, verify=str(web.archive.ca), timeout=30)
            seen.add((answer.status_code, answer.content, tuple(sorted(set(answer.headers) - {"date"}))))
    assert len(seen) == 1
    ((status, body, _),) = seen
    assert status == 401
    assert not [word for word in (study, "CompressedSamples", "CT") if word.encode() in body]
    with pytest.raises(requests.HTTPError, match="401"):
        web.client(None).search_for_studies()


@pytest.mark.parametrize(
    ("who", "refused"),
    [("technologist", ["get"]), ("clinician", ["store"]), ("auditor", ["find", "get", "store"])],
)
def test_a_role_has_no_other_roles_rights(who: str, refused: list[str], web: Web) -> None:
    client = web.client(getattr(web, who))
    study = uids_of(MR)[0]
    asked: dict[str, Callable[[], object]] = {
        "get": lambda: client.retrieve_study(study),
        "find": client.search_for_studies,
        "store": lambda: client.store_instances([pydicom.dcmread(MR)]),
    }
    for action, ask in asked.items():
        if action in refused:
            with pytest.raises(requests.HTTPError, match=r"40[34]"):
                ask()
        else:
            ask()
    person = {"technologist": "tom", "clinician": "clara", "auditor": "otto"}[who]
    denied = {entry["action"] for entry in web.archive.trail("--who", f"user:{person}") if entry["kind"] == "denied"}
    assert denied == set(refused)


@pytest.fixture
def narrowed(web: Web) -> Iterator[Web]:
    """The clinician may see MR alone."""
    policy = web.archive.home / "policy.toml"
    before = policy.read_text()
    policy.write_text(NARROW)
    leadglass("policy", "apply", web.archive.home)
    yield web
    policy.write_text(before)
    leadglass("policy", "apply", web.archive.home)


def curl(web: Web, token: str, path: str, accept: str = "*/*") -> tuple[str, list[str], str]:
    """Status, header fields but the date, and body, by curl."""
    words = ["curl", "-s", "-i", "--cacert", str(web.archive.ca), "-H", f"Authorization: Bearer {token}", "-H", f"Accept: {accept}"]
    done = subprocess.run([*words, web.archive.web + path], capture_output=True, text=True, check=True, timeout=30)
    head, _, body = done.stdout.partition("\n\n")
    if not body:
        head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
    lines = head.splitlines()
    return lines[0], sorted(line for line in lines[1:] if not line.lower().startswith("date:")), body


def test_what_a_role_may_not_see_does_not_exist(narrowed: Web) -> None:
    study, series, instance = uids_of(CT)
    client = narrowed.client(narrowed.clinician)
    rows = client.search_for_studies()
    assert [pydicom.Dataset.from_json(row).StudyInstanceUID for row in rows] == [uids_of(MR)[0]]
    assert client.search_for_studies(search_filters={"StudyInstanceUID": study}) == []
    assert client.search_for_studies(search_filters={"PatientID": str(pydicom.dcmread(CT).PatientID)}) == []
    assert len(client.retrieve_study(uids_of(MR)[0])) == 1
    for path in ("", "/metadata", f"/series/{series}", f"/series/{series}/metadata"):
        for accept in (AS_STORED, "application/dicom+json", "*/*"):
            nowhere = curl(narrowed, narrowed.clinician, f"/studies/1.2.3{path.replace(series, '1.2.4')}", accept)
            hidden = curl(narrowed, narrowed.clinician, f"/studies/{study}{path}", accept)
            assert hidden == nowhere
            assert hidden[0].split()[1] in {"404", "406"}
    for tail in ("", "/metadata", "/frames/1"):
        assert curl(narrowed, narrowed.clinician, path_to(study, series, instance) + tail)[0].split()[1] == "404"
        assert curl(narrowed, narrowed.clinician, path_to(study, series, instance) + tail) == curl(
            narrowed, narrowed.clinician, path_to("1.2.3", "1.2.4", "1.2.5") + tail
        )
    everything = curl(narrowed, narrowed.technologist, "/studies?includefield=all")
    assert len(json.loads(everything[2])) == len(FEW) - 1
