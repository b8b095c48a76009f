"""Single files of HOME put back to an older copy by somebody without keys: found at a start, by `check` and by `trail verify`."""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from leadglass.access.anchor import Anchor
from leadglass.trail.note import Checkpoint
from tests.archives import COMMAND, ArchiveUnderTest, copy_of, leadglass
from tests.never.house import House


@pytest.fixture
def archive(house: House, tmp_path: Path) -> ArchiveUnderTest:
    copied = copy_of(house.archive, tmp_path / "archive")
    copied.peer("MOD1")
    return copied


def keep(archive: ArchiveUnderTest, name: str) -> Path:
    """A copy of one part of HOME, as it is now."""
    kept = archive.home.with_name("kept") / name
    kept.parent.mkdir(parents=True, exist_ok=True)
    if (archive.home / name).is_dir():
        return Path(shutil.copytree(archive.home / name, kept))
    return Path(shutil.copy2(archive.home / name, kept))


def put_back(archive: ArchiveUnderTest, name: str) -> None:
    kept, place = archive.home.with_name("kept") / name, archive.home / name
    if kept.is_dir():
        shutil.rmtree(place)
        shutil.copytree(kept, place)
    else:
        shutil.copy2(kept, place)


def refused(archive: ArchiveUnderTest, *words: str) -> None:
    """Nothing opens this archive any more, and everything that judges it says why."""
    said = leadglass("trail", "verify", archive.home, code=1).stdout
    for word in words:
        assert word in said, said
    for command in (["check"], ["peer", "list"]):
        assert any(word in leadglass(*command, archive.home, code=1).stderr for word in words)
    with pytest.raises(AssertionError, match="not ready"):
        archive.start()


def sound(archive: ArchiveUnderTest) -> None:
    assert "verified" in leadglass("trail", "verify", archive.home).stdout
    leadglass("check", archive.home)


def states(archive: ArchiveUnderTest) -> dict[str, str]:
    return {row["ae_title"]: row["state"] for row in json.loads(leadglass("peer", "list", archive.home, "--json").stdout)}


def shut_out(archive: ArchiveUnderTest) -> None:
    """The administrator's work that somebody wants undone."""
    leadglass("peer", "revoke", archive.home, "MOD1")
    leadglass("user", "disable", archive.home, "anna")
    leadglass("hold", archive.home, "bert")


def test_the_trail_alone(archive: ArchiveUnderTest) -> None:
    keep(archive, "trail")
    shut_out(archive)
    keep(archive, "access")
    put_back(archive, "trail")
    refused(archive, "trail/ is older than what this archive last vouched for")


def test_the_trail_alone_after_kill_9(archive: ArchiveUnderTest) -> None:
    keep(archive, "trail")
    archive.start()
    archive.token("berta")
    archive.stop(signal.SIGKILL)
    put_back(archive, "trail")
    refused(archive, "trail/ is older than what this archive last vouched for")


@pytest.mark.parametrize(
    ("table", "how"),
    [*((table, how) for table in ("peers", "users") for how in (signal.SIGTERM, signal.SIGKILL, None)), ("holds", signal.SIGKILL)],
)
def test_a_table_alone(archive: ArchiveUnderTest, table: str, how: signal.Signals | None) -> None:
    keep(archive, f"access/{table}.sealed")
    if how is not None:
        archive.start()
    shut_out(archive)
    if how is not None:
        archive.stop(how)
    put_back(archive, f"access/{table}.sealed")
    refused(archive, f"access/{table}.sealed is not the one that this archive last wrote")


def test_the_last_change_before_kill_9(archive: ArchiveUnderTest) -> None:
    """The anchor still names both tables; the trail says which."""
    keep(archive, "access/peers.sealed")
    archive.start()
    leadglass("peer", "revoke", archive.home, "MOD1")
    archive.stop(signal.SIGKILL)
    put_back(archive, "access/peers.sealed")
    refused(archive, "access/peers.sealed is not the one that this archive last wrote")


