"""Who is held is out of the pages within a second and signs in nowhere, over HTTPS; and no secret of a person lies anywhere."""

import asyncio
import base64
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pydicom
import pytest

from leadglass.access.factors import hotp, step_at
from leadglass.access.identity import PasswordAndCode
from leadglass.access.secret import Secret
from leadglass.archive.archive import Archive, Destination, Reached
from leadglass.assemble.opening import opened
from leadglass.home import Home
from leadglass.vocabulary import Door
from leadglass.wire.pages.app import create_pages
from leadglass.wire.pages.visit import DicomDoor
from tests import samples
from tests.archives import PASSWORD, ArchiveUnderTest, leadglass
from tests.never.canary import forms
from tests.pages.visitor import Person, Visitor
from tests.whole.shutting_out import HeldWhileAsking

WITHIN = 1.0
ENTRANCE = "/sign-in"
STUDY = str(pydicom.dcmread(samples.sample("CT_small.dcm"), stop_before_pixels=True).StudyInstanceUID)


@pytest.fixture
def ended(archive: ArchiveUnderTest) -> Iterator[ArchiveUnderTest]:
    """A stopped archive, which is stopped again however the test ends."""
    yield archive
    if archive.process is not None:
        archive.stop()


@pytest.fixture
def stocked_for_people(archive: ArchiveUnderTest) -> ArchiveUnderTest:
    """A stopped archive with a study."""
    assert archive.take_in([samples.sample("CT_small.dcm")])["stored"] == 1
    return archive


# Out within a second


class Browsing(threading.Thread):
    """A browser that asks for one page again and again over one connection, and notes when each request began and what came of it."""

    def __init__(self, visitor: Visitor, path: str) -> None:
        super().__init__(daemon=True)
        self._visitor = visitor
        self._path = path
        self._enough = threading.Event()
        self.seen: list[tuple[float, float, int]] = []

    def run(self) -> None:
        while not self._enough.is_set():
            began = time.monotonic()
            status = self._visitor.client.get(self._path).status_code
            self.seen.append((began, time.monotonic(), status))

    def end(self) -> list[tuple[float, float, int]]:
        self._enough.set()
        self.join(30)
        return self.seen


def test_every_session_of_who_is_held_ends_within_a_second_and_nobody_elses(stocked_for_people: ArchiveUnderTest) -> None:
    with stocked_for_people.serving() as archive:
        hanna, clara = Person.added(archive, "hanna", "clinician"), Person.added(archive, "clara", "clinician")
        with Visitor(archive) as desk, Visitor(archive) as ward, Visitor(archive) as other:
            for visitor, person in ((desk, hanna), (ward, hanna), (other, clara)):
                assert visitor.follow(visitor.sign_in(person)).status_code == 200
            browsing = [Browsing(desk, "/"), Browsing(ward, f"/studies/{STUDY}"), Browsing(other, f"/studies/{STUDY}/accesses")]
            for each in browsing:
                each.start()
            leadglass("hold", archive.home, "hanna")
            held = time.monotonic()
            time.sleep(WITHIN)
            of_desk, of_ward, of_other = (each.end() for each in browsing)
            for seen in (of_desk, of_ward):
                assert 303 in {status for _, _, status in seen}
                # Not one page more, whenever it was asked for.
                assert {status for _, ended, status in seen if ended > held + WITHIN} <= {303}
                assert {status for began, _, status in seen if began > held} == {303}
            assert {status for _, _, status in of_other} == {200}
            assert any(began > held for began, _, _ in of_other)
            leadglass("release", archive.home, "hanna")
            for visitor in (desk, ward):
                assert visitor.get("/").headers["location"] == ENTRANCE
            assert desk.follow(desk.sign_in(hanna)).status_code == 200


@pytest.mark.parametrize("path", ["/", f"/studies/{STUDY}", f"/studies/{STUDY}/accesses"])
def test_what_a_page_found_before_the_hold_does_not_leave_after_it(stocked_for_people: ArchiveUnderTest, path: str) -> None:
    archive = stocked_for_people
    person = Person.added(archive, "hanna", "clinician")
    with opened(Home(archive.home)) as there:
        shown = PasswordAndCode(person.name, Secret(PASSWORD), Secret(person.recovery[0]))
        _, cookie = there.archive.sign_in(Door.PAGES, shown, "127.0.0.1")

        async def nobody(_: Destination) -> Reached:
            return Reached.NOT_REACHED

        async def look(entered: Archive) -> httpx.Response:
            pages = create_pages(entered, DicomDoor((), 0, None, nobody))
            try:
                async with httpx.AsyncClient(transport=httpx.ASGITransport(pages), base_url="https://here") as client:
                    return await client.get(path, headers={"Cookie": f"__Host-session={cookie.reveal()}"})
            finally:
                pages.close()

        before, after = asyncio.run(look(there.archive)), asyncio.run(look(HeldWhileAsking(there.archive)))
        assert (before.status_code, STUDY in before.text) == (200, True)
        assert (after.status_code, after.headers["location"], after.content) == (303, ENTRANCE, b"")


# No way in


def totp(person: Person) -> str:
    """What the authenticator shows now; unlike `Person.code` again and again, since nothing of who is held is used up."""
    return hotp(base64.b32decode(person.secret), step_at(time.time_ns()))


def answer(visitor: Visitor, **form: str) -> tuple[int, bytes, list[tuple[str, str]]]:
    """All that a browser is answered, but for the moment."""
    got = visitor.post(ENTRANCE, **form)
    return got.status_code, got.content, [(name, value) for name, value in got.headers.multi_items() if name != "date"]


