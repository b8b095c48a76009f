"""The pages as a browser meets them: who has signed in sees the studies that are his to see, and nobody else sees anything."""

import re
from collections.abc import Iterator

import httpx
import pytest

from leadglass.wire.pages.html import SAFE_FIELDS
from tests.archives import PASSWORD, ArchiveUnderTest, leadglass, wait_until
from tests.dicomweb.client import Client
from tests.pages.visitor import Person, Visitor, factor, trail

CT, MR = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322", "1.3.6.1.4.1.5962.1.2.4.20040826185059.5457"
PATIENTS = {"CT1", "MR1", "NM1"}

PATHS = (
    "/",
    "/trail",
    f"/studies/{CT}",
    f"/studies/{CT}/accesses",
    "/studies/1.2.3",
    "/nothing",
    "/sign-out",
    "/files/",
    "/%2e%2e/",
    "//",
    "/wado",
)


@pytest.fixture
def stranger(served: ArchiveUnderTest) -> Iterator[Visitor]:
    with Visitor(served) as visitor:
        yield visitor


@pytest.fixture(scope="module")
def inside(served: ArchiveUnderTest, clara: Person) -> Iterator[Visitor]:
    """Clara, a clinician, signed in."""
    with Visitor(served) as visitor:
        assert visitor.sign_in(clara).headers["location"] == "/"
        yield visitor


def listed(page: str) -> set[str]:
    return set(re.findall(r">CompressedSamples, (\w+)</a>", page))


# Strangers


def test_a_stranger_is_sent_to_the_entrance_whatever_he_asks_for(stranger: Visitor) -> None:
    answers = {path: stranger.get(path) for path in PATHS}
    for path, answer in answers.items():
        assert (answer.status_code, answer.headers["location"], answer.content) == (303, "/sign-in", b""), path
    for method in ("HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"):
        fields = {"Origin": stranger.archive.words["web"]}
        assert stranger.client.request(method, f"/studies/{CT}", headers=fields).headers["location"] == "/sign-in", method


def test_every_answer_says_that_nothing_is_kept_framed_loaded_or_run(inside: Visitor, stranger: Visitor) -> None:
    style = re.findall(r'href="(/files/[^"]+)"', inside.get("/").text)
    assert len(style) == 2
    answers = [inside.get(path) for path in (*PATHS, "/sign-in")] + [
        stranger.get("/sign-in"),
        stranger.post("/sign-in"),
        *map(stranger.get, style),
    ]
    answers += [stranger.client.post("/sign-in", content=b"x" * 70_000), inside.client.put("/")]
    with_script = []
    for answer in answers:
        expected = dict(SAFE_FIELDS)
        if answer.url.path.startswith("/files/style") or answer.url.path.startswith("/files/icon"):
            assert "immutable" in answer.headers["cache-control"]
            expected.pop("Cache-Control")
        scripts = re.findall("<script[^>]*>", answer.text)
        if scripts:
            assert (answer.url.path, len(scripts)) == ("/", 1)
            assert re.fullmatch('<script type="module" src="/files/worklist-[0-9a-f]{16}.js">', scripts[0])
            expected["Content-Security-Policy"] += "; script-src 'self'; connect-src 'self'"
            with_script.append(answer)
        assert {name: answer.headers.get(name) for name in expected} == expected, answer.url
        assert answer.headers.get("server") is None
        assert "style=" not in answer.text
    assert with_script, "the worklist searches as one types"
    policy = SAFE_FIELDS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_whatever_is_wrong_the_answer_is_the_same(served: ArchiveUnderTest, stranger: Visitor, clara: Person) -> None:
    Person.added(served, "dora", "clinician")
    leadglass("user", "disable", served.home, "dora")
    held = Person.added(served, "hanna", "clinician")
    leadglass("hold", served.home, "hanna")
    leadglass("user", "add", served.home, "nora", "--role", "clinician", "--password-file", served.home.with_name("password"))
    tries = [
        {"user": "clara", "password": PASSWORD, "code": "000000"},
        {"user": "clara", "password": "wrong horse battery", "code": clara.code()},
        {"user": "nobody", "password": PASSWORD, "code": "000000"},
        {"user": "dora", "password": PASSWORD, "code": "000000"},
        {"user": "hanna", "password": PASSWORD, "code": held.code()},
        {"user": "hanna", "password": PASSWORD, "code": held.recovery[0]},
        {"user": "nora", "password": PASSWORD, "code": ""},
        {"user": "<script>\u00e9\u4e2d", "password": "", "code": ""},
        {},
    ]
    stranger.get("/sign-in")
    answers = [stranger.post("/sign-in", **form) for form in tries]
    assert {answer.status_code for answer in answers} == {403}
    assert len({answer.content for answer in answers}) == 1
    different = {"date", "content-length"}
    assert len({tuple((name, value) for name, value in answer.headers.items() if name not in different) for answer in answers}) == 1
    assert "did not let you in" in answers[0].text
    assert not any("session" in name for name in stranger.client.cookies)