@pytest.mark.parametrize("changes", [1, 3])
def test_all_of_access_with_its_anchor(archive: ArchiveUnderTest, changes: int) -> None:
    keep(archive, "access")
    for number in range(changes):
        archive.peer(f"OTHER{number}")
    put_back(archive, "access")
    refused(archive, "access/anchor.sealed is older than the trail")


def test_the_anchor_is_missing(archive: ArchiveUnderTest) -> None:
    (archive.home / "access" / "anchor.sealed").unlink()
    refused(archive, "access/anchor.sealed is missing")


def test_the_anchor_is_changed_or_of_another_kind(archive: ArchiveUnderTest) -> None:
    shutil.copy2(archive.home / "access" / "peers.sealed", archive.home / "access" / "anchor.sealed")
    refused(archive, "access/anchor.sealed does not open")


@pytest.mark.parametrize("name", ["access/peers.sealed", "access/anchor.sealed"])
def test_while_it_serves(archive: ArchiveUnderTest, name: str) -> None:
    keep(archive, name)
    with archive.serving():
        shut_out(archive)
        put_back(archive, name)
        for words in (["check"], ["trail", "verify"]):
            assert f"{name} is not the one that this archive last wrote" in leadglass(*words, archive.home, code=1).stdout


# Settings


@pytest.mark.parametrize("name", ["policy.toml", "leadglass.toml"])
def test_edited_settings_are_told(archive: ArchiveUnderTest, name: str) -> None:
    leadglass("peer", "list", archive.home)
    with (archive.home / name).open("a") as file:
        file.write("# another one\n")
    with archive.serving():
        assert f"{name} is not the one that was in force before" in archive.log()
        told = [entry["detail"] for entry in archive.trail() if entry["kind"] == "configured" and entry["detail"]["file"] == name]
        assert len(told[-1]["was"]) == len(told[-1]["now"]) == 64
        assert told[-1]["was"] != told[-1]["now"]
    archive.home.with_name("serve.log").unlink()
    with archive.serving():
        assert "in force before" not in archive.log()


def test_an_older_policy_is_told_even_with_its_anchor(archive: ArchiveUnderTest) -> None:
    keep(archive, "policy.toml")
    keep(archive, "access/anchor.sealed")
    with archive.serving():
        with (archive.home / "policy.toml").open("a") as file:
            file.write("# stricter\n")
        leadglass("policy", "apply", archive.home)
    put_back(archive, "policy.toml")
    put_back(archive, "access/anchor.sealed")
    leadglass("peer", "list", archive.home)
    told = [entry["detail"] for entry in archive.trail() if entry["kind"] == "configured" and entry["detail"]["file"] == "policy.toml"]
    assert (told[-1]["was"], told[-1]["now"]) == (told[-2]["now"], told[-2]["was"])


# No false alarm


_ENDS = [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGKILL]


@pytest.mark.parametrize("ends", [_ENDS[:2], pytest.param(_ENDS, marks=pytest.mark.long)], ids=["two", "four"])
def test_a_normal_life(archive: ArchiveUnderTest, tmp_path: Path, ends: list[signal.Signals]) -> None:
    for number, end in enumerate(ends):
        archive.start()
        archive.token(f"person{number}", "technologist", "store")
        archive.peer(f"P{number}")
        leadglass("peer", "renew", archive.home, f"P{number}", "--issue", tmp_path / f"renewed{number}")
        leadglass("policy", "apply", archive.home)
        leadglass("keys", "rotate", archive.home)
        leadglass("peer", "revoke", archive.home, "P0")
        sound(archive)
        archive.stop(end)
        if end is signal.SIGTERM:
            sound(archive)
        shut_out(archive)
        leadglass("index", "rebuild", archive.home)
        leadglass("keys", "rotate", archive.home)
        sound(archive)


