"""A known peer or person whom a door refuses before any operation is in the trail, with why; a flood of it is one entry a minute."""

import http.client
import ssl
from collections import Counter
from urllib.parse import urlsplit

import pytest
from pynetdicom import AE

from tests.archives import ArchiveUnderTest
from tests.certificates import Identity
from tests.whole.associating import FIND, GET, VERIFICATION
from tests.whole.relay import client_context

TRIES = 40


def associate(archive: ArchiveUnderTest, who: Identity, called: str, services: list[str]) -> tuple[bool, int]:
    """Whether it was accepted, and how many contexts were."""
    entity = AE("STOREONLY")
    for each in services:
        entity.add_requested_context(each)
    context = client_context(archive.ca, who)
    door = archive.dimse
    association = entity.associate(door.host, door.port, ae_title=called, tls_args=(context, door.host))
    accepted = association.is_established, len(association.accepted_contexts)
    if association.is_established:
        association.release()
    return accepted


@pytest.mark.parametrize("tries", [1, pytest.param(TRIES, marks=pytest.mark.long)])
def test_what_a_known_peer_may_not_have_is_in_the_trail(archive: ArchiveUnderTest, tries: int) -> None:
    with archive.serving():
        who = archive.peer("STOREONLY", may="store")
        for _ in range(tries):
            assert associate(archive, who, "ANOTHER", [VERIFICATION]) == (False, 0)
            assert associate(archive, who, "LEADGLASS", [VERIFICATION, FIND, GET]) == (True, 1)
            # A SOP class that we do not have at all is nobody's offence.
            assert associate(archive, who, "LEADGLASS", [VERIFICATION, "1.2.840.10008.5.1.4.34.6.1"]) == (True, 1)
    told = [each for each in archive.trail() if each["kind"] == "denied"]
    assert {(each["who"], each["door"], each["address"]) for each in told} == {("peer:STOREONLY", "dimse", "127.0.0.1")}
    # One for each minute in which there was one, and not one for each refusal.
    assert len(told) <= 1 + tries // 4
    assert sum((Counter(each["detail"]) for each in told), Counter()) == {"called-title": tries, "service": tries}
    assert sum(each["count"] for each in told) == 2 * tries


def test_what_cannot_be_understood_on_the_web_is_in_the_trail(archive: ArchiveUnderTest) -> None:
    with archive.serving():
        token = archive.token("anna")
        url = urlsplit(archive.web)
        for query in ("?limit=many", "?StudyDate=yesterday", "?limit=1"):
            connection = http.client.HTTPSConnection(
                url.hostname or "", url.port, context=ssl.create_default_context(cafile=str(archive.ca))
            )
            connection.request("GET", f"/dicom-web/studies{query}", headers={"Authorization": f"Bearer {token}"})
            connection.getresponse().read()
            connection.close()
    told = [each for each in archive.trail() if each["kind"] == "denied"]
    assert sum((Counter(each["detail"]) for each in told), Counter()) == {"not-understood": 2}
    assert {each["door"] for each in told} == {"dicomweb"}
    assert all(each["who"].endswith("@anna") for each in told)
