"""A survey in parts gives the report of the survey in one piece, or says why it cannot."""

import asyncio
import datetime as dt
import json
import re
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.errors import ConfigurationError, WrongUsage
from leadglass.survey import journal
from leadglass.survey.addresses import IpAddress, System
from leadglass.survey.merge import merge
from leadglass.survey.observations import ExposureLevel, Observation
from leadglass.survey.probing import Orders, Take, probe_here
from leadglass.survey.run import run
from leadglass.survey.scope import Scope, parse_scope
from leadglass.survey.shard import Shard
from tests.survey.harness import scope_text
from tests.survey.playing import MIXED, Played, by_address, door, play, scope_of
from tests.survey.relinking import relinked

ADDRESSES = st.ip_addresses()


@given(ADDRESSES, st.integers(min_value=1, max_value=50))
def test_an_address_is_of_exactly_one_shard(address: IpAddress, count: int) -> None:
    assert sum(Shard(number, count).takes(address) for number in range(1, count + 1)) == 1


def test_the_split_stays_what_it_was() -> None:
    """Shards of one survey run on many machines, perhaps of several versions: the split is a format."""
    of = [[last for last in range(12) if Shard(number, 3).takes(ip_address(f"10.0.0.{last}"))] for number in (1, 2, 3)]
    assert of == [[0, 4, 6, 9, 10], [8, 11], [1, 2, 3, 5, 7]]


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/99999", "-1/3", "1/3/4", "\u0661/\u0663"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(WrongUsage, match="3/16"):
        Shard.parse(text)


def comparable(out: Path) -> dict[str, str]:
    """Every report of a folder without its times and run ids."""
    reports = {path.name: path.read_text() for path in out.iterdir() if path.name != "journal.jsonl"}
    document = json.loads(reports["results.json"])
    told = document["survey"]
    for text in (told["started"], told["run"]):
        reports = {name: content.replace(text, "-") for name, content in reports.items()}
    reports["results.json"] = re.sub(r'"seconds": [\d.]+', "-", reports["results.json"])
    return {name: re.sub(r"\d+ s, level", "-", content) for name, content in reports.items()}


def in_parts(folder: Path, count: int, scope: Scope | None = None) -> list[Path]:
    parts = [folder / f"part{number}" for number in range(1, count + 1)]
    for number, part in enumerate(parts, 1):
        play(part, scope, shard=Shard(number, count))
    return parts


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_merge_of_all_shards_is_the_unsplit_survey(tmp_path: Path, count: int) -> None:
    whole = play(tmp_path / "whole")
    parts = in_parts(tmp_path, count)
    merged = merge(list(reversed(parts)), tmp_path / "merged")
    assert comparable(tmp_path / "merged") == comparable(tmp_path / "whole")
    assert merged.totals == whole.totals
    assert merged.exit_code == whole.exit_code == 1
    assert whole.totals.open > 3
    assert len(whole.refused) == 2


def test_a_host_is_asked_from_one_place_and_everything_once(tmp_path: Path) -> None:
    probes = [Played() for _ in range(4)]
    for number, probe in enumerate(probes, 1):
        play(tmp_path / str(number), probe=probe, shard=Shard(number, 4))
    asked = [set(probe.asked) for probe in probes]
    assert sum(map(len, asked)) == len(set().union(*asked)) == 32
    assert sum(len(probe.asked) for probe in probes) == 33  # two targets share an address


def test_silent_addresses_and_own_faults_are_merged_too(tmp_path: Path) -> None:
    def answer(system: System) -> Observation:
        if str(system.address).endswith(".3"):
            raise ZeroDivisionError
        return door(ExposureLevel.CLOSED, system.target.dimse_ports[0]) if int(system.address) % 2 else by_address(system)

    whole = play(tmp_path / "whole", probe=Played(answer))
    parts = [tmp_path / f"part{number}" for number in (1, 2)]
    for number, part in enumerate(parts, 1):
        play(part, probe=Played(answer), shard=Shard(number, 2))
    merged = merge(parts, tmp_path / "merged")
    assert comparable(tmp_path / "merged") == comparable(tmp_path / "whole")
    assert (merged.addresses_silent, merged.faults, merged.exit_code) == (whole.addresses_silent, 1, 3)
    assert merged.addresses_silent > 5


def refusal(parts: Sequence[Path], out: Path) -> str:
    with pytest.raises(ConfigurationError) as refused:
        merge(parts, out)
    assert not out.exists()
    return str(refused.value)


