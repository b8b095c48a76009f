"""Storing shows nothing: no object handed in makes a hidden study visible, or changes what a study says of itself while it is served."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.archives import ArchiveUnderTest, copy_of, leadglass, wait_until
from tests.dicomweb.client import BOUNDARY, Client, multipart
from tests.never.house import House, encoded, hidden, visible

NARROW = """
[[rule]]
roles = ["technologist"]
may = ["store", "find", "get"]
[[rule.where]]
attribute = "Modality"
values = ["CT"]

[[rule]]
roles = ["clinician"]
may = ["find", "get"]
studies = "every"

[[rule]]
local = true
may = ["administer", "read-trail", "store"]
studies = "every"
"""
"""Who stores sees studies that hold a CT; who reports sees every study."""


@pytest.fixture
def archive(house: House, tmp_path: Path) -> Iterator[ArchiveUnderTest]:
    copied = copy_of(house.archive, tmp_path / "archive")
    (copied.home / "policy.toml").write_text(NARROW)
    leadglass("policy", "apply", copied.home)
    with copied.serving():
        yield copied


def keep(archive: ArchiveUnderTest, whole: bytes) -> None:
    """Store as somebody who sees everything."""
    path = archive.home.with_name("object.dcm")
    path.write_bytes(whole)
    assert archive.take_in([path], code=0)["stored"] == 1


def said(client: Client, study: str) -> list[tuple[str, str]]:
    """Name and accession number of the study, as often as it is found."""
    answer = client.get("/studies", params={"StudyInstanceUID": study})
    rows = answer.json() if answer.status_code == 200 else []
    return [(row["00100010"]["Value"][0]["Alphabetic"], row["00080050"]["Value"][0]) for row in rows]


def test_storing_into_a_hidden_study_does_not_show_it(archive: ArchiveUnderTest, house: House) -> None:
    tessa, anna = Client(archive, house.tokens["tessa"]), Client(archive, house.tokens["anna"])
    there = hidden(1, 1, 1)
    keep(archive, encoded(there))
    study, seen = str(there.StudyInstanceUID), said(anna, str(there.StudyInstanceUID))
    assert said(tessa, study) == []
    # The wristband and a referral tell the Patient ID and the study's UID.
    of_the_patient = {"PatientID": str(there.PatientID), "StudyInstanceUID": study}
    own = [encoded(visible(7, 1, number, PatientName="X", **of_the_patient)) for number in (1, 2)]
    joined, elsewhere = tessa.store(own[0]), tessa.store(encoded(visible(7, 1, 3)))
    assert (
        (joined.status_code, joined.headers.keys()) == (elsewhere.status_code, elsewhere.headers.keys()) == (200, elsewhere.headers.keys())
    )
    assert joined.json().keys() == elsewhere.json().keys()
    assert tessa.store(own[1], study=study).status_code == 200
    assert said(tessa, study) == []
    for path in ("", "/series", "/instances", "/metadata"):
        assert tessa.get(f"/studies/{study}{path}").status_code in {204, 404}
    assert said(anna, study) == seen
    assert len(anna.get(f"/studies/{study}/instances").json()) == 1
    # Elsewhere it stays as it was: what the sender may see, he may add to.
    assert tessa.store(encoded(visible(7, 1, 4))).status_code == 200
    assert len(tessa.get(f"/studies/{visible(7, 1, 4).StudyInstanceUID}/instances").json()) == 2


def test_an_upload_that_began_earlier_and_ends_later_renames_nothing(archive: ArchiveUnderTest, house: House) -> None:
    tessa, anna = Client(archive, house.tokens["tessa"]), Client(archive, house.tokens["anna"])
    evil = multipart(encoded(visible(8, 1, 1, PatientName="EVIL^NAME", AccessionNumber="EVIL", PixelData=bytes(3_000_000))))
    go_on, answers = threading.Event(), []

    def body() -> Iterator[bytes]:
        yield evil[:2_000_000]
        assert go_on.wait(60)
        yield evil[2_000_000:]

    def upload() -> None:
        fields = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'}
        answers.append(tessa.request("POST", "/studies", fields, data=body()).status_code)

    late = threading.Thread(target=upload)
    late.start()
    try:
        wait_until(lambda: any((archive.home / "blobs" / "incoming").iterdir()))
        keep(archive, encoded(visible(8, 1, 2, PatientName="TRUE^NAME", AccessionNumber="TRUE")))
        study = str(visible(8, 1, 2).StudyInstanceUID)
        assert said(anna, study) == [("TRUE^NAME", "TRUE")]
    finally:
        go_on.set()
        late.join()
    assert answers == [200]
    assert len(anna.get(f"/studies/{study}/instances").json()) == 2
    assert said(anna, study) == [("TRUE^NAME", "TRUE")]
    archive.stop()
    shutil.rmtree(archive.home / "index")
    leadglass("index", "rebuild", archive.home)
    archive.start()
    assert said(Client(archive, house.tokens["anna"]), study) == [("TRUE^NAME", "TRUE")]
