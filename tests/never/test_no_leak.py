"""Not a byte of a patient leaves by any door for whom the policy does not allow; and the oracle that says so finds every planted leak."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.archives import ArchiveUnderTest
from tests.never import asking
from tests.never.browsing import by_pages
from tests.never.canary import VISIBLE, found_in
from tests.never.house import House
from tests.never.oracle import Twins, differences, leaks, leaks_at_rest, twins
from tests.never.planted import LEAKS

ROOT = Path(__file__).parents[2]


def everything_asked(archive: ArchiveUnderTest, house: House) -> list[asking.Exchange]:
    return [*asking.by_web(house, archive), *asking.by_dimse(house, archive)]


def test_no_byte_of_a_hidden_patient_leaves(pair: Twins, asked: tuple[list[asking.Exchange], list[asking.Exchange]]) -> None:
    exchanges, _ = asked
    assert leaks(exchanges) == []
    assert leaks_at_rest(pair) == []
    # What may be seen was seen, by the same search: the questions reach the images.
    for who in ("anna", "bert", "wim", "anna pages", "bert pages", "dimse READER", "dimse ALL"):
        expected = {*VISIBLE.texts} if "pages" in who else {*VISIBLE.texts, "pixels"}
        assert found_in(b"".join(each.received for each in exchanges if each.name.startswith(who)), [VISIBLE]) == expected
    assert len(exchanges) > 2000


def test_every_stranger_gets_the_same_few_bytes(asked: tuple[list[asking.Exchange], list[asking.Exchange]], house: House) -> None:
    exchanges, _ = asked
    whom = tuple(f"{name} " for name, _ in asking.strangers(house))
    # One path further in, nothing is HTTP: FIND is no method that the parser knows.
    not_http = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 30\r\nconnection: close\r\n\r\n"
    said = {(each.name, each.received.partition(b"\r\ndate: ")[0]) for each in exchanges if each.name.startswith(whom)}
    answers = {answer for _, answer in said} - {not_http + b"Invalid HTTP request received."}
    # Under /dicom-web a token is asked for; everywhere else are the pages, and whoever is a stranger is shown their entrance.
    of_dicomweb = answers & {answer for name, answer in said if " /dicom-web/" in name}
    assert {answer.split(b"\r\n", 1)[0] for answer in of_dicomweb} == {b"HTTP/1.1 401 Unauthorized"}
    assert {answer.split(b"\r\n", 1)[0] for answer in answers - of_dicomweb} == {b"HTTP/1.1 303 See Other"}
    assert (len(of_dicomweb), len(answers)) == (1, 2)


def test_who_is_held_or_revoked_is_answered_at_the_dimse_door_as_one_that_nobody_knows(
    asked: tuple[list[asking.Exchange], list[asking.Exchange]],
) -> None:
    for exchanges in asked:
        answers = {
            who: [each.received for each in exchanges if each.name.startswith(f"dimse {who}")]
            for who in ("unknown name", "another's name", "revoked", "held")
        }
        (unknown,) = answers["unknown name"]
        assert unknown
        assert answers == {who: [unknown] for who in answers}


@pytest.fixture(scope="module")
def leaking(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    folder = tmp_path_factory.mktemp("leaking") / "twins"
    places = {"PYTHONPATH": str(ROOT)}
    with twins(house, folder, (sys.executable, "-m", "tests.never.planted"), places) as made:
        yield made


def found_by_the_oracle(pair: Twins, where: str) -> list[str]:
    """What the oracle says, after the questions that concern a door; empty is innocent."""
    found = []
    if "web" in where:
        holding, lacking = pair.ask(partial(asking.by_web, briefly=True))
        found += leaks(holding) + differences(holding, lacking)
    if "pages" in where:
        holding, lacking = pair.ask(by_pages)
        found += leaks(holding) + differences(holding, lacking)
    if "dimse" in where:
        holding, lacking = pair.ask(partial(asking.by_dimse, briefly=True))
        found += leaks(holding) + differences(holding, lacking)
    if "handing in" in where:
        number = 1 + pair.handed_in
        pair.handed_in += 1
        holding, lacking = pair.ask(lambda house, archive: asking.by_handing_in(house, archive, number))
        found += leaks(holding) + differences(holding, lacking)
    return found + (leaks_at_rest(pair) if "at rest" in where else [])


def test_the_oracle_finds_nothing_where_nothing_was_planted(leaking: Twins) -> None:
    assert found_by_the_oracle(leaking, "web pages dimse handing in at rest") == []


ALWAYS = {
    "the page of a study without the predicate",
    "find without the predicate",
    "moves what may not be seen",
    "commits what others sent",
    "forbidden instead of not found",
    "a name in base64 in a header",
    "a value repeated in an error",
    "hidden objects counted as failed",
    "the held still come in",
    "a temporary file",
    "a study in a file of the trail",
    "a conflict refused",
}
"""One of each kind, for every run; `make test-long` plants them all."""


@pytest.mark.parametrize("leak", [pytest.param(leak, marks=[] if leak in ALWAYS else [pytest.mark.long]) for leak in LEAKS])
def test_the_oracle_finds_the_leak(leaking: Twins, leak: str) -> None:
    leaking.planted.write_text(leak)
    try:
        found = found_by_the_oracle(leaking, LEAKS[leak])
    finally:
        leaking.planted.write_text("")
        leaking.clean()
    assert found


AS_NOBODY = """
import os, socket, sys
folder = os.open(sys.argv[1], os.O_RDONLY)
os.setgroups([]), os.setgid(65534), os.setuid(65534)
connection = socket.socket(socket.AF_UNIX)
try:
    connection.connect(f"/proc/self/fd/{folder}/control.sock")
    while piece := connection.recv(9999):
        sys.stdout.buffer.write(piece)
except PermissionError:
    print("kept out")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as another user")
def test_the_control_socket_knows_no_other_user(pair: Twins) -> None:
    """Kept out by the folder, by the socket's mode, and, were both opened, not identified."""
    home = pair.lacking.home
    said = []
    try:
        for mode in (0o600, 0o777):
            (home / "control.sock").chmod(mode)
            home.chmod(0o711 if mode == 0o777 else 0o700)
            done = subprocess.run([sys.executable, "-c", AS_NOBODY, str(home)], capture_output=True, check=True)
            said.append(done.stdout)
    finally:
        home.chmod(0o700)
        (home / "control.sock").chmod(0o600)
    assert said == [b"kept out\n", b'\0\0\0\x33\x06{"type":"NotIdentified","message":"not identified"}']
