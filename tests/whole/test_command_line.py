"""The command line that other programs rely on: its commands, exit codes and JSON, alike for a stopped archive and one that serves."""

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import samples
from tests.archives import PASSWORD, ArchiveUnderTest, installed, leadglass
from tests.whole.stock import FEW, few

COMMANDS = """
init, serve, import, check, demo, survey, index rebuild, keys rotate, keys check, keys recover, peer add, peer list, peer renew,
peer revoke, user add, user list, user disable, token create, token list, token revoke, policy check, policy apply, policy explain,
user role, user attribute, trail alerts, trail show, trail verify, trail export, trail checkpoint
"""
EVERY = [words.split() for words in COMMANDS.replace("\n", " ").split(",")]
OUTCOMES = ("stored", "already_there", "conflicts", "refused")


# Every command


@pytest.mark.parametrize("command", EVERY, ids=" ".join)
def test_every_command_has_help(command: list[str]) -> None:
    shown = leadglass(*command, "--help").stdout
    assert f"Usage: leadglass {' '.join(command)}" in shown
    sentence = shown.split("Options:")[0].split("Arguments:")[0].split("\n\n")[1]
    assert sentence.strip().endswith(".")


def test_the_installed_command_is_the_same() -> None:
    assert installed("--help").stdout == leadglass("--help").stdout


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["serve"], ["peer", "add"], ["check", "HOME", "--nonsense"], ["check", "/nowhere/at/all"], ["trail", "verify", "/"]],
    ids=" ".join,
)
def test_wrong_usage_ends_in_2_and_says_why(words: list[str]) -> None:
    said = leadglass(*words, code=2)
    assert said.stderr.startswith("leadglass: ")
    assert "Traceback" not in said.stderr
    assert not said.stdout


# init


def test_init_refuses_a_folder_in_use_and_leaves_it_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine").write_text("mine")
    said = leadglass("init", home, "--root-key", tmp_path / "root.key", code=1)
    assert "in use" in said.stderr
    assert [each.name for each in home.iterdir()] == ["mine"]
    assert not (tmp_path / "root.key").exists()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--aet", "MUCH TOO LONG A TITLE"], 2),
        (["--aet", "BAD\\ONE"], 2),
        (["--admin", ""], 2),
        (["--admin", "no\nname"], 2),
        (["--hostname", "not a host name"], 2),
        (["--root-key", "HOME/root.key"], 1),
        (["--root-key", "TAKEN"], 1),
    ],
    ids=str,
)
def test_init_that_fails_leaves_nothing_behind(options: list[str], code: int, tmp_path: Path) -> None:
    home, taken = tmp_path / "home", tmp_path / "taken.key"
    taken.write_text("somebody's")
    words = [option.replace("HOME", str(home)).replace("TAKEN", str(taken)) for option in options]
    root = [] if "--root-key" in options else ["--root-key", str(tmp_path / "root.key")]
    said = leadglass("init", home, *root, *words, code=code)
    assert said.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["taken.key"]
    assert taken.read_text() == "somebody's"


def test_init_prints_secrets_once_and_the_recovery_key_brings_the_archive_back(tmp_path: Path) -> None:
    home, root = tmp_path / "home", tmp_path / "root.key"
    said = leadglass("init", home, "--root-key", root, "--hostname", "pacs.example.org", "--aet", "NORTH", "--admin", "ada").stdout
    assert "AE title NORTH" in said
    assert "password of ada, shown once: " in said
    recovery = next(line.strip() for line in said.splitlines() if line.startswith("    "))
    assert recovery not in "".join(path.read_text(errors="replace") for path in home.rglob("*") if path.is_file())
    assert {oct(path.stat().st_mode & 0o77) for path in (home, root)} == {"0o0"}
    root.unlink()
    assert "keys recover" in leadglass("user", "list", home, code=1).stderr
    typed = tmp_path / "typed"
    wrong = recovery[:-1] + ("A" if recovery[-1] != "A" else "B")
    for text, code in ((wrong, 1), ("nonsense", 1), (recovery, 0)):
        typed.write_text(text + "\n")
        leadglass("keys", "recover", home, "--root-key", tmp_path / "new.key", "--recovery-key-file", typed, code=code)
        assert (tmp_path / "new.key").exists() == (code == 0)
    assert [row["name"] for row in json.loads(leadglass("user", "list", home, "--json").stdout)] == ["ada"]


