"""What a scope allows and refuses, and that nothing is sent before it has been read."""

import asyncio
import datetime as dt
import json
import stat
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from leadglass.cli import app
from leadglass.errors import ConfigurationError
from leadglass.survey.addresses import RefusedTarget, System, systems_of
from leadglass.survey.briefing import Briefing
from leadglass.survey.observations import Dimse
from leadglass.survey.probes.dimse.probe import DimseProbe
from leadglass.survey.probing import probe_here
from leadglass.survey.run import run as survey_systems
from leadglass.survey.run import survey
from leadglass.survey.scope import ExposureLimit, Scope, load_scope, parse_scope, parse_targets
from tests.survey.harness import TOMORROW, run, scope_text
from tests.survey.servers import hang_up, talking

PUBLIC = "198.18.7.7"
"""Of a range that is nobody's (RFC 2544), and not a private one."""


def scope_of(*targets: dict[str, object], **limits: object) -> Scope:
    complete = [{"name": "a", "dimse_ports": [104], **each} for each in targets]
    return parse_scope(scope_text(complete, limits=limits).encode())


def systems(scope: Scope, names: dict[str, Sequence[str]] | None = None) -> tuple[list[System], list[RefusedTarget]]:
    async def resolve(name: str) -> Sequence[str]:
        return (names or {}).get(name, ())

    return asyncio.run(systems_of(scope, resolve))


def addresses(scope: Scope, names: dict[str, Sequence[str]] | None = None) -> list[str]:
    return [str(system.address) for system in systems(scope, names)[0]]