def test_too_many_tries_have_to_wait_whether_or_not_there_is_such_a_name(stranger: Visitor) -> None:
    stranger.get("/sign-in")
    answers = [stranger.post("/sign-in", user="nemo", password="wrong horse battery", code="000000") for _ in range(11)]
    assert [answer.status_code for answer in answers[:9]] == [403] * 9
    last = answers[-1]
    assert last.status_code == 429
    assert 0 < int(last.headers["retry-after"]) <= 30


# Signing in and out


def test_a_person_signs_in_and_out(served: ArchiveUnderTest, stranger: Visitor, clara: Person) -> None:
    answer = stranger.sign_in(clara)
    (cookie,) = [each for each in answer.headers.get_list("set-cookie") if each.startswith("__Host-session=") and "Max-Age" not in each]
    value, *attributes = cookie.split("; ")
    assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=Strict", "Secure"]
    text = value.partition("=")[2]
    page = stranger.follow(answer)
    assert listed(page.text) == PATIENTS
    assert "Signed in as clara" in page.text
    assert stranger.follow(stranger.post("/sign-out")).url.path == "/sign-in"
    stranger.client.cookies.set("__Host-session", text)
    assert stranger.get("/").headers["location"] == "/sign-in"
    ends = [(entry["who"], entry["kind"], entry["door"]) for kind in ("signed-in", "signed-out") for entry in trail(served, kind)[-1:]]
    assert ends == [("user:clara", "signed-in", "pages"), ("user:clara", "signed-out", "pages")]
    assert text not in served.log()


def test_a_session_is_never_one_that_the_browser_brought(stranger: Visitor, clara: Person) -> None:
    stranger.get("/sign-in")
    brought = f"__Host-session=of-my-own-making; __Host-form={stranger.client.cookies['__Host-form']}"
    form = {"token": stranger.token, "user": clara.name, "password": PASSWORD, "code": clara.code()}
    fields = {"Origin": stranger.archive.words["web"], "Cookie": brought}
    stranger.client.cookies.clear()
    answer = stranger.client.post("/sign-in", data=form, headers=fields)
    (given,) = re.findall(r"__Host-session=([^;]+); Path", answer.headers["set-cookie"])
    assert len(given) == 43


@pytest.mark.parametrize("command", ["disable", "hold", "password", "factor", "sign-out"])
def test_a_command_ends_the_sessions_at_once(served: ArchiveUnderTest, command: str) -> None:
    person = Person.added(served, f"temp-{command}", "clinician")
    words = ("hold", served.home) if command == "hold" else ("user", command, served.home)
    with Visitor(served) as visitor:
        visitor.follow(visitor.sign_in(person))
        assert visitor.get("/").status_code == 200
        said = leadglass(*words, person.name, stdin="another good password\n").stdout
        assert visitor.get("/").headers["location"] == "/sign-in"
        if command == "sign-out":
            assert said.startswith("1 sessions")
        if command == "hold":
            assert visitor.sign_in(person).status_code == 403
            leadglass("release", served.home, person.name)
            assert visitor.get("/").headers["location"] == "/sign-in"
            assert visitor.sign_in(person).status_code == 303
        if command == "password":
            assert visitor.sign_in(person).status_code == 403
            person.used = -1
            assert visitor.sign_in(person, password="another good password", code=person.recovery.pop()).status_code == 303