def test_what_is_not_one_whole_survey_is_refused_with_what_to_do(tmp_path: Path) -> None:
    one, two, three = in_parts(tmp_path, 3)
    out = tmp_path / "out"
    assert "missing shard 2/3: survey it (--shard 2/3)" in refusal([one, three], out)
    assert "both shard 1/3: name each shard once" in refusal([one, one, two, three], out)
    other = tmp_path / "other"
    play(other, scope_of(*MIXED[:3]), shard=Shard(3, 3))
    assert "another scope" in refusal([one, two, other], out)
    deeper = tmp_path / "deeper"
    play(deeper, scope_of(level="count"), shard=Shard(3, 3))
    assert "another scope, level" in refusal([one, two, deeper], out)
    split = tmp_path / "split"
    play(split, shard=Shard(1, 2))
    assert "merge shards of one split" in refusal([one, two, split], out)
    assert "no journal.jsonl" in refusal([one, two, tmp_path], out)
    copied = tmp_path / "copied"
    copied.mkdir()
    (copied / "journal.jsonl").write_bytes(relinked((three / "journal.jsonl").read_bytes().replace(b"3/3", b"2/3", 1)))
    assert "both asked" in refusal([one, copied, three], out)


def test_another_method_is_refused(tmp_path: Path) -> None:
    one, two = in_parts(tmp_path, 2)
    path = two / "journal.jsonl"
    path.write_bytes(relinked(re.sub(rb'"method":"[^"]+"', b'"method":"0"', path.read_bytes())))
    assert "another version (method '0', and this is method" in refusal([one, two], tmp_path / "out")


def test_a_shard_that_was_not_finished_is_refused(tmp_path: Path) -> None:
    one, two = in_parts(tmp_path, 2)
    path = two / "journal.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    assert "2 systems left): go on with it (--resume)" in refusal([one, two], tmp_path / "out")


def test_systems_that_are_in_no_shard_are_missed(tmp_path: Path) -> None:
    """A name that led elsewhere when another machine looked it up: the plans still say how many there should be."""
    one, two = in_parts(tmp_path, 2)
    path = two / "journal.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    mine = json.loads(lines[1])["plan"]["mine"]
    lines[1] = lines[1].replace(f'"mine":{mine}', f'"mine":{mine - 1}')
    path.write_bytes(relinked("".join(lines[:-1]).encode()))
    assert "1 of the scope's 33 systems are in no shard" in refusal([one, two], tmp_path / "out")


def test_what_was_refused_is_told_as_in_one_piece(tmp_path: Path) -> None:
    twice = {"name": "outside", "host": "169.254.1.1", "dimse_ports": [104]}
    public = [{"name": name, "host": host, "dimse_ports": [104]} for name, host in (("b", "8.8.9.0/28"), ("a", "8.8.8.0/29"))]
    scope = scope_of(*public, twice, twice, level="count", unsafe_public_addresses=True)
    whole = play(tmp_path / "whole", scope)
    merged = merge(list(reversed(in_parts(tmp_path, 3, scope))), tmp_path / "merged")
    assert [each.host for each in whole.refused] == ["169.254.1.1"] * 2 + [str(each) for each in _hosts("8.8.9.0/28", "8.8.8.0/29")]
    assert merged.refused == whole.refused
    assert comparable(tmp_path / "merged") == comparable(tmp_path / "whole")


def _hosts(*ranges: str) -> list[IpAddress]:
    return [address for each in ranges for address in ip_network(each).hosts()]


def test_who_opts_out_while_shards_are_surveyed_leaves_the_merged_report_too(tmp_path: Path) -> None:
    one, two = in_parts(tmp_path, 2)
    opted = {"opt_out": ["10.1.0.0/24", "10.2.0.8/29"]}
    authority = {"authorised_by": "the next CISO"}
    now = parse_scope(scope_text(MIXED, authority=authority, limits=opted).encode())
    play(one, now, probe := Played(), shard=Shard(1, 2), resume=True)
    assert "another opt_out" in refusal([one, two], tmp_path / "out")
    play(two, now, probe, shard=Shard(2, 2), resume=True)
    merged = merge([one, two], tmp_path / "merged")
    assert probe.asked == []
    assert (merged.left, merged.scope.authority.authorised_by) == (0, "the next CISO")
    whole = play(tmp_path / "whole", now)
    assert merged.targets == whole.targets
    assert not [each.host for each in merged.targets if each.host.startswith("10.1.")]
    # Who withdraws it is asked, and known once.
    for number, part in enumerate((one, two), 1):
        play(part, scope_of(), probe, shard=Shard(number, 2), resume=True)
    assert {"10.1.0.7", "10.2.0.9"} <= set(probe.asked)
    assert merge([one, two], tmp_path / "again").targets == play(tmp_path / "all").targets


def test_shards_share_the_rate_of_the_scope(tmp_path: Path) -> None:
    """However many machines work at the same time, together they open no more connections than the scope allows."""
    told: list[float] = []

    async def look(systems: Sequence[System], orders: Orders, take: Take) -> None:
        told.append(orders.per_second)
        await probe_here(systems, orders, take, probes=[Played()])

    scope = scope_of(connections_per_second=1000)
    now = dt.datetime.now(dt.UTC)
    asyncio.run(run(scope, probing=look, so_far=journal.begin(scope, now=now, shard=Shard(1, 4))))
    assert told == [1000 / 4]