def why(scope: Scope, names: dict[str, Sequence[str]] | None = None) -> str:
    allowed, refused = systems(scope, names)
    assert not allowed
    (only,) = refused
    return only.why


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("limits.levle", "did you mean level?"),
        ("limits.contact", "belongs in [authority]"),
        ("authority.unsafe_mandate", "belongs in [limits]"),
        ("target.port", "did you mean"),
        ("limits.colour", "known are"),
    ],
)
def test_an_unknown_key_is_refused_with_what_would_be_right(text: str, says: str) -> None:
    where, key = text.split(".")
    target: dict[str, object] = {"name": "a", "host": "127.0.0.1", "dimse_ports": [104]}
    parts = {"authority": {}, "limits": {}, "target": target}
    parts[where][key] = "x"
    with pytest.raises(ConfigurationError, match=key) as refused:
        parse_scope(scope_text([target], authority=parts["authority"], limits=parts["limits"]).encode())
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "target",
    [
        {"host": "127.0.0.1"},
        {"host": "127.0.0.1", "dimse_ports": [0]},
        {"host": "127.0.0.1", "dimse_ports": [104], "web_ports": [104]},
        {"host": "127.0.0.1/24", "dimse_ports": [104]},
        {"host": "10.0.0.0/8", "dimse_ports": [104]},
        {"host": "1.2.3", "dimse_ports": [104]},
        {"host": "a b", "dimse_ports": [104]},
        {"host": "http://pacs", "dimse_ports": [104]},
        {"host": "-x.example", "dimse_ports": [104]},
        {"host": "127.0.0.1", "dimse_ports": ["104"]},
        {"host": "127.0.0.1", "dimse_ports": [104], "called_aet": "LONGER THAN SIXTEEN"},
        {"host": "127.0.0.1", "dimse_ports": [104], "name": "two\nlines"},
    ],
)
def test_a_target_that_makes_no_sense_is_refused(target: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        parse_scope(scope_text([{"name": "a", **target}]).encode())


@pytest.mark.parametrize(
    "limits",
    [
        {"level": "everything"},
        {"connections_per_second": 0},
        {"timeout_seconds": 0},
        {"opt_out": ["x"]},
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(limits: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        scope_of({"host": "127.0.0.1"}, **limits)


def test_the_level_of_the_command_line_only_lowers() -> None:
    scope = scope_of({"host": "127.0.0.1"}, level="count")
    assert scope.lowered(ExposureLimit.CONNECT).limits.level is ExposureLimit.CONNECT
    assert scope.lowered(None) is scope
    with pytest.raises(ConfigurationError, match="more than the scope allows"):
        scope.lowered(ExposureLimit.RETRIEVE)


def test_the_level_is_query_unless_said() -> None:
    text = scope_text([{"name": "a", "host": "127.0.0.1", "dimse_ports": [104]}]).replace('level = "retrieve"\n', "")
    assert parse_scope(text.encode()).limits.level is ExposureLimit.QUERY


def test_an_authority_that_has_ended_sends_no_packet(tmp_path: Path) -> None:
    with talking(hang_up) as listener:
        target = {"name": "a", "host": "127.0.0.1", "dimse_ports": [listener.port]}
        (tmp_path / "scope.toml").write_text(scope_text([target], authority={"valid_until": TOMORROW - dt.timedelta(days=2)}))
        with pytest.raises(ConfigurationError, match="ended on"):
            survey(tmp_path / "scope.toml", tmp_path / "out")
        assert not listener.connections
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(tmp_path: Path) -> None:
    with talking(hang_up) as listener:
        target = {"name": "a", "host": "127.0.0.1", "dimse_ports": [listener.port], "web_ports": [1]}
        named = {"name": "b", "host": "pacs.invalid", "dimse_ports": [104]}
        (tmp_path / "scope.toml").write_text(scope_text([target, named]))
        results = survey(tmp_path / "scope.toml", tmp_path / "out", dry_run=True, level=ExposureLimit.QUERY)
        assert not listener.connections
    plan = "\n".join(results.plan)
    assert f"127.0.0.1 port {listener.port}: " in plan
    assert "random UID" in plan
    assert "first byte" not in plan
    assert "pacs.invalid: would be resolved" in plan
    assert not (tmp_path / "out").exists()


# Addresses


@pytest.mark.parametrize("host", ["127.0.0.5", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.7.7", "::1", "fd00::7"])
def test_private_addresses_are_allowed_where_named(host: str) -> None:
    assert addresses(scope_of({"host": host})) == [host]


@pytest.mark.parametrize("host", [PUBLIC, "172.32.0.1", "100.64.0.1", "8.8.8.8", "2001:db8::1"])
def test_a_public_address_is_refused_without_the_switch(host: str) -> None:
    assert "unsafe_public_addresses" in why(scope_of({"host": host}))


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "224.0.0.1",
        "0.0.0.0",
        "0.0.0.1",
        "fe80::1",
        "ff02::1",
        "::",
        "2002:a9fe:a9fe::1",
        "2001:0:808:808::1",
        "64:ff9b::a00:1",
        "fec0::1",
    ],
)
def test_plumbing_is_never_surveyed(host: str) -> None:
    assert "never surveyed" in why(scope_of({"host": host}, unsafe_public_addresses=True))


def test_a_public_address_by_name_needs_a_named_range() -> None:
    switched = {"unsafe_public_addresses": True}
    assert "no target names" in why(scope_of({"host": "pacs.example"}, **switched), {"pacs.example": [PUBLIC]})
    both = scope_of({"host": "pacs.example"}, {"host": PUBLIC}, **switched)
    assert addresses(both, {"pacs.example": [PUBLIC]}) == [PUBLIC]


def test_a_name_that_leads_outside_is_refused_whole() -> None:
    scope = scope_of({"host": "pacs.example"})
    assert PUBLIC in why(scope, {"pacs.example": ["10.0.0.1", PUBLIC]})
    assert "no address" in why(scope)
    assert addresses(scope, {"pacs.example": ["::ffff:10.0.0.1"]}) == ["10.0.0.1"]


@pytest.mark.parametrize("spelling", ["10.0.0.1/32", "10.0.0.1", "::ffff:10.0.0.1/128", "::ffff:10.0.0.0/127"])
def test_opt_out_wins_however_it_is_spelt(spelling: str) -> None:
    scope = scope_of({"host": "10.0.0.0/30"}, {"host": "10.0.0.1"}, opt_out=[spelling])
    assert addresses(scope) == ["10.0.0.2"]


def test_beyond_query_a_public_address_needs_proof_of_control_or_a_mandate() -> None:
    public: dict[str, object] = {"level": "retrieve", "unsafe_public_addresses": True}
    ((system,), _) = systems(scope_of({"host": PUBLIC}, **public))
    assert (system.level, system.beyond) == (ExposureLimit.QUERY, ExposureLimit.RETRIEVE)
    ((system,), _) = systems(scope_of({"host": PUBLIC}, **public, unsafe_mandate="Act 7, section 3"))
    assert (system.level, system.beyond) == (ExposureLimit.RETRIEVE, None)


@pytest.mark.parametrize(
    ("targets", "taken", "refusals"),
    [
        (({"host": "10.0.0.1"}, {"host": "10.0.0.1"}), ["10.0.0.1"], 1),
        (({"host": "pacs.example"}, {"host": "::ffff:10.0.0.1"}), ["10.0.0.1"], 1),
        (({"host": "10.0.0.1"}, {"host": "10.0.0.1", "dimse_ports": [104, 11112]}), ["10.0.0.1"], 1),
        # Two archives of one host are two systems.
        (({"host": "10.0.0.1"}, {"host": "10.0.0.1", "dimse_ports": [11112]}), ["10.0.0.1", "10.0.0.1"], 0),
        (({"host": "10.0.0.0/30"}, {"host": "10.0.0.0/31"}), ["10.0.0.1", "10.0.0.2", "10.0.0.0"], 0),
        (({"host": "10.0.0.0/30"}, {"host": "10.0.0.2/31", "dimse_ports": [104, 4242]}), ["10.0.0.1", "10.0.0.2", "10.0.0.3"], 1),
        (({"host": "10.0.0.0/30"}, {"host": "10.0.0.2/31", "dimse_ports": [104, 104, 4242]}), ["10.0.0.1", "10.0.0.2", "10.0.0.3"], 1),
        (({"host": "::ffff:10.0.0.1"}, {"host": "10.0.0.0/30"}), ["10.0.0.1", "10.0.0.2"], 0),
        (({"host": "::ffff:10.0.0.0/126"}, {"host": "10.0.0.0/30"}), ["10.0.0.1", "10.0.0.2", "10.0.0.3"], 0),
    ],
)
def test_no_port_of_an_address_is_surveyed_or_counted_twice(
    targets: tuple[dict[str, object], ...], taken: list[str], refusals: int
) -> None:
    listed, refused = systems(scope_of(*targets), {"pacs.example": ["10.0.0.1"]})
    assert [str(system.address) for system in listed] == taken
    assert len(refused) == refusals
    assert all("in one target" in each.why for each in refused)


def test_a_port_that_a_target_names_twice_is_asked_once() -> None:
    ((system,), _) = systems(scope_of({"host": "10.0.0.1", "dimse_ports": [104, 11112, 104], "web_ports": [443, 443]}))
    assert system.ports == (104, 11112, 443)


def test_an_address_of_a_name_that_is_not_surveyed_by_that_name_stays_in_its_range() -> None:
    scope = scope_of({"host": "pacs.example"}, {"host": "other.example"}, {"host": "10.0.0.0/29"})
    names: dict[str, Sequence[str]] = {"pacs.example": ["10.0.0.1", PUBLIC], "other.example": ["10.0.0.2", "10.0.0.3"]}
    assert addresses(scope, names) == ["10.0.0.2", "10.0.0.1", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]


@given(st.ip_addresses(v=4), st.lists(st.ip_addresses(v=4, network="10.0.0.0/24"), max_size=4))
def test_no_system_is_outside_its_target_or_opted_out(named: object, opted: list[object]) -> None:
    scope = scope_of({"host": str(named)}, {"host": "10.0.0.0/28"}, opt_out=[str(each) for each in opted])
    private = [ip_network(text) for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
    for text in addresses(scope):
        address = ip_address(text)
        assert address == named or address in ip_network("10.0.0.0/28")
        assert address not in opted
        assert any(address in network for network in private)


def test_a_name_with_the_roots_dot_is_told_to_a_server_without_it() -> None:
    ((system,), _) = systems(scope_of({"host": "pacs.example."}), {"pacs.example.": ["10.0.0.1"]})
    assert system.server_name == "pacs.example"


def test_a_name_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """A list of targets is often somebody else's: C1 controls and marks of direction get through as text."""
    (tmp_path / "scope.toml").write_text(scope_text([{"name": "North\x9b2J\u202eEvil", "host": "8.8.8.8", "dimse_ports": [104]}]))
    for options in (["--dry-run"], []):
        said = CliRunner().invoke(app, ["survey", str(tmp_path / "scope.toml"), "--out", str(tmp_path / "out"), *options]).output
        assert "North\\x9b2J\\u202eEvil (8.8.8.8)" in said
        assert not {"\x9b", "\u202e"} & set(said)


# Targets in a CSV file


def test_targets_come_from_a_csv_file_too(tmp_path: Path) -> None:
    (tmp_path / "targets.csv").write_text("name,host,dimse_ports,web_ports,country,site\nNorth,10.0.0.1,104;11112,443,FR,Lille\n")
    (tmp_path / "scope.toml").write_text('targets = "targets.csv"\n' + scope_text([]))
    (target,) = load_scope(tmp_path / "scope.toml").target
    assert (target.host, target.dimse_ports, target.web_ports, target.country) == ("10.0.0.1", (104, 11112), (443,), "FR")


@pytest.mark.parametrize(
    "text",
    [
        "name,host,colour\na,10.0.0.1,red\n",
        "name\na\n",
        "name,host,dimse_ports\na,10.0.0.1,1,2\n",
        "name,host,dimse_ports\na,10.0.0.1,x\n",
        "name,host\na,10.0.0.1\n",
        "\xff",
    ],
)
def test_a_csv_file_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="targets"):
        list(parse_targets(text.encode("latin-1")))


@pytest.mark.parametrize("text", ["", "[authority]", "x = ", "[[target]]", "\ud800"])
def test_a_file_that_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_scope(text.encode("utf-8", "surrogatepass"))


# The folder of the results


def test_the_results_are_for_their_owner_alone(tmp_path: Path) -> None:
    run(tmp_path, {"dimse_ports": [1]})
    out = tmp_path / "out"
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
    names = {
        "journal.jsonl",
        "results.json",
        "report.html",
        "report-without-addresses.html",
        "targets.csv",
        "countries.csv",
        "results.sarif",
    }
    assert {path.name for path in out.iterdir()} == names


def test_a_folder_with_other_things_in_it_is_refused_before_any_packet(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letters.txt").write_text("")
    with talking(hang_up) as listener:
        with pytest.raises(ConfigurationError, match="in use"):
            run(tmp_path, {"dimse_ports": [listener.port]})
        assert not listener.connections


def test_a_range_lists_only_where_something_answers(tmp_path: Path) -> None:
    with talking(hang_up, "127.0.9.2") as listener:
        results = run(
            tmp_path, {"host": "127.0.9.0/29", "dimse_ports": [listener.port]}, {"host": "127.0.9.3", "dimse_ports": [listener.port]}
        )
    assert [(result.host, str(result.level)) for result in results.targets] == [("127.0.9.2", "open-port"), ("127.0.9.3", "closed")]
    document = json.loads((tmp_path / "out" / "results.json").read_bytes())
    assert document["survey"]["addresses"] == {"asked": 6, "silent": 4}


class Fails(DimseProbe):
    """A probe with a fault of ours, at one system."""

    async def run(self, system: System, port: int, briefing: Briefing) -> Dimse:
        if system.target.name == "a":
            raise ZeroDivisionError
        return await super().run(system, port, briefing)


def test_a_fault_of_ours_is_said_and_costs_no_other_result() -> None:
    scope = scope_of({"host": "127.0.0.1"}, {"host": "127.0.0.2", "name": "b"})
    results = asyncio.run(survey_systems(scope, probing=partial(probe_here, probes=[Fails()])))
    assert [result.name for result in results.targets] == ["b"]
    assert [(each.name, "our own fault" in each.why) for each in results.refused] == [("a", True)]
    assert results.exit_code == 3
