"""Beyond `query`, a public host is surveyed when its operator published that it may be, where only he can; and no further than that."""

import asyncio
import datetime as dt
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.survey import control, journal, nameserver
from leadglass.survey.addresses import Surroundings, System, surroundings_of_this_host, systems_of
from leadglass.survey.control import ProofBy, values
from leadglass.survey.dialer import HOST_SHARE, ScopedDialer
from leadglass.survey.probing import probe_here
from leadglass.survey.results import Results, to_json
from leadglass.survey.run import plan, run
from leadglass.survey.scope import ExposureLimit, Scope, parse_scope
from leadglass.survey.shard import Shard
from tests.survey.harness import scope_text, table
from tests.survey.name_server import Records, name_server
from tests.survey.recording import recording
from tests.survey.servers import Asked, Talk, answering, hang_up, talking

HOST = "127.9.0.7"
"""Public in these tests: the private ranges are given to the survey without it."""

OTHER = "127.9.1.7"
REVERSE = "7.0.9.127.in-addr.arpa."
KEY = "a key of these tests"
asks_nobody = partial(probe_here, probes=())
NOW = dt.datetime.now(dt.UTC)


def surroundings(server: tuple[object, int] | None = None, *, http: int = 0) -> Surroundings:
    async def resolve(_: str) -> Sequence[str]:
        return (HOST,)

    http_ports = frozenset({http}) if http else frozenset[int]()
    asked = (ip_address(str(server[0])), server[1]) if server else None
    return Surroundings(resolve, asked, [ip_network("127.0.0.0/16")], https_ports=frozenset(), http_ports=http_ports)


def scope_of(*, key: str | None = KEY, level: str = "retrieve", host: str = HOST, **target: object) -> Scope:
    text = scope_text(
        [{"name": "public", "host": host, "dimse_ports": [104], **target}],
        limits={"level": level, "unsafe_public_addresses": True, "timeout_seconds": 0.5},
    )
    return parse_scope((text + (table("control", {"key": key}) if key else "")).encode())


def value(scope: Scope, level: ExposureLimit) -> str:
    return next(text for text, each in values(scope).items() if each is level)


def level_at(scope: Scope, around: Surroundings) -> tuple[ExposureLimit, Results]:
    """How far the survey went, as the results have it."""
    results = asyncio.run(run(scope, clock=lambda: NOW, surroundings=around, probing=asks_nobody))
    assert len(results.refused) <= 1
    proven = results.proven[0].level if results.proven else ExposureLimit.QUERY
    return proven, results


def in_dns(
    scope: Scope, published: Mapping[tuple[str, str], Sequence[str]], closes_after: int = 1000
) -> tuple[ExposureLimit, Results, Records]:
    records = Records(published, closes_after)
    with name_server(records) as address:
        return (*level_at(scope, surroundings(address)), records)


def quoted(scope: Scope, level: ExposureLimit) -> str:
    return f'"{value(scope, level)}"'


def test_a_record_in_the_reverse_zone_is_proof() -> None:
    scope = scope_of()
    published = {(f"_leadglass-survey.{REVERSE}", "TXT"): ['"v=spf1 -all"', quoted(scope, ExposureLimit.RETRIEVE)]}
    level, results, _ = in_dns(scope, published)
    assert (level, results.proven[0].by, results.refused) == (ExposureLimit.RETRIEVE, ProofBy.REVERSE_ZONE, ())
    assert json.loads(to_json(results))["survey"]["proven"] == [
        {"name": "public", "host": HOST, "level": "retrieve", "by": "dns-reverse-zone"}
    ]