def test_the_commands_take_no_secret_as_an_argument_and_print_one_once(served: ArchiveUnderTest) -> None:
    person = Person.added(served, "rita", "clinician")
    assert len(person.recovery) == 10
    home = served.home
    leadglass("user", "password", home, "rita", "a password as an argument", code=2)
    assert "standard input" in leadglass("user", "password", home, "rita", stdin="", code=2).stderr
    leadglass("user", "password", home, "rita", stdin="short\n", code=2)
    leadglass("user", "password", home, "nobody", stdin="another good password\n", code=2)
    leadglass("user", "factor", home, "nobody", code=2)
    made = leadglass("user", "password", home, "rita", "--make").stdout
    assert re.search(r"password, shown once: [a-z2-9-]{29}\n", made)
    assert factor(served, "rita")[0] != person.secret
    users = leadglass("user", "list", home, "--json").stdout
    assert '"second_factor": true' in users
    assert person.secret not in users


# Other sites


def test_nothing_is_changed_for_another_sites_page(inside: Visitor, served: ArchiveUnderTest) -> None:
    inside.get("/")
    url, client = "/sign-out", httpx.Client(base_url=served.words["web"], verify=served.tls_context(), cookies=inside.client.cookies)
    good = {"token": inside.token}
    ours = served.words["web"]
    with Visitor(served) as other, client:
        other.get("/sign-in")
        forged: list[tuple[dict[str, str], dict[str, str]]] = [
            ({"clear": "1"}, {"Origin": ours}),
            ({"token": ""}, {"Origin": ours}),
            ({"token": "0" * 64}, {"Origin": ours}),
            ({"token": other.token}, {"Origin": ours}),
            ({"token": "\u00e9"}, {"Origin": ours}),
            (good, {}),
            (good, {"Origin": "null"}),
            (good, {"Origin": "https://evil.example"}),
            (good, {"Origin": ours.replace("https", "http")}),
            (good, {"Origin": ours, "Sec-Fetch-Site": "cross-site"}),
            (good, {"Origin": ours, "Sec-Fetch-Site": "same-site"}),
            (good, {"Sec-Fetch-Site": "none"}),
            (good, {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"}),
        ]
        for form, fields in forged:
            assert client.post(url, data=form, headers=fields).status_code == 403, (form, fields)
        for body, kind in ((b"{}", "application/json"), (b"token=1&token=2", "application/x-www-form-urlencoded")):
            answer = client.post(url, content=body, headers={"Origin": ours, "Content-Type": kind})
            assert answer.status_code == 400
        for site in ("cross-site", "same-site"):
            assert (
                client.get("/", headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}).status_code == 403
            )
            opened = client.get("/", headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"})
            assert opened.status_code == 200
            framed = client.get("/", headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"})
            assert framed.status_code == 403
    assert inside.get("/").status_code == 200


def test_a_session_is_nothing_at_dicomweb_and_a_token_nothing_at_the_pages(inside: Visitor, served: ArchiveUnderTest) -> None:
    cookie = inside.client.cookies["__Host-session"]
    for fields in ({}, {"Authorization": f"Bearer {cookie}"}):
        answer = inside.client.get("/dicom-web/studies", headers=fields)
        assert (answer.status_code, b"CompressedSamples" in answer.content) == (401, False)
    token = served.token("clara")
    assert Client(served, token).get("/studies").status_code == 200
    with Visitor(served) as visitor:
        visitor.client.cookies.set("__Host-session", token)
        assert visitor.client.get("/", headers={"Authorization": f"Bearer {token}"}).headers["location"] == "/sign-in"


# The worklist and the study


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, PATIENTS),
        ({"name": "compressedsamples ct"}, {"CT1"}),
        ({"name": "CompressedSamples, MR1"}, {"MR1"}),
        ({"name": "*mr1"}, {"MR1"}),
        ({"name": "*"}, PATIENTS),
        ({"name": "nobody"}, set()),
        ({"name": "%"}, set()),
        ({"patient": "4MR"}, {"MR1"}),
        ({"patient": " 1CT1 "}, {"CT1"}),
        ({"accession": "none such"}, set()),
        ({"since": "2004-08-01"}, {"MR1", "NM1"}),
        ({"until": "2004-08-01"}, {"CT1"}),
        ({"since": "2004-01-19", "until": "2004-01-19"}, {"CT1"}),
        ({"modality": "ct"}, {"CT1"}),
        ({"modality": "CT, MR"}, {"CT1", "MR1"}),
        ({"modality": "MR", "until": "2004-08-01"}, set()),
    ],
    ids=lambda value: " ".join(sorted(value)) if isinstance(value, set) else str(value),
)
def test_a_search_finds_what_it_says(inside: Visitor, asked: dict[str, str], found: set[str]) -> None:
    page = inside.search(**asked)
    assert listed(page) == found
    for name, value in asked.items():
        assert f'name="{name}" type="{"date" if name in {"since", "until"} else "text"}" value="{value.strip()}"' in page
    # It is there when one comes back, and no address holds it.
    assert listed(inside.get("/").text) == found


