"""Keys by name and by study, new versions, forgotten studies, and files that somebody changed."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from leadglass.errors import KeyTableDamaged, KeyUnavailable
from leadglass.seal.keytable import NAMED_KINDS, RECORD_SIZE
from leadglass.seal.rootkey import RecoveryKey, RootKey
from leadglass.vault.keys import Keys
from tests.vault.making import RECOVERY, ROOT


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keys]:
    made = Keys.create(tmp_path / "keys", ROOT, RECOVERY)
    yield made
    made.close()


def named(keys: Keys) -> dict[str, bytes]:
    return {name: keys.named(name) for name in NAMED_KINDS}


def test_named_keys_are_secrets_of_their_own_that_stay(keys: Keys, tmp_path: Path) -> None:
    secrets = named(keys)
    assert set(secrets) == {"index", "journal", "trail-seal", "trail-signing", "access"}
    assert len(set(secrets.values())) == 5
    assert all(len(secret) == 32 for secret in secrets.values())
    assert named(Keys.open(tmp_path / "keys", ROOT)) == secrets


def test_a_study_key_is_on_the_disk_when_it_is_given_out(keys: Keys, tmp_path: Path) -> None:
    made = [keys.new_study_key() for _ in range(3)]
    shutil.copytree(tmp_path / "keys", tmp_path / "copy")
    copy = Keys.open(tmp_path / "copy", ROOT)
    assert [copy.key(key.key_id) for key in made] == [key.secret for key in made]
    assert len({key.secret for key in made} | {key.key_id for key in made}) == 6


def test_an_archive_has_its_own_keys(keys: Keys, tmp_path: Path) -> None:
    other = Keys.create(tmp_path / "other", ROOT, RECOVERY)
    assert other.archive_id != keys.archive_id
    with pytest.raises(KeyTableDamaged):
        other.key(keys.new_study_key().key_id)


def test_keys_are_not_made_over_keys(keys: Keys, tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailable, match="already"):
        Keys.create(tmp_path / "keys", RootKey.generate(), RECOVERY)
    assert named(Keys.open(tmp_path / "keys", ROOT)) == named(keys)


def test_rotation_keeps_every_key_under_a_new_version(keys: Keys, tmp_path: Path) -> None:
    studies = [keys.new_study_key() for _ in range(3)]
    before, secrets = (tmp_path / "keys" / "table").read_bytes(), named(keys)
    assert keys.rotate() == 2
    after = (tmp_path / "keys" / "table").read_bytes()
    assert len(after) == len(before)
    # Not one wrap is the old one.
    assert not {before[at : at + RECORD_SIZE] for at in range(RECORD_SIZE, len(before), RECORD_SIZE)} & {
        after[at : at + RECORD_SIZE] for at in range(RECORD_SIZE, len(after), RECORD_SIZE)
    }
    studies.append(keys.new_study_key())
    for opened in (keys, Keys.open(tmp_path / "keys", ROOT)):
        assert named(opened) == secrets
        assert [opened.key(key.key_id) for key in studies] == [key.secret for key in studies]
        assert opened.version == 2
        assert list(opened.check()) == []


def test_the_old_table_does_not_open_after_a_rotation(keys: Keys, tmp_path: Path) -> None:
    old = (tmp_path / "keys" / "table").read_bytes()
    keys.rotate()
    (tmp_path / "keys" / "table").write_bytes(old)
    with pytest.raises(KeyTableDamaged):
        Keys.open(tmp_path / "keys", ROOT)


def test_a_new_root_and_a_new_recovery_key_take_over(keys: Keys, tmp_path: Path) -> None:
    study = keys.new_study_key()
    root, recovery = RootKey.generate(), RecoveryKey.generate()
    keys.rotate(root, recovery)
    assert Keys.open(tmp_path / "keys", root).key(study.key_id) == study.secret
    with pytest.raises(KeyUnavailable):
        Keys.open(tmp_path / "keys", ROOT)
    with pytest.raises(KeyUnavailable):
        Keys.recover(tmp_path / "keys", RECOVERY, ROOT)
    assert Keys.recover(tmp_path / "keys", recovery, ROOT).key(study.key_id) == study.secret


def test_the_recovery_key_opens_when_the_root_is_lost_also_after_rotations(keys: Keys, tmp_path: Path) -> None:
    study = keys.new_study_key()
    keys.rotate()
    keys.rotate()
    typed = RecoveryKey.from_text(RECOVERY.text())
    root = RootKey.generate()
    assert Keys.recover(tmp_path / "keys", typed, root).key(study.key_id) == study.secret
    assert Keys.open(tmp_path / "keys", root).key(study.key_id) == study.secret


def test_a_destroyed_key_is_gone_from_every_file(keys: Keys, tmp_path: Path) -> None:
    kept, lost = keys.new_study_key(), keys.new_study_key()
    old_table = (tmp_path / "keys" / "table").read_bytes()
    keys.destroy(lost.key_id)
    for opened in (keys, Keys.open(tmp_path / "keys", ROOT)):
        assert opened.key(kept.key_id) == kept.secret
        with pytest.raises(KeyUnavailable, match="forgotten"):
            opened.key(lost.key_id)
        assert list(opened.check()) == []
        assert lost.secret not in {record.secret for record in opened.records()}
    # Nor does a remnant of the old table help, with all that HOME/keys holds now.
    (tmp_path / "keys" / "table").write_bytes(old_table)
    with pytest.raises(KeyTableDamaged):
        Keys.open(tmp_path / "keys", ROOT).key(lost.key_id)


def test_what_is_no_study_key_is_not_destroyed(keys: Keys) -> None:
    index_key = next(keys.records())
    with pytest.raises(KeyTableDamaged):
        keys.destroy(index_key.key_id)
    assert keys.version == 1


def damage_found(folder: Path) -> bool:
    """Whether opening the keys, or checking them, finds anything."""
    try:
        opened = Keys.open(folder, ROOT)
    except (KeyTableDamaged, KeyUnavailable):
        return True
    try:
        return bool(list(opened.check()))
    finally:
        opened.close()


@pytest.mark.parametrize(("name", "step"), [("versions", 1), ("table", 3)])
def test_every_changed_byte_is_found(keys: Keys, tmp_path: Path, name: str, step: int) -> None:
    keys.new_study_key()
    path = tmp_path / "keys" / name
    data = bytearray(path.read_bytes())
    assert not damage_found(tmp_path / "keys")
    for place in range(0, len(data), step):
        data[place] ^= 1
        path.write_bytes(data)
        assert damage_found(tmp_path / "keys"), place
        data[place] ^= 1


def test_records_that_changed_places_are_found(keys: Keys, tmp_path: Path) -> None:
    first, second = keys.new_study_key(), keys.new_study_key()
    path = tmp_path / "keys" / "table"
    data = path.read_bytes()
    head, one, two = data[: -2 * RECORD_SIZE], data[-2 * RECORD_SIZE : -RECORD_SIZE], data[-RECORD_SIZE:]
    path.write_bytes(head + two + one)
    opened = Keys.open(tmp_path / "keys", ROOT)
    for key in (first, second):
        with pytest.raises(KeyTableDamaged):
            opened.key(key.key_id)
    assert len(list(opened.check())) == 2


def test_a_missing_file_is_an_answer_not_a_new_archive(keys: Keys, tmp_path: Path) -> None:
    for name, error in (("table", KeyTableDamaged), ("versions", KeyUnavailable)):
        path = tmp_path / "keys" / name
        data = path.read_bytes()
        path.unlink()
        with pytest.raises(error, match="missing"):
            Keys.open(tmp_path / "keys", ROOT)
        path.write_bytes(data)


def test_check_says_if_the_recovery_key_would_not_open(keys: Keys, tmp_path: Path) -> None:
    """Written with other recovery wraps but a right MAC, as a faulty version of ours might."""
    path = tmp_path / "keys" / "versions"
    good = path.read_bytes()
    assert list(keys.check()) == []
    path.write_bytes(good[:-40] + bytes([good[-40] ^ 1]) + good[-39:])
    assert any("restore" in line for line in keys.check())


def test_keys_beyond_the_memory_of_recent_ones_are_read_again(keys: Keys, tmp_path: Path) -> None:
    made = [keys.new_study_key() for _ in range(20)]
    opened = Keys.open(tmp_path / "keys", ROOT)
    for key in itertools.chain(made, reversed(made)):
        assert opened.key(key.key_id) == key.secret