@pytest.mark.parametrize("alias", [False, True])
def test_a_record_under_the_name_that_the_address_holder_gave_is_proof(alias: bool) -> None:
    scope = scope_of()
    published: dict[tuple[str, str], Sequence[str]] = {
        ("_leadglass-survey.pacs.example.", "TXT"): [quoted(scope, ExposureLimit.RETRIEVE)],
        (REVERSE, "PTR"): ["pacs.example."],
    }
    if alias:  # RFC 2317: the holder of less than a /24
        published |= {(REVERSE, "CNAME"): ["7.0-15.0.9.127.in-addr.arpa."], ("7.0-15.0.9.127.in-addr.arpa.", "PTR"): ["pacs.example."]}
    level, results, _ = in_dns(scope, published)
    assert (level, results.proven[0].by) == (ExposureLimit.RETRIEVE, ProofBy.PTR_NAME)


@pytest.mark.parametrize("name", [".", "*.example.", "pacs\\.example.", "pacs\\200.example.", ("a" * 60 + ".") * 4], ids=str)
def test_what_is_no_host_name_is_not_asked_about(name: str) -> None:
    _, results, records = in_dns(scope_of(), {(REVERSE, "PTR"): [name]})
    assert len(records.asked) == 2
    assert results.proven == ()


def test_a_record_under_a_name_that_only_points_at_the_address_is_none() -> None:
    """Anybody can point a name of his at anybody's address."""
    scope = scope_of(host="mine.example")
    scope = scope.model_copy(update={"target": (*scope.target, *scope_of().target)})
    published = {("_leadglass-survey.mine.example.", "TXT"): [quoted(scope, ExposureLimit.RETRIEVE)]}
    records = Records(published)
    with name_server(records) as address:
        results = asyncio.run(run(scope, clock=lambda: NOW, surroundings=surroundings(address), probing=asks_nobody))
    assert not results.proven
    assert len(results.refused) == 2


def test_consent_to_less_is_kept_to() -> None:
    scope = scope_of()
    level, results, _ = in_dns(scope, {(f"_leadglass-survey.{REVERSE}", "TXT"): [quoted(scope, ExposureLimit.COUNT)]})
    assert level is ExposureLimit.COUNT
    assert "consents to no more" in results.refused[0].why
    assert results.exit_code == 1


def test_consent_to_more_is_consent_to_less() -> None:
    published = {(f"_leadglass-survey.{REVERSE}", "TXT"): [quoted(scope_of(), ExposureLimit.RETRIEVE)]}
    level, results, _ = in_dns(scope_of(level="count"), published)
    assert (level, results.refused) == (ExposureLimit.COUNT, ())


@pytest.mark.parametrize(
    "other",
    [
        {"key": "another key, of another surveyor"},
        {"contact": "somebody@example.org"},
        {"owner": "Another hospital"},
        {"authorised_by": "nobody"},
        {"valid_until": dt.date(2099, 1, 1)},
    ],
)
def test_what_was_published_for_another_survey_proves_nothing(other: dict[str, object]) -> None:
    scope = scope_of()
    changed = scope.model_copy(update={"authority": scope.authority.model_copy(update=other)})
    if "key" in other:
        changed = scope_of(key=str(other["key"]))
    assert not set(values(scope)) & set(values(changed))
    level, results, _ = in_dns(scope, {(f"_leadglass-survey.{REVERSE}", "TXT"): [quoted(changed, ExposureLimit.RETRIEVE)]})
    assert level is ExposureLimit.QUERY
    assert "no proof of control" in results.refused[0].why
    assert results.exit_code == 1


def test_without_a_key_nobody_is_asked_and_it_is_said() -> None:
    level, results, records = in_dns(scope_of(key=None), {})
    assert (level, records.asked) == (ExposureLimit.QUERY, [])
    assert "[control] key" in results.refused[0].why


@pytest.mark.parametrize("target", [{"level": "query"}, {"host": "127.0.0.1"}])
def test_where_no_proof_is_needed_none_is_looked_for(target: dict[str, str]) -> None:
    _, results, records = in_dns(scope_of(**target), {})
    assert (records.asked, results.refused) == ([], ())


