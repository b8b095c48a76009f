"""Peers at the pages: the recipe for a modality, a C-ECHO that says what failed, and nothing of it for anybody else."""

import errno
import html
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cryptography import x509
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification  # type: ignore[attr-defined] # made at import

from leadglass.archive.archive import Reached
from leadglass.net.failures import Aborted, AbortedHere, BrokenOff, Failure, Misbehaved, NotDicom, NotReached, Rejected, TimedOut, TlsFailed
from leadglass.net.requestor import _not_reached
from leadglass.wire.dimse.trying import reached
from leadglass.wire.pages.words import LANGUAGES
from tests.archives import ArchiveUnderTest, leadglass
from tests.pages.visitor import Person, Visitor, trail
from tests.peers import free_port


@pytest.fixture(scope="module")
def pia(served: ArchiveUnderTest) -> Person:
    return Person.added(served, "pia", "administrator")


@pytest.fixture(scope="module")
def desk(served: ArchiveUnderTest, pia: Person) -> Iterator[Visitor]:
    """Pia, an administrator, signed in."""
    with Visitor(served) as visitor:
        visitor.sign_in(pia)
        yield visitor


@contextmanager
def device(port: int, offers: str = Verification, **settings: object) -> Iterator[None]:
    """A pynetdicom SCP without TLS."""
    entity = AE(ae_title="DEVICE")
    entity.add_supported_context(offers)
    for name, value in settings.items():
        setattr(entity, name, value)
    server = entity.start_server(("127.0.0.1", port), block=False)
    try:
        yield
    finally:
        assert server is not None
        server.shutdown()


@contextmanager
def web_server(port: int) -> Iterator[None]:
    """Whatever is sent to it, it answers as a web server does."""
    with socket.create_server(("127.0.0.1", port)) as listening:

        def answer() -> None:
            caller, _ = listening.accept()
            with caller:
                caller.recv(4096)
                caller.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            thread.join(10)


def echo(desk: Visitor, name: str) -> str:
    desk.get(f"/peers/{name}")
    answered = desk.post(f"/peers/{name}", do="echo")
    assert answered.status_code == 200
    (said,) = re.findall(r"<strong>C-ECHO:</strong> ([^<]*)</p>", html.unescape(answered.text))
    return next(word for word, text in LANGUAGES["en"].administration.peers.reached.items() if text == said)


def test_a_peer_is_added_with_a_key_shown_once_and_its_page_has_the_recipe(desk: Visitor, served: ArchiveUnderTest) -> None:
    desk.get("/peers")
    form = {
        "name": "CT 1",
        "addresses": "10.1.2.0/24, 10.1.3.4/32",
        "may-store": "1",
        "may-find": "1",
        "host": "ct1.example",
        "port": "104",
    }
    made = desk.post("/peers", proof="issue", pem="", **form)
    assert made.status_code == 200, made.text
    certificate, key, authority = re.findall(r"<pre[^>]*>(-----BEGIN [^<]*)</pre>", made.text)
    assert "PRIVATE KEY" in key
    x509.load_pem_x509_certificate(certificate.encode())
    assert authority.strip() == served.ca.read_text().strip()
    page = desk.get("/peers/CT%201")
    assert "PRIVATE KEY" not in page.text
    for said in ("LEADGLASS", served.words["dimse"].rpartition(":")[2], "CT 1", "10.1.2.0/24", "ct1.example:104", "/authority.pem", "key "):
        assert said in page.text, said
    file = desk.get("/authority.pem")
    assert file.text == served.ca.read_text()
    assert file.headers["content-disposition"].startswith("attachment")
    assert any(entry["detail"].get("to") == "CT 1" for entry in trail(served, "outcome"))  # type: ignore[attr-defined] # of JSON
    assert '<a href="/peers/CT%201">' in desk.get("/peers").text


def test_a_peer_is_held_released_renewed_and_revoked_and_asked_back_first(desk: Visitor, served: ArchiveUnderTest) -> None:
    served.peer("MR1")

    def do(word: str) -> str:
        desk.get("/peers/MR1")
        assert "Are you sure?" in desk.post("/peers/MR1", do=word).text
        done = desk.post("/peers/MR1", do=word, sure="1")
        return (desk.follow(done) if done.status_code == 303 else done).text

    assert "held since" in do("hold")
    assert "<dd>active</dd>" in do("release")
    assert "PRIVATE KEY" in do("renew")
    assert "<dd>revoked</dd>" in do("revoke")
    assert desk.post("/peers/MR1", do="renew", sure="1").status_code == 409
    assert desk.post("/peers/MR1", do="echo").status_code == 409