def test_who_is_held_is_told_what_a_stranger_is_told_through_a_restart_and_signs_in_anew_after_the_release(
    archive: ArchiveUnderTest,
) -> None:
    hanna = Person.added(archive, "hanna", "clinician")
    # Held while nothing serves.
    leadglass("hold", archive.home, "hanna")
    for time_served in range(2):
        with archive.serving(), Visitor(archive) as visitor:
            visitor.get(ENTRANCE)
            unknown = answer(visitor, user="nobody", password=PASSWORD, code=totp(hanna))
            wrong = answer(visitor, user="hanna", password="wrong horse battery", code=totp(hanna))
            assert unknown[0] == 403
            assert unknown == wrong
            for code in (totp(hanna), hanna.recovery[0], "000000"):
                assert answer(visitor, user="hanna", password=PASSWORD, code=code) == unknown
            assert "__Host-session" not in visitor.client.cookies
            if time_served:
                leadglass("release", archive.home, "hanna")
                # No code that was shown meanwhile was used up by it.
                assert visitor.sign_in(hanna, code=hanna.recovery[0]).status_code == 303
                assert visitor.get("/").status_code == 200
    told = [(each["who"], each["kind"], each["detail"].get("reason")) for each in archive.trail() if each["door"] == "pages"]
    signing = [each for each in told if each[1] in {"sign-in-refused", "signed-in"}]
    once = [("user:hanna", "sign-in-refused", reason) for reason in ("wrong-password", "held-user", "held-user", "held-user")]
    assert signing == [*once, *once, ("user:hanna", "signed-in", None)]


# No secret anywhere


class Secrets(dict[bytes, str]):
    """Secrets by how they may be written: as they are, in UTF-16, hexadecimal, base64 and percent-encoded."""

    def plant(self, name: str, *values: bytes) -> None:
        for value in values:
            for spelt in {value, value.decode("latin-1").encode("utf-16-le")}:
                self.update(dict.fromkeys(forms(spelt), name))

    def found_in(self, data: bytes) -> set[str]:
        return {name for needle, name in self.items() if needle in data}

    def found_under(self, *folders: Path) -> dict[str, set[str]]:
        files = (path for folder in folders for path in folder.rglob("*") if path.is_file() or path.is_dir())
        found = ((path, self.found_in(os.fsencode(path.name) + b"\0" + (path.read_bytes() if path.is_file() else b""))) for path in files)
        return {str(path): names for path, names in found if names}


def spellings(person: Person) -> Iterator[tuple[str, bytes]]:
    yield "second factor", person.secret.encode()
    yield "second factor", base64.b32decode(person.secret)
    for code in person.recovery:
        yield "recovery code", code.encode()
        yield "recovery code", code.replace("-", "").encode()


def test_no_password_code_or_cookie_of_a_person_lies_anywhere_or_is_said(ended: ArchiveUnderTest, tmp_path: Path) -> None:
    """While it serves, after kill -9, after the next opening: under HOME, in temporary files, the log, and what the commands say."""
    archive, temporary, secrets = ended, tmp_path / "temporary", Secrets()
    temporary.mkdir()
    chosen, mistyped, as_name = "a quagmire of 17 xylophones", "a quagmire of 18 xylophones", "quagmire.typed.for.a.name"
    archive.start(environment={"TMPDIR": str(temporary), "SQLITE_TMPDIR": str(temporary)})
    person = Person.added(archive, "rosa", "clinician")
    leadglass("user", "password", archive.home, "rosa", stdin=f"{chosen}\n")
    made = leadglass("user", "password", archive.home, "admin", "--make").stdout.split()[-1]
    for name, value in [*spellings(person), ("password", chosen.encode()), ("password", mistyped.encode()), ("password", made.encode())]:
        secrets.plant(name, value)
    secrets.plant("typed for a name", as_name.encode())
    with Visitor(archive) as visitor:
        assert visitor.sign_in(person, password=mistyped).status_code == 403
        assert visitor.sign_in(person, user=as_name, password=chosen).status_code == 403
        leadglass("hold", archive.home, "rosa")
        assert visitor.sign_in(person, password=chosen, code=person.recovery[1]).status_code == 403
        leadglass("release", archive.home, "rosa")
        secrets.plant("form", visitor.client.cookies["__Host-form"].encode(), visitor.token.encode())
        assert visitor.follow(visitor.sign_in(person, password=chosen, code=person.recovery[0])).status_code == 200
        secrets.plant("session", visitor.client.cookies["__Host-session"].encode(), visitor.token.encode())
        said = leadglass("user", "list", archive.home, "--json").stdout + leadglass("trail", "show", archive.home, "--json").stdout
        said += leadglass("policy", "explain", archive.home, "rosa").stdout + visitor.get("/").text.replace(visitor.token, "")
        assert secrets.found_in(said.encode()) == set()
        _nothing_lies(archive, temporary, secrets)
    archive.stop(signal.SIGKILL)
    _nothing_lies(archive, temporary, secrets)
    # It opens the archive, and mends what the kill left.
    assert leadglass("check", archive.home, environment={"TMPDIR": str(temporary)}).returncode == 0
    _nothing_lies(archive, temporary, secrets)
    # What is looked for is found where it is: each secret, each way of writing it.
    for number, value in enumerate([chosen.encode(), person.secret.encode(), base64.b64encode(b"x" + person.recovery[2].encode())]):
        (temporary / "note").write_bytes(b"before" + value + b"after")
        assert len(secrets.found_under(temporary)) == 1, number
    assert "signed-in" in {each["kind"] for each in archive.trail()}


def _nothing_lies(archive: ArchiveUnderTest, temporary: Path, secrets: Secrets) -> None:
    assert secrets.found_under(archive.home, temporary) == {}
    assert secrets.found_in(archive.log().encode()) == set()