def test_after_the_root_key_was_lost(tmp_path: Path) -> None:
    archive = ArchiveUnderTest(tmp_path / "home", tmp_path / "root.key")
    shown = leadglass("init", archive.home, "--root-key", archive.root_key).stdout
    recovery = tmp_path / "recovery"
    recovery.write_text(next(line.strip() for line in shown.splitlines() if line.startswith("    ")))
    sound(archive)
    archive.root_key.unlink()
    leadglass("keys", "recover", archive.home, "--root-key", tmp_path / "new.key", "--recovery-key-file", recovery)
    sound(archive)


# Crash windows


@pytest.mark.long
@pytest.mark.parametrize("call", ["rename", "fsync", "fdatasync"])
def test_killed_at_every_step_of_a_change(archive: ArchiveUnderTest, tmp_path: Path, call: str) -> None:
    """`peer revoke` dies at the Nth time that it makes something durable, for every N: what is left opens, with the peer or without."""
    leadglass("peer", "list", archive.home)
    killed = seen_revoked = 0
    for number in range(1, 40):
        victim = copy_of(archive, tmp_path / f"victim{number}")
        leadglass("peer", "list", victim.home)
        inject = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"inject={call}:signal=SIGKILL:when={number}"]
        done = subprocess.run([*inject, COMMAND, "peer", "revoke", victim.home, "MOD1"], capture_output=True, check=False, timeout=60)
        revoked = states(victim)["MOD1"] == "revoked"
        sound(victim)
        seen_revoked += revoked
        if done.returncode == 0:
            assert revoked
            break
        killed += 1
        shutil.rmtree(victim.home.parent)
    else:
        pytest.fail("the command never came to its end")
    assert killed >= 2
    if call == "rename":
        assert 1 < seen_revoked < killed + 1


def _administer(archive: ArchiveUnderTest, names: Iterator[str], over: threading.Event, acknowledged: list[str]) -> None:
    for name in names:
        for words in (["add", name, "--address", "127.0.0.1/32", "--may", "store", "--unsafe-plaintext"], ["revoke", name]):
            # Without a server the command does the work itself, which nobody kills here.
            if over.is_set() or leadglass("peer", words[0], archive.home, *words[1:], code=None).returncode:
                return
            acknowledged.append(f"{words[0]} {name}")


@pytest.mark.parametrize("rounds", [3, pytest.param(60, marks=pytest.mark.long)])
def test_killed_at_random_moments_of_many_changes(archive: ArchiveUnderTest, rounds: int) -> None:
    chance = random.Random(rounds)
    done: list[str] = []
    names = (f"K{number}" for number in itertools.count())
    for _ in range(rounds):
        archive.start()
        acknowledged: list[str] = []
        over = threading.Event()
        administrator = threading.Thread(target=_administer, args=(archive, names, over, acknowledged))
        administrator.start()
        time.sleep(chance.uniform(0.1, 1.5))
        archive.stop(signal.SIGKILL)
        over.set()
        administrator.join(60)
        done += acknowledged
        listed = states(archive)
        for each in acknowledged:
            verb, peer = each.split()
            assert peer in listed
            assert verb == "add" or listed[peer] == "revoked"
        sound(archive)
    assert done


# What the anchor accepts


def test_what_an_anchor_accepts() -> None:
    old, new = "a" * 64, "b" * 64
    at_rest = Anchor(Checkpoint("o", 5, bytes(32)), {"peers.sealed": (old,), "users.sealed": (old,)}, {})
    under_way = Anchor(Checkpoint("o", 5, bytes(32)), {"peers.sealed": (old, new), "users.sealed": (old,)}, {})
    found = {"peers.sealed": old, "users.sealed": old}
    changed = {**found, "peers.sealed": new}
    assert at_rest.problems(found, 0) == []
    assert under_way.problems(found, 0) == under_way.problems(changed, 0) == under_way.problems(changed, 1) == []
    assert len(at_rest.problems(changed, 0)) == len(at_rest.problems(found, 1)) == 1
    assert len(under_way.problems(found, 1)) == len(under_way.problems(changed, 2)) == 1
    assert len(at_rest.problems({}, 0)) == 2
    assert Anchor.of_row(under_way.row()) == under_way