# Configuration and permissions


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[dimse]", "[dimse]\nlissten = 1", ["dimse.lissten", "unknown key", "listen", "max_associations"]),
        ("[archive]", "[archve]", ["archve", "unknown key", "archive", "storage"]),
        ('aet = "LEADGLASS"', "aet = 7", ["archive.aet"]),
        ('aet = "LEADGLASS"', 'aet = "MUCH TOO LONG A TITLE"', ["archive.aet"]),
        ('listen = "127.0.0.1:2762"', 'listen = "2762"', ["dimse.listen", "HOST:PORT"]),
        ("[web]", "[web", ["not TOML"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_configuration_is_refused_with_what_would_be_right(old: str, new: str, told: list[str], archive: ArchiveUnderTest) -> None:
    config = archive.home / "leadglass.toml"
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new, 1))
    for command in ("serve", "check"):
        said = leadglass(command, archive.home, code=2).stderr
        assert not [word for word in told if word not in said]
    config.write_text(text)
    leadglass("user", "list", archive.home)


def test_a_wrong_policy_is_refused(archive: ArchiveUnderTest) -> None:
    policy = archive.home / "policy.toml"
    right = policy.read_text()
    with archive.serving():
        policy.write_text(right.replace('roles = ["auditor"]', 'roles = ["auditter"]'))
        for verb in ("check", "apply"):
            assert "auditter" not in leadglass("policy", verb, archive.home, code=2).stderr.replace("'auditor'", "")
        policy.write_text(right)
        assert "valid" in leadglass("policy", "check", archive.home).stdout
    policy.write_text(right + "\n[[rules]]\n")
    assert "rules" in leadglass("user", "list", archive.home, code=2).stderr


def test_a_home_or_root_key_that_others_can_read_is_refused(archive: ArchiveUnderTest) -> None:
    archive.home.chmod(0o750)
    assert "chmod 700" in leadglass("serve", archive.home, code=2).stderr
    archive.home.chmod(0o700)
    archive.root_key.chmod(0o640)
    assert "chmod" in leadglass("serve", archive.home, code=1).stderr
    archive.root_key.chmod(0o600)
    archive.root_key.rename(archive.root_key.with_name("elsewhere.key"))
    assert str(archive.root_key) in leadglass("serve", archive.home, code=1).stderr
    leadglass("user", "list", archive.home, environment={"LEADGLASS_ROOT_KEY": str(archive.root_key.with_name("elsewhere.key"))})


def test_another_archives_root_key_is_refused(archive: ArchiveUnderTest, tmp_path: Path) -> None:
    leadglass("init", tmp_path / "home", "--root-key", tmp_path / "root.key")
    shutil.copy(tmp_path / "root.key", archive.root_key)
    assert leadglass("check", archive.home, code=1).stderr.startswith("leadglass: ")


# One process owns HOME


def test_a_second_serve_on_the_same_home_is_refused(archive: ArchiveUnderTest) -> None:
    with archive.serving():
        said = leadglass("serve", archive.home, "--dimse", "127.0.0.1:0", "--web", "127.0.0.1:0", code=1)
        assert "owns" in said.stderr
        assert not said.stdout
        assert "owns" in leadglass("index", "rebuild", archive.home, code=1).stderr
        leadglass("user", "list", archive.home)


def test_a_port_that_is_taken_is_said(archive: ArchiveUnderTest, stocked: ArchiveUnderTest) -> None:
    taken = f"127.0.0.1:{stocked.dimse.port}"
    said = leadglass("serve", archive.home, "--dimse", taken, "--web", "127.0.0.1:0", code=1).stderr
    assert taken in said


@pytest.fixture(params=["stopped", "serving"])
def either(request: pytest.FixtureRequest, archive: ArchiveUnderTest) -> Iterator[ArchiveUnderTest]:
    """An archive, stopped or serving: a command must not make a difference."""
    if request.param == "stopped":
        yield archive
        return
    with archive.serving():
        yield archive


def as_json(*words: str | Path, code: int = 0) -> object:
    return json.loads(leadglass(*words, "--json", code=code).stdout)


def test_commands_do_the_same_to_a_stopped_archive_and_a_serving_one(either: ArchiveUnderTest, tmp_path: Path) -> None:
    _people(either.home, tmp_path)
    _peers(either.home, tmp_path)
    _policy(either.home)
    _images(either)
    _trail(either.home, tmp_path)


