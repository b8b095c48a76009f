"""People at the pages: an administrator does there what the commands do, with the same trail; nobody else gets anything of it."""

import html
import re
from collections.abc import Iterator

import pytest

from tests.archives import ArchiveUnderTest, leadglass
from tests.pages.visitor import Person, Visitor, trail


@pytest.fixture(scope="module")
def ada(served: ArchiveUnderTest) -> Person:
    return Person.added(served, "ada", "administrator")


@pytest.fixture(scope="module")
def desk(served: ArchiveUnderTest, ada: Person) -> Iterator[Visitor]:
    """Ada, an administrator, signed in."""
    with Visitor(served) as visitor:
        visitor.sign_in(ada)
        yield visitor


def do(desk: Visitor, name: str, word: str, **form: str) -> str:
    """A change of a person: asked back, agreed to, done."""
    assert desk.get(f"/people/{name}").status_code == 200
    asked = desk.post(f"/people/{name}", do=word, **form)
    assert asked.status_code == 200
    assert "Are you sure?" in asked.text
    done = desk.post(f"/people/{name}", do=word, sure="1", **form)
    return html.unescape((desk.follow(done) if done.status_code == 303 else done).text)


def test_the_first_page_of_an_administrator_is_the_people_and_no_patient_is_on_it(desk: Visitor) -> None:
    page = desk.follow(desk.get("/"))
    assert page.url.path == "/people"
    assert '<a href="/people/ada">' in page.text
    assert "the auditor is alerted" in page.text
    assert "Worklist" not in page.text
    assert "CompressedSamples" not in page.text


def test_a_person_is_added_with_a_password_shown_once_and_signs_in(desk: Visitor, served: ArchiveUnderTest) -> None:
    desk.get("/people")
    made = desk.post("/people", name="zoe", role="clinician")
    assert made.status_code == 200, made.text
    (password,) = re.findall(r"<code>([a-z2-9-]+)</code>", made.text)
    given = do(desk, "zoe", "factor")
    (secret,) = re.findall(r"secret=([A-Z2-7]{32})&", given)
    codes = re.findall(r"<code>([a-z2-9]{5}(?:-[a-z2-9]{5}){3})</code>", given)
    assert len(codes) == 10
    assert password not in desk.get("/people/zoe").text
    with Visitor(served) as visitor:
        assert visitor.sign_in(Person("zoe", secret, codes), password=password).headers["location"] == "/"
        another = do(desk, "zoe", "password")
        assert password not in another
        assert visitor.get("/").headers["location"] == "/sign-in"
    whole = " ".join(str(entry) for entry in trail(served, "intent") + trail(served, "outcome")) + served.log()
    assert password not in whole
    assert secret not in whole
    # Whoever has another's password and second factor can be him.
    alerts = [entry["detail"] for entry in trail(served, "outcome") if "alert" in entry["detail"]]  # type: ignore[operator] # of JSON
    of_zoe = [(detail["verb"], detail["to"]) for detail in alerts if detail["to"] == "zoe"]  # type: ignore[index] # of JSON
    assert of_zoe == [("user-add", "zoe"), ("user-factor", "zoe"), ("user-password", "zoe")]


def test_roles_attributes_and_a_hold_are_changed_and_asked_back_first(desk: Visitor, served: ArchiveUnderTest) -> None:
    leadglass("user", "add", served.home, "yan", "--role", "technologist", "--password-file", served.home.with_name("password"))
    desk.get("/people/yan")
    asked = desk.post("/people/yan", do="roles", **{"role-clinician": "1", "role-auditor": "1"})
    assert "(Clinician, Auditor)" in asked.text
    assert "the auditor is alerted" in asked.text
    assert "technologist" in leadglass("user", "list", served.home).stdout
    page = do(desk, "yan", "roles", **{"role-clinician": "1", "role-auditor": "1"})
    assert "<dd>Auditor, Clinician</dd>" in page
    page = do(desk, "yan", "attribute", attribute="patient", values="4711\r\n4712")
    assert "Patient IDs: 2" in page
    assert "4711" not in page
    assert "4711" not in str(trail(served, "intent"))
    assert ">held since " in do(desk, "yan", "hold")
    assert "<dd>active</dd>" in do(desk, "yan", "release")
    assert "disabled for good" in do(desk, "yan", "disable")
    who = [entry["who"] for entry in trail(served, "intent") if entry["detail"].get("user") == "yan"]  # type: ignore[attr-defined] # of JSON
    assert who.count("user:ada") >= 3