def test_a_name_server_that_opted_out_is_not_asked() -> None:
    scope = scope_of()
    scope = scope.model_copy(update={"limits": scope.limits.model_copy(update={"opt_out": ("127.0.53.0/24",)})})
    level, _, records = in_dns(scope, {(f"_leadglass-survey.{REVERSE}", "TXT"): [quoted(scope, ExposureLimit.RETRIEVE)]})
    assert (level, records.asked) == (ExposureLimit.QUERY, [])


def test_a_name_server_that_closes_after_each_answer_is_asked_to_the_end() -> None:
    scope = scope_of()
    published = {
        ("_leadglass-survey.pacs.example.", "TXT"): [quoted(scope, ExposureLimit.RETRIEVE)],
        (REVERSE, "PTR"): ["pacs.example."],
    }
    level, _, records = in_dns(scope, published, closes_after=1)
    assert level is ExposureLimit.RETRIEVE
    assert len(records.asked) == 3


@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(hang_up, id="hangs up"),
        pytest.param(lambda link: link.recv(1) and link.sendall(b"\xff\xff" + bytes(70000)), id="64 KiB of zeros"),
        pytest.param(lambda link: link.recv(1) and link.sendall(b"\x00\x00" * 1000), id="empty messages"),
        pytest.param(lambda link: link.recv(9999), id="silence"),
        pytest.param(lambda link: link.recv(1) and link.sendall(b"\x00\x11\x00\x01" + bytes(5)), id="half a message"),
    ],
)
def test_a_name_server_that_talks_nonsense_proves_nothing(talk: Talk) -> None:
    with talking(talk, "127.0.53.53") as listener:
        level, _ = level_at(scope_of(), surroundings((listener.host, listener.port)))
    assert level is ExposureLimit.QUERY


# The file


def in_file(answer: Callable[[Asked, Scope], object], *, named: bool = True) -> tuple[ExposureLimit, Results, Sequence[str], Scope]:
    chosen: list[Scope] = []

    def talk(asked: Asked) -> None:
        hosts.append(asked.headers.get("Host", ""))
        answer(asked, chosen[0])

    hosts: list[str] = []
    with answering(talk, HOST) as listener:
        scope = scope_of(host="pacs.example", web_ports=[listener.port] if named else [])
        scope = scope.model_copy(update={"target": (*scope.target, *scope_of().target)})
        chosen.append(scope)
        results = asyncio.run(run(scope, clock=lambda: NOW, surroundings=surroundings(http=listener.port), probing=asks_nobody))
        proven = results.proven[0].level if results.proven else ExposureLimit.QUERY
        assert all(host == f"{HOST}:{listener.port}" for host in hosts)
        return proven, results, list(listener.paths), scope


def test_a_file_of_the_server_at_the_address_is_proof() -> None:
    level, results, paths, scope = in_file(
        lambda asked, scope: asked.answer(f"# proofs\r\n{value(scope, ExposureLimit.COUNT)}\r\n".encode(), "text/plain")
    )
    assert (level, results.proven[0].by, paths) == (ExposureLimit.COUNT, ProofBy.HTTP_FILE, ["/.well-known/leadglass-survey"])
    assert results.run_id
    assert scope.control is not None


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda asked, scope: asked.answer(value(scope, ExposureLimit.RETRIEVE).encode(), status=404), id="not found"),
        pytest.param(lambda asked, scope: asked.answer(value(scope, ExposureLimit.RETRIEVE).encode() + b"\n" + b"x" * 5000), id="too long"),
        pytest.param(lambda asked, scope: asked.answer(f"<p>{value(scope, ExposureLimit.RETRIEVE)}</p>".encode()), id="in a page"),
        pytest.param(
            lambda asked, scope: asked.answer(
                value(scope, ExposureLimit.RETRIEVE).encode() if asked.path == "/upload" else b"",
                status=200 if asked.path == "/upload" else 302,
                headers={"Location": "/upload"},
            ),
            id="elsewhere on the server",
        ),
        pytest.param(lambda asked, scope: asked.answer("".join(values(scope)).encode()[:-1]), id="nearly"),
    ],
)
def test_what_is_no_such_file_proves_nothing(answer: Callable[[Asked, Scope], object]) -> None:
    level, _, paths, _ = in_file(answer)
    assert (level, set(paths)) == (ExposureLimit.QUERY, {"/.well-known/leadglass-survey"})