def _people(home: Path, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    leadglass("user", "add", home, "anna", "--role", "clinician", "--password-file", password)
    assert "shown once" in leadglass("user", "add", home, "tom", "--role", "technologist").stdout
    leadglass("user", "add", home, "anna", "--role", "clinician", "--password-file", password, code=2)
    leadglass("user", "add", home, "bo", "--role", "surgeon", "--password-file", password, code=2)
    token = leadglass("token", "create", home, "--user", "anna", "--may", "find,get", "--days", "3").stdout
    assert token.count("\n") == 1
    assert " " not in token
    leadglass("token", "create", home, "--user", "nobody", "--may", "find", code=2)
    leadglass("token", "create", home, "--user", "anna", "--may", "fly", code=2)
    leadglass("user", "disable", home, "tom")
    people = as_json("user", "list", home)
    assert isinstance(people, list)
    assert {(row["name"], tuple(row["role"]), row["state"]) for row in people} == {
        ("admin", ("administrator",), "active"),
        ("anna", ("clinician",), "active"),
        ("tom", ("technologist",), "disabled"),
    }


def _peers(home: Path, tmp_path: Path) -> None:
    add = ("peer", "add", home, "US1", "--address", "10.0.0.0/24", "--may")
    leadglass(*add, "store", code=2)
    leadglass(*add, "fly", "--issue", tmp_path / "us1", code=2)
    assert not (tmp_path / "us1").exists()
    leadglass(*add, "store,find", "--issue", tmp_path / "us1", "--host", "10.0.0.7", "--port", "104")
    assert sorted(each.name for each in (tmp_path / "us1").iterdir()) == ["US1.cert.pem", "US1.key.pem", "ca.pem"]
    assert (tmp_path / "us1" / "US1.key.pem").stat().st_mode & 0o77 == 0
    leadglass(*add, "store", "--issue", tmp_path / "again", code=2)
    _csr(tmp_path)
    signed = leadglass("peer", "add", home, "CR1", "--address", "10.0.0.9/32", "--may", "store", "--csr", tmp_path / "cr1.csr").stdout
    assert signed.startswith("-----BEGIN CERTIFICATE-----")
    leadglass(
        "peer", "add", home, "WS1", "--address", "10.0.0.8/32", "--may", "get", "--certificate", tmp_path / "us1" / "ca.pem", code=None
    )
    leadglass("peer", "renew", home, "US1", "--issue", tmp_path / "us1-new")
    leadglass("peer", "revoke", home, "CR1")
    leadglass("peer", "revoke", home, "XX9", code=2)
    rows = as_json("peer", "list", home)
    assert isinstance(rows, list)
    listed = {row["ae_title"]: row for row in rows}
    assert listed["US1"]["destination"] == "10.0.0.7:104"
    assert listed["US1"]["may"] == ["find", "store"]
    assert (listed["US1"]["state"], listed["CR1"]["state"]) == ("active", "revoked")


def _policy(home: Path) -> None:
    explained = as_json("policy", "explain", home, "anna")
    assert isinstance(explained, list)
    said = {row["action"]: row for row in explained}
    anna = {"who": "user:anna", "by": "a token", "held_since": None, "held_by": None}
    assert said["get"] == anna | {"action": "get", "allowed": True, "studies": "every", "rules": [1], "against": []}
    assert said["store"] == anna | {"action": "store", "allowed": False, "studies": None, "rules": [], "against": []}
    leadglass("policy", "explain", home, "nobody", code=2)
    leadglass("policy", "apply", home)


def _images(archive: ArchiveUnderTest) -> None:
    home = archive.home
    taken = archive.take_in(few(), code=0)
    assert {key: taken[key] if isinstance(taken[key], int) else len(taken[key]) for key in OUTCOMES} == {
        "stored": len(FEW),
        "already_there": 0,
        "conflicts": 0,
        "refused": 0,
    }
    assert archive.take_in(few(), code=0)["already_there"] == len(FEW)
    checked = as_json("check", home)
    assert isinstance(checked, dict)
    assert (checked["blobs"], checked["read_whole"], checked["instances"], checked["problems"]) == (len(FEW), len(FEW), len(FEW), [])
    sampled = as_json("check", home, "--sample", "0")
    assert isinstance(sampled, dict)
    assert (sampled["blobs"], sampled["read_whole"]) == (len(FEW), 0)
    leadglass("check", home, "--sample", "101", code=2)
    assert "key version 2" in leadglass("keys", "rotate", home).stdout
    assert as_json("keys", "check", home) == []
    as_json("check", home)


def _trail(home: Path, tmp_path: Path) -> None:
    entries = as_json("trail", "show", home, "--last", "500")
    assert isinstance(entries, list)
    assert [entry["sequence"] for entry in entries] == list(range(len(entries)))
    verbs = {entry["detail"].get("verb") for entry in entries}
    assert verbs >= {"user-add", "user-disable", "token-create", "peer-add", "peer-renew", "peer-revoke", "policy-apply", "keys-rotate"}
    assert sum(entry["action"] == "store" and entry["kind"] == "outcome" for entry in entries) == 2 * len(FEW)
    last = as_json("trail", "show", home, "--last", "3", "--who", f"local:{os.geteuid()}")
    assert isinstance(last, list)
    assert len(last) == 3
    study = next(entry["studies"][0] for entry in entries if entry["studies"])
    about = as_json("trail", "show", home, "--study", study)
    assert isinstance(about, list)
    assert about
    assert all(study in entry["studies"] for entry in about)
    verified = as_json("trail", "verify", home)
    assert isinstance(verified, dict)
    assert verified["ok"] is True
    leadglass("trail", "export", home, "--out", tmp_path / "export")
    assert "tlog-tiles" in leadglass("trail", "verify", tmp_path / "export", code=2).stderr
    assert len((tmp_path / "export" / "entries.jsonl").read_text().splitlines()) >= len(entries)


def _csr(folder: Path) -> None:
    words: list[str | Path] = [
        "openssl",
        "req",
        "-new",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        folder / "cr1.key",
        "-out",
        folder / "cr1.csr",
    ]
    subprocess.run([*words, "-subj", "/CN=CR1"], check=True, capture_output=True)


def test_the_index_is_rebuilt_from_the_blobs(archive: ArchiveUnderTest) -> None:
    archive.take_in(few())
    archive.take_in([samples.sample("MR_small_RLE.dcm")])
    for name in [*(archive.home / "index").iterdir()]:
        name.unlink()
    assert f"{len(FEW)} instances" in leadglass("index", "rebuild", archive.home).stdout
    assert as_json("check", archive.home)["problems"] == []  # type: ignore[index]
    assert archive.take_in(few())["already_there"] == len(FEW)


# Damage


def _flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))