def test_what_is_refused_is_said_and_changes_nothing(desk: Visitor, served: ArchiveUnderTest) -> None:
    desk.get("/people")
    for form, said in (
        ({"name": "ada", "role": "clinician"}, "already"),
        ({"name": "a b", "role": "clinician"}, "ASCII letters"),
        ({"name": "\u00e9", "role": "clinician"}, "ASCII letters"),
        ({"name": "vera", "role": "king"}, "needs a role"),
        ({"name": "vera"}, "needs a role"),
    ):
        refused = desk.post("/people", **form)
        assert (refused.status_code, said in html.unescape(refused.text)) == (400, True), form
    for word in ("factor", "password"):
        desk.get("/people/ada")
        assert desk.post("/people/ada", do=word, sure="1").status_code == 409, word
    assert desk.post("/people/ada", do="roles", sure="1").status_code == 409
    assert desk.post("/people/ada", do="attribute", attribute="shoe", values="43", sure="1").status_code == 409
    assert desk.post("/people/ada", do="nothing").status_code == 404
    assert desk.post("/people/nobody", do="hold").status_code == 404
    assert desk.get("/people/nobody").status_code == 404
    assert "vera" not in leadglass("user", "list", served.home).stdout


def test_the_last_administrator_cannot_be_removed(served: ArchiveUnderTest, desk: Visitor) -> None:
    others = [line.split()[0] for line in leadglass("user", "list", served.home).stdout.splitlines() if "administrator" in line]
    for name in set(others) - {"ada"}:
        leadglass("hold", served.home, f"user:{name}")
    try:
        for word, form in (("hold", {}), ("disable", {}), ("roles", {"role-clinician": "1"})):
            desk.get("/people/ada")
            refused = desk.post("/people/ada", do=word, sure="1", **form)
            assert refused.status_code == 409
            assert "last" in refused.text
    finally:
        for name in set(others) - {"ada"}:
            leadglass("release", served.home, f"user:{name}")


def test_nobody_else_is_told_that_there_are_such_pages(served: ArchiveUnderTest, clara: Person) -> None:
    olga = Person.added(served, "olga", "auditor")
    for person in (clara, olga):
        with Visitor(served) as visitor:
            visitor.sign_in(person)
            there = visitor.follow(visitor.get("/")) if person is olga else visitor.get("/")
            assert "/people" not in there.text
            nothing = visitor.get("/nothing")
            answers = [visitor.get(path) for path in ("/people", "/people/ada", "/people/nobody")]
            answers += [
                visitor.post("/people", name="mallory", role="administrator"),
                visitor.post("/people", name="mallory", role="king"),
                visitor.post("/people/ada", do="hold"),
                visitor.post("/people/ada", do="hold", sure="1"),
                visitor.post(f"/people/{person.name}", do="roles", sure="1", **{"role-administrator": "1"}),
                visitor.post("/people/nobody", do="hold"),
            ]
            assert {(answer.status_code, answer.content) for answer in answers} == {(404, nothing.content)}
    said = leadglass("user", "list", served.home).stdout
    assert "mallory" not in said
    assert "held" not in next(line for line in said.splitlines() if line.startswith("ada"))


def test_without_the_token_of_the_form_nothing_is_changed(desk: Visitor) -> None:
    desk.get("/people")
    assert desk.post("/people", token="0" * 64, name="mallory", role="administrator").status_code == 403
    assert (
        desk.client.post(
            "/people",
            data={"token": desk.token, "name": "mallory", "role": "administrator"},
            headers={"Origin": "https://elsewhere.example"},
        ).status_code
        == 403
    )
    assert "mallory" not in desk.get("/people").text


def test_in_french(served: ArchiveUnderTest, ada: Person) -> None:
    with Visitor(served, language="fr") as visitor:
        visitor.sign_in(Person(ada.name, ada.secret, ada.recovery, used=2**60))
        assert "Ajouter une personne" in visitor.get("/people").text
        assert "Désactiver définitivement" in visitor.get("/people/ada").text
        back = visitor.post("/language", language="en", here="/people/ada")
        assert visitor.follow(back).url.path == "/people/ada"