@pytest.mark.parametrize(
    "asked",
    [{"since": "yesterday"}, {"name": "x" * 129}, {"name": "a* " * 18}, {"page": "-1"}, {"modality": "C*\\T"}, {"patient": "a\\b"}],
    ids=str,
)
def test_a_search_that_is_none_is_refused_and_says_so(inside: Visitor, asked: dict[str, str]) -> None:
    inside.search()
    answer = inside.post("/", **asked)
    assert answer.status_code == 400
    assert "cannot be searched" in answer.text
    assert listed(inside.get("/").text) == PATIENTS


def test_what_is_searched_for_and_found_is_in_no_log_and_in_no_address(inside: Visitor, served: ArchiveUnderTest) -> None:
    inside.get("/")
    answer = inside.post("/", name="needleinahaystack")
    assert answer.headers["location"] == "/"
    inside.search()
    page = inside.get("/").text
    assert not any("CompressedSamples" in address for address in re.findall(r'(?:href|action)="([^"]*)"', page))
    assert "needle" not in served.log()
    assert "CompressedSamples" not in served.log()
    assert "needle" not in str(served.trail())


def test_a_study_shows_its_series_and_who_has_looked_at_it(inside: Visitor, served: ArchiveUnderTest) -> None:
    page = inside.get(f"/studies/{CT}").text
    assert "CompressedSamples, CT1" in page
    assert "2004-01-19" in page
    assert f'<dd class="uid">{CT}</dd>' in page
    Client(served, served.token("emil")).get(f"/studies/{CT}", accept='multipart/related; type="application/dicom"; transfer-syntax=*')
    seen: list[list[str]] = []

    def told() -> bool:
        rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", inside.get(f"/studies/{CT}/accesses").text)
        seen.append([re.sub(r"<[^>]+>", " ", row) for row in rows])
        return any("@emil" in row and "dicomweb" in row and "get" in row for row in seen[-1])

    wait_until(told)
    assert any("user:clara" in row and "pages" in row and "find" in row for row in seen[-1])
    named = [entry for entry in served.trail("--study", CT) if entry["door"] == "pages"]
    assert {entry["kind"] for entry in named} == {"outcome"}
    assert inside.get(f"/studies/{MR}/accesses").status_code == 200


