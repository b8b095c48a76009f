"""What an administrator does with peers, tokens and keys, through the command line."""

import json
from pathlib import Path
from shutil import copytree, rmtree

import pytest

from tests.archives import ArchiveUnderTest, leadglass
from tests.samples import sample


@pytest.fixture(name="archive")
def founded(tmp_path: Path) -> ArchiveUnderTest:
    return ArchiveUnderTest.found(tmp_path)


def peers_of(archive: ArchiveUnderTest) -> dict[str, str]:
    return {row["ae_title"]: row["state"] for row in json.loads(leadglass("peer", "list", archive.home, "--json").stdout)}


def test_a_revoked_peer_comes_back_with_a_new_key(archive: ArchiveUnderTest, tmp_path: Path) -> None:
    old = archive.peer("CT1").certificate.read_bytes()
    leadglass("peer", "revoke", archive.home, "CT1")
    refused = leadglass("peer", "renew", archive.home, "CT1", "--issue", tmp_path / "again", code=2)
    assert "add it again" in refused.stderr
    leadglass("peer", "add", archive.home, "CT1", "--address", "127.0.0.1/32", "--may", "store", "--issue", tmp_path / "again")
    assert peers_of(archive) == {"CT1": "active"}
    assert (tmp_path / "again" / "CT1.cert.pem").read_bytes() != old


def test_no_peer_is_added_whose_key_could_not_be_handed_over(archive: ArchiveUnderTest, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "below", Path("/proc/nowhere")):
        refused = leadglass("peer", "add", archive.home, "CT1", "--address", "127.0.0.1/32", "--may", "store", "--issue", place, code=2)
        assert str(place) in refused.stderr
    assert peers_of(archive) == {}


def test_one_token_is_ended_and_the_other_goes_on(archive: ArchiveUnderTest) -> None:
    archive.token("anna")
    archive.token("anna")
    first, second = (row["id"] for row in json.loads(leadglass("token", "list", archive.home, "--json").stdout))
    leadglass("token", "revoke", archive.home, first)
    states = {row["id"]: row["state"] for row in json.loads(leadglass("token", "list", archive.home, "--json").stdout)}
    assert states == {first: "revoked", second: "active"}
    assert "token list" in leadglass("token", "revoke", archive.home, "nobody", code=2).stderr


@pytest.mark.parametrize("index", ["index", "no index"])
def test_a_recovery_is_in_the_trail_and_the_new_root_opens(tmp_path: Path, index: str) -> None:
    home, lost = tmp_path / "home", tmp_path / "lost.key"
    made = leadglass("init", home, "--root-key", lost)
    recovery = next(line.strip() for line in made.stdout.splitlines() if line.strip().count("-") == 13)
    (tmp_path / "recovery").write_text(recovery + "\n")
    lost.unlink()
    assert "keys recover" in leadglass("trail", "show", home, code=1).stderr
    if index == "no index":
        rmtree(home / "index")
    leadglass("keys", "recover", home, "--root-key", tmp_path / "new.key", "--recovery-key-file", tmp_path / "recovery")
    verbs = [entry["detail"].get("verb") for entry in json.loads(leadglass("trail", "show", home, "--json").stdout)]
    assert "keys-recover" in verbs
    leadglass("check", home)


def test_a_wrong_recovery_key_changes_nothing(archive: ArchiveUnderTest, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("-".join(["ABCD"] * 14) + "\n")
    leadglass("keys", "recover", archive.home, "--root-key", tmp_path / "new.key", "--recovery-key-file", tmp_path / "wrong", code=1)
    assert not (tmp_path / "new.key").exists()
    leadglass("check", archive.home)


@pytest.mark.parametrize("option", ["--certificate", "--csr"])
def test_a_file_that_is_no_text_is_wrong_usage(archive: ArchiveUnderTest, tmp_path: Path, option: str) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "binary", tmp_path):
        leadglass("peer", "add", archive.home, "CT1", "--address", "127.0.0.1/32", "--may", "store", option, path, code=2)


def test_what_is_piped_is_whole(archive: ArchiveUnderTest) -> None:
    shown = leadglass("trail", "show", archive.home).stdout
    assert "…" not in shown
    assert "uid:0" in shown or "uid:" in shown
    assert "administer" in shown


def test_older_blobs_put_back_are_found_by_check(archive: ArchiveUnderTest, tmp_path: Path) -> None:
    """Somebody restores blobs, index and keys of an earlier day beside the trail of today."""
    copied = ("blobs", "index", "keys")
    for name in copied:
        copytree(archive.home / name, tmp_path / "earlier" / name)
    archive.take_in([sample("CT_small.dcm")], code=0)
    for name in copied:
        rmtree(archive.home / name)
        copytree(tmp_path / "earlier" / name, archive.home / name)
    found = leadglass("check", archive.home, code=1).stdout
    assert "older blobs were put back" in found


def test_a_file_name_cannot_steer_the_terminal(archive: ArchiveUnderTest, tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "IM\x1b[2J\x1b]0;owned\x07").write_bytes(b"no object")
    told = leadglass("import", archive.home, tmp_path / "media", code=1)
    assert "\x1b" not in told.stdout + told.stderr
    assert "IM\\x1b[2J" in told.stdout