@pytest.fixture(scope="module")
def filled(new_archive: Callable[[], ArchiveUnderTest]) -> ArchiveUnderTest:
    archive = new_archive()
    archive.take_in(few())
    return archive


SEALED = ("blobs", "keys", "trail", "access")


def _sealed_files(home: Path) -> list[Path]:
    return sorted(path for name in SEALED for path in (home / name).rglob("*") if path.is_file() and path.stat().st_size)


def _finder(damaged: Path, home: Path) -> tuple[str | Path, ...]:
    # Opening an archive derives damaged tiles of the trail anew, and says so in the trail: before that, `trail verify` finds them.
    return ("trail", "verify", home) if home / "trail" in damaged.parents else ("check", home)


def test_check_finds_one_changed_byte_in_any_file(filled: ArchiveUnderTest, tmp_path: Path) -> None:
    home = tmp_path / "home"
    files = _sealed_files(filled.home)
    assert {path.relative_to(filled.home).parts[0] for path in files} == set(SEALED)
    unnoticed = []
    for number, file in enumerate(files):
        shutil.copytree(filled.home, home)
        damaged = home / file.relative_to(filled.home)
        _flip(damaged, (damaged.stat().st_size * (number % 7)) // 7)
        done = leadglass(*_finder(damaged, home), code=None)
        # Without its keys or its people an archive does not even open: that is found too, and said.
        if done.returncode != 1 or not (done.stdout or done.stderr):
            unnoticed.append((str(damaged.relative_to(home)), done.returncode, done.stderr))
        shutil.rmtree(home)
    assert not unnoticed


@pytest.mark.long
@pytest.mark.parametrize("folder", SEALED)
def test_check_finds_one_changed_byte_anywhere(folder: str, filled: ArchiveUnderTest, tmp_path: Path) -> None:
    home = tmp_path / "home"
    unnoticed = []
    for file in _sealed_files(filled.home):
        if file.relative_to(filled.home).parts[0] != folder:
            continue
        size = file.stat().st_size
        for at in sorted({*range(0, size, max(1, size // 24)), size - 1}):
            shutil.copytree(filled.home, home)
            _flip(home / file.relative_to(filled.home), at)
            if leadglass(*_finder(home / file.relative_to(filled.home), home), code=None).returncode != 1:
                unnoticed.append((str(file.relative_to(filled.home)), at))
            shutil.rmtree(home)
    assert not unnoticed


def test_trail_verify_of_home_of_a_copy_and_against_an_older_checkpoint(archive: ArchiveUnderTest, tmp_path: Path) -> None:
    checkpoint, key = tmp_path / "checkpoint", tmp_path / "key"
    checkpoint.write_text(leadglass("trail", "checkpoint", archive.home).stdout)
    key.write_text(next((archive.home / "trail").glob("key")).read_text())
    before, copy = tmp_path / "before", tmp_path / "copy"
    shutil.copytree(archive.home / "trail", before)
    archive.take_in(few())
    shutil.copytree(archive.home / "trail", copy)
    for place in (archive.home, copy):
        leadglass("trail", "verify", place, "--checkpoint", checkpoint, "--key", key)
    with archive.serving():
        leadglass("trail", "verify", archive.home, "--checkpoint", checkpoint, "--key", key)
    newer = tmp_path / "newer"
    newer.write_text(leadglass("trail", "checkpoint", archive.home).stdout)
    # What was there before is whole in itself, and shorter than what somebody kept.
    leadglass("trail", "verify", before)
    assert "problem" in leadglass("trail", "verify", before, "--checkpoint", newer, code=1).stdout
    for file in sorted(path for path in copy.rglob("*") if path.is_file()):
        _flip(file, file.stat().st_size // 2)
        leadglass("trail", "verify", copy, "--key", key, code=1)
        _flip(file, file.stat().st_size // 2)
    (copy / "added").write_bytes(b"x")
    leadglass("trail", "verify", copy, code=1)


# Start


def test_it_starts_within_two_seconds_and_ends_in_0(archive: ArchiveUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    with archive.serving():
        seconds = time.monotonic() - began
        assert archive.process is not None
        clock = os.sysconf("SC_CLK_TCK")
        used = Path(f"/proc/{archive.process.pid}/stat").read_text().rpartition(")")[2].split()
        computed = (int(used[11]) + int(used[12])) / clock
        assert archive.stop() == 0
    with capsys.disabled():
        sys.stdout.write(f"\nserve: ready after {seconds:.2f} s, {computed:.2f} s of them computing\n")
    assert computed < 5


# import


def test_import_of_folders_zips_links_and_nonsense(archive: ArchiveUnderTest, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep" / "deeper").mkdir(parents=True)
    shutil.copy(samples.sample("CT_small.dcm"), folder / "deep" / "deeper" / "a")
    shutil.copy(samples.sample("MR_small.dcm"), folder / "b.dcm")
    (folder / "notes.txt").write_text("not an image")
    (folder / "empty").touch()
    (folder / "outside").symlink_to(samples.sample("rtplan.dcm"))
    (folder / "round").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    with zipfile.ZipFile(folder / "some.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.write(samples.sample("image_dfl.dcm"), "../../etc/passwd")
        made.write(samples.sample("MR_small_RLE.dcm"), "conflict.dcm")
        made.writestr("nested.zip", (b"PK\x03\x04" + bytes(30)))
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("bomb", bytes(64 << 20))
    summary = archive.take_in([folder, folder / "deep"], code=1)
    assert summary["stored"] == 3
    assert summary["already_there"] == 1
    assert [Path(label).name for label in summary["conflicts"]] == ["some.zip!conflict.dcm"]
    refused = {row["file"].removeprefix(str(folder) + "/"): row["why"] for row in summary["refused"]}
    assert set(refused) == {"notes.txt", "empty", "outside", "round", "pipe", "some.zip!nested.zip", "bomb.zip!bomb"}
    assert "link" in refused["outside"]
    assert "bomb" in refused["bomb.zip!bomb"]
    assert all(refused.values())
    assert archive.take_in([samples.sample("CT_small.dcm")], code=0)["already_there"] == 1
    assert archive.take_in([tmp_path / "nowhere"], code=1)["refused"][0]["why"].startswith("cannot be read")
    assert "0 stored, 3 already there, 1 conflicts, 7 refused" in leadglass("import", archive.home, folder, code=1).stdout