def test_an_echo_says_what_failed(desk: Visitor, served: ArchiveUnderTest) -> None:
    port = free_port()
    served.plaintext_peer("DEVICE", port)
    assert echo(desk, "DEVICE") == "not-reached"
    with device(port):
        assert echo(desk, "DEVICE") == "answered"
    with device(port, ae_title="ANOTHER", require_called_aet=True):
        assert echo(desk, "DEVICE") == "called-title"
    with device(port, require_calling_aet=["SOMEBODY"]):
        assert echo(desk, "DEVICE") == "calling-title"
    with device(port, offers=CTImageStorage):
        assert echo(desk, "DEVICE") in {"no-echo", "broken-off"}
    with web_server(port):
        assert echo(desk, "DEVICE") == "not-dicom"
    served.peer("SECURE", port=port)
    with device(port):
        assert echo(desk, "SECURE") == "tls"
    tried = [entry for entry in trail(served, "outcome") if "reached" in entry["detail"]]  # type: ignore[operator] # of JSON
    assert [entry["detail"]["reached"] for entry in tried][:2] == ["not-reached", "answered"]  # type: ignore[index] # of JSON
    assert [entry["outcome"] for entry in tried][:2] == ["failed", "done"]


def test_every_way_to_fail_has_its_word_and_its_sentence() -> None:
    failures: dict[Failure, Reached] = {
        NotReached("gaierror"): Reached.NO_SUCH_HOST,
        NotReached("ECONNREFUSED"): Reached.NOT_REACHED,
        TimedOut("the connection"): Reached.TOO_SLOW,
        TlsFailed("x"): Reached.TLS,
        NotDicom(b""): Reached.NOT_DICOM,
        Rejected(1, 1, 3): Reached.CALLING_TITLE,
        Rejected(1, 1, 7): Reached.CALLED_TITLE,
        Rejected(2, 3, 1): Reached.REJECTED,
        Rejected(1, 2, 7): Reached.REJECTED,
        Aborted(0, 0): Reached.BROKEN_OFF,
        BrokenOff(): Reached.BROKEN_OFF,
        Misbehaved("x"): Reached.BROKEN_OFF,
        AbortedHere(): Reached.BROKEN_OFF,
    }
    assert {failure: reached(failure) for failure in failures} == failures
    assert reached(_not_reached(socket.gaierror(socket.EAI_NONAME, "no such name"))) is Reached.NO_SUCH_HOST
    assert reached(_not_reached(OSError(errno.EHOSTUNREACH, ""))) is Reached.NOT_REACHED
    for words in LANGUAGES.values():
        assert set(words.administration.peers.reached) == set(Reached)


def test_what_is_refused_is_said_and_changes_nothing(desk: Visitor, served: ArchiveUnderTest) -> None:
    desk.get("/peers")
    right = {"name": "US1", "addresses": "10.0.0.1/32", "may-store": "1", "proof": "issue"}
    for wrong in (
        {"name": ""},
        {"name": "A TITLE THAT IS TOO LONG"},
        {"name": "LEADGLASS"},
        {"name": "\u00e9"},
        {"addresses": ""},
        {"addresses": "here"},
        {"port": "104"},
        {"host": "us1.example", "port": "0"},
        {"host": "us1.example", "port": "9" * 30},
        {"host": "us1.example", "port": "\u0663"},
        {"proof": "none"},
        {"proof": "csr", "pem": "x"},
        {"proof": "certificate", "pem": ""},
    ):
        assert desk.post("/peers", **{**right, **wrong}).status_code == 400, wrong
    assert "US1" not in leadglass("peer", "list", served.home).stdout
    assert [desk.get(path).status_code for path in ("/peers/NOBODY", "/peers/", "/peers/" + "X" * 17)] == [404] * 3
    assert desk.post("/peers/NOBODY", do="echo").status_code == 404


def test_nobody_else_is_told_that_there_are_such_pages(served: ArchiveUnderTest, clara: Person) -> None:
    served.plaintext_peer("XRAY", free_port())
    with Visitor(served) as visitor:
        visitor.sign_in(clara)
        assert "/peers" not in visitor.get("/").text
        nothing = visitor.get("/nothing")
        answers = [visitor.get(path) for path in ("/peers", "/peers/XRAY", "/peers/NOBODY", "/authority.pem")]
        answers += [
            visitor.post("/peers", name="MINE", addresses="127.0.0.1/32", proof="issue"),
            visitor.post("/peers", name="MINE", proof="none"),
            visitor.post("/peers/XRAY", do="echo"),
            visitor.post("/peers/XRAY", do="revoke"),
            visitor.post("/peers/XRAY", do="revoke", sure="1"),
        ]
        assert {(answer.status_code, answer.content) for answer in answers} == {(404, nothing.content)}
    said = leadglass("peer", "list", served.home).stdout
    assert "MINE" not in said
    assert "revoked" not in next(line for line in said.splitlines() if "XRAY" in line)
    assert not any(entry["detail"].get("peer") == "XRAY" for entry in trail(served, "outcome"))  # type: ignore[attr-defined] # of JSON


def test_in_french(served: ArchiveUnderTest, pia: Person) -> None:
    served.plaintext_peer("RX1")
    with Visitor(served, language="fr") as visitor:
        visitor.sign_in(Person(pia.name, pia.secret, pia.recovery, used=2**60))
        assert "Ajouter un équipement" in html.unescape(visitor.get("/peers").text)
        assert "DANGEREUX" in visitor.get("/peers/RX1").text