def test_a_port_that_the_scope_does_not_name_is_not_asked_for_the_file() -> None:
    level, _, paths, _ = in_file(lambda asked, scope: asked.answer(value(scope, ExposureLimit.RETRIEVE).encode()), named=False)
    assert (level, paths) == (ExposureLimit.QUERY, [])


def test_patients_are_counted_only_where_that_was_proven() -> None:
    row = {"0020000D": {"vr": "UI", "Value": ["1.2.3"]}, "00100020": {"vr": "LO", "Value": ["P"]}, "00201208": {"vr": "IS", "Value": [7]}}

    def talk(asked: Asked, scope: Scope) -> None:
        if asked.path == control.WELL_KNOWN and asked.headers["Host"].startswith(HOST):
            asked.answer(value(scope, ExposureLimit.RETRIEVE).encode(), "text/plain")
        elif asked.path.startswith("/dicom-web/studies"):
            rows = [] if "offset=1" in asked.path or "StudyInstanceUID" in asked.path else [row]
            asked.answer(json.dumps(rows).encode(), "application/dicom+json")
        else:
            asked.answer(b"", status=404)

    chosen: list[Scope] = []
    paths = []
    with answering(lambda asked: talk(asked, chosen[0]), HOST) as listener, answering(lambda asked: talk(asked, chosen[0]), OTHER) as other:
        scope = scope_of(dimse_ports=[], web_ports=[listener.port])
        scope = scope.model_copy(update={"target": scope.target + scope_of(host=OTHER, dimse_ports=[], web_ports=[other.port]).target})
        chosen.append(scope)
        around = replace(surroundings(), http_ports=frozenset({listener.port, other.port}))
        results = asyncio.run(run(scope, clock=lambda: NOW, surroundings=around, probing=probe_here))
        paths = [path for path in other.paths if "limit=200" in path]
    assert [str(result.level) for result in results.targets] == ["records", "records"]
    assert [result.records and result.records.studies for result in results.targets] == [1, None]
    assert [each.host for each in results.refused] == [OTHER]
    assert paths == []


# The dry run


def test_a_dry_run_says_what_to_publish_where_and_that_is_proof() -> None:
    scope = scope_of(web_ports=[80, 443])
    records = Records({})
    with name_server(records) as address:
        around = surroundings(address)
        planned = asyncio.run(plan(scope, NOW, around)).plan
        assert records.asked == []
    said = "\n".join(planned)
    (told,) = [line.rpartition(" ")[2] for line in planned if "its operator publishes" in line]
    assert f"DNS TXT at _leadglass-survey.{REVERSE}" in said
    further = [line for line in planned if line.startswith(f"{HOST} port 104: if control is proven: ")]
    assert any("first byte" in line for line in further)
    assert not any("first byte" in line for line in planned if "if control is proven" not in line)
    level, _, _ = in_dns(scope, {(f"_leadglass-survey.{REVERSE}", "TXT"): [f'"{told}"']})
    assert level is ExposureLimit.RETRIEVE


def test_a_dry_run_without_a_key_proposes_one() -> None:
    (line,) = [line for line in asyncio.run(plan(scope_of(key=None), NOW, surroundings())).plan if "[control]" in line]
    proposed = line.partition('key = "')[2].partition('"')[0]
    assert values(scope_of(key=proposed))


def test_the_file_is_asked_for_at_the_usual_ports_alone() -> None:
    (system,) = asyncio.run(_systems(scope_of(web_ports=[8042, 80, 443])))
    around = surroundings_of_this_host(Path("/nonexistent"))
    assert control.places(system, around) == [f"https://{HOST}/.well-known/leadglass-survey", f"http://{HOST}/.well-known/leadglass-survey"]