def test_what_is_not_there_is_what_may_not_be_seen(served: ArchiveUnderTest, inside: Visitor) -> None:
    bert = Person.added(served, "bert", "administrator")
    policy = served.home / "policy.toml"
    before = policy.read_text()
    rule = '[[rule]]\nusers = ["bert"]\nmay = ["find"]\n[[rule.where]]\nattribute = "Modality"\nvalues = ["MR"]\n'
    policy.write_text(f"{before}\n{rule}")
    leadglass("policy", "apply", served.home)
    try:
        with Visitor(served) as visitor:
            visitor.follow(visitor.sign_in(bert))
            assert listed(visitor.search()) == {"MR1"}
            for asked in ({"name": "*CT1"}, {"patient": "1CT1"}, {"modality": "CT"}, {"until": "2004-08-01"}):
                assert listed(visitor.search(**asked)) == set()
            assert visitor.get(f"/studies/{MR}").status_code == 200
            for path in ("/studies/{}", "/studies/{}/accesses"):
                hidden, missing, odd = (visitor.get(path.format(uid)) for uid in (CT, "1.2.3.4", "not-a-uid"))
                assert hidden.status_code == 404
                assert len({each.text for each in (hidden, missing, odd)}) == 1
            assert not [entry for entry in served.trail("--study", CT) if entry["who"] == "user:bert"]
    finally:
        policy.write_text(before)
        leadglass("policy", "apply", served.home)


def test_an_auditor_reads_the_trail_and_a_clinician_studies(served: ArchiveUnderTest, inside: Visitor, otto: Person) -> None:
    nothing = inside.get("/nothing").text
    refused = inside.get("/trail")
    assert (refused.status_code, refused.text) == (404, nothing)
    inside.get(f"/studies/{MR}")
    with Visitor(served) as visitor:
        assert visitor.follow(visitor.sign_in(otto)).headers["location"] == "/trail"
        page = visitor.get("/trail").text
        assert "user:clara" in page
        assert "CompressedSamples" not in page
        assert "/studies" not in page
        only = visitor.get(f"/trail?who=user:clara&study={MR}").text
        assert set(re.findall(r"<td>((?:user|token|local|peer):[^<]*)</td>", only)) == {"user:clara"}
        alerts = visitor.get("/trail?alerts=1").text
        assert "gave access to patients: clara (user-add)" in alerts
        assert alerts.count("<tr>") - 1 == alerts.count("gave access to patients:")
        assert visitor.get("/trail?who=a&who=b").status_code == 400
        assert visitor.get(f"/studies/{MR}").status_code == 404
        assert visitor.get(f"/studies/{MR}/accesses").status_code == 404
    denied = [(entry["action"], entry["door"]) for entry in served.trail("--who", "user:otto") if entry["kind"] == "denied"]
    assert denied == [("find", "pages")] * 2


# Language


def test_the_language_is_the_browsers_or_that_of_the_switch(served: ArchiveUnderTest) -> None:
    with Visitor(served, language="fr-CA, en;q=0.5") as visitor:
        page = visitor.get("/sign-in").text
        assert '<html lang="fr">' in page
        assert "Se connecter" in page
        answer = visitor.post("/language", language="en", here="/sign-in")
        assert answer.headers["location"] == "/sign-in"
        assert "Sign in" in visitor.get("/sign-in").text
        for elsewhere in ("https://evil.example/", "//evil.example", "/\\evil.example", "/nothing", "/trail\n"):
            assert visitor.post("/language", language="fr", here=elsewhere).headers["location"] == "/"
        visitor.post("/language", language="tlh")
        assert '<html lang="fr">' in visitor.get("/sign-in").text


def test_an_auditor_verifies_the_trail_and_one_changed_byte_is_found(served: ArchiveUnderTest, inside: Visitor, otto: Person) -> None:
    inside.get("/")
    assert inside.post("/trail").text == inside.get("/nothing").text, "to a clinician it is not there"
    file = min(each for each in (served.home / "trail").rglob("*") if each.is_file() and each.stat().st_size > 2000)
    with Visitor(served) as visitor:
        visitor.sign_in(otto)
        visitor.get("/trail")
        assert "The record is whole: " in visitor.post("/trail").text
        with file.open("r+b") as changed:
            changed.seek(1500)
            was = changed.read(1)
            changed.seek(1500)
            changed.write(bytes([was[0] ^ 1]))
            changed.flush()
            try:
                said = visitor.post("/trail").text
            finally:
                changed.seek(1500)
                changed.write(was)
        assert "The record is damaged or was changed." in said
        assert "<li lang" in said
        assert "The record is whole: " in visitor.post("/trail").text