async def _systems(scope: Scope) -> Sequence[System]:
    around = surroundings()
    return (await systems_of(scope, around.resolve, around.private))[0]


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("nameserver 10.0.0.53\nnameserver 10.0.0.54\n", "10.0.0.53"),
        ("# nothing\nnameserver\nnameserver x\noptions edns0\nnameserver fd00::53\n", "fd00::53"),
        ("", None),
    ],
)
def test_the_name_server_is_the_hosts_own(tmp_path: Path, text: str, server: str | None) -> None:
    (tmp_path / "resolv.conf").write_text(text)
    asked = surroundings_of_this_host(tmp_path / "resolv.conf").name_server
    assert asked == ((ip_address(server), 53) if server else None)


# Messages

_ANSWER = bytes.fromhex(
    "0001 8180 0001 0001 0000 0000"  # id 1, an answer, recursion; one question, one answer (RFC 1035 4.1.1)
    "0161 0765 7861 6d70 6c65 00 0010 0001"  # a.example. TXT IN
    "c00c 0010 0001 0000003c 0006"  # the same name, TXT IN, 60 s, 6 bytes
    "0261 62 02 6364"  # "ab" "cd"
)


def test_a_message_written_by_hand_is_read() -> None:
    assert nameserver.read(_ANSWER, nameserver.txt("a.example.")) == (b"abcd",)
    assert nameserver.read(_ANSWER, nameserver.txt("b.example.")) == ()
    assert nameserver.read(_ANSWER, nameserver.ptr("a.example.")) == ()
    assert nameserver.read(_ANSWER[:3] + b"\x83" + _ANSWER[4:], nameserver.txt("a.example.")) == ()


@given(st.data())
def test_no_bytes_are_more_than_an_answer(data: st.DataObject) -> None:
    raw = bytearray(_ANSWER)
    for at, byte in data.draw(st.dictionaries(st.integers(0, len(raw) - 1), st.integers(0, 255), max_size=6)).items():
        raw[at] = byte
    found = nameserver.read(bytes(raw[: data.draw(st.integers(0, len(raw)))]), nameserver.txt("a.example."))
    assert all(isinstance(text, bytes) for text in found)


def test_many_questions_are_asked_over_few_connections() -> None:
    names = [f"{number}.example." for number in range(250)]
    records = Records({(name, "TXT"): [f'"{name}"'] for name in names})
    with name_server(records) as server:
        dialer = ScopedDialer([], per_second=1000, timeout=2, name_server=server)
        answers = asyncio.run(nameserver.ask(dialer, server, [nameserver.txt(name) for name in names], 2))
    assert answers == {nameserver.txt(name): (name.encode(),) for name in names}
    assert dialer.opened == 3


# How often they are asked

RATE = 40.0


def test_a_shard_looks_for_proofs_at_its_part_of_the_rate_and_probes_no_sooner_than_the_host_may_be_asked_again() -> None:
    hosts = [f"127.9.{number}.1" for number in range(24)]
    began: list[float] = []

    async def begins(*_: object) -> None:
        began.append(time.monotonic())

    with recording(hosts) as fleet:
        (port,) = fleet.ports
        targets = [{"name": host, "host": host, "dimse_ports": [104], "web_ports": [port]} for host in hosts]
        limits = {"level": "retrieve", "unsafe_public_addresses": True, "timeout_seconds": 2, "connections_per_second": 2 * RATE}
        scope = parse_scope((scope_text(targets, limits=limits) + table("control", {"key": KEY})).encode())
        half = journal.begin(scope, now=NOW, shard=Shard(1, 2))
        asyncio.run(run(scope, clock=lambda: NOW, surroundings=surroundings(http=port), probing=begins, so_far=half))
    visits = fleet.of(*hosts)
    assert len(visits) > 6
    assert visits[-1].opened - visits[0].opened > (len(visits) - 1) / RATE - 0.05
    assert began[0] - visits[-1].opened > 1 / (RATE * HOST_SHARE) - 0.05
