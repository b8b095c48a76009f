"""An index that another version of leadglass made is refused with what to do, and doing it gives back every object."""

import hashlib
from pathlib import Path

import apsw
import pytest

from leadglass.errors import Damaged
from leadglass.vault.sql import SCHEMA, SCHEMA_VERSION
from leadglass.vault.vault import Vault
from tests.vault.making import Archive, data_set

OF_VERSION_1 = """
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE studies (id INTEGER PRIMARY KEY, StudyInstanceUID TEXT NOT NULL);
CREATE TABLE aside (blob BLOB PRIMARY KEY, shard INTEGER NOT NULL, kind TEXT NOT NULL, since INTEGER NOT NULL);
INSERT INTO state VALUES ('schema', 1), ('shard', 0), ('committed', 0), ('journal', 0);
"""
OF_NOBODY = "CREATE TABLE notes (line TEXT);"
OF_A_LATER_ONE = "CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL); INSERT INTO state VALUES ('schema', 99);"


def replace_index(archive: Archive, made_by: str) -> None:
    """Put in the place of the index what other SQL makes, under the same key."""
    path = archive.home / "index" / "index.db"
    for part in path.parent.iterdir():
        part.unlink()
    keys = archive.open_keys()
    connection = apsw.Connection(str(path))
    connection.pragma("cipher", "chacha20")
    connection.pragma("hexkey", ("raw:" + keys.named("index").hex()).encode("ascii").hex())
    connection.pragma("page_size", 8192)
    connection.execute(made_by)
    connection.close()
    keys.close()


@pytest.mark.parametrize(
    ("made_by", "why"),
    [
        (OF_VERSION_1, r"the index has the form of another version of leadglass \(1, not 3\)"),
        (OF_A_LATER_ONE, r"the index has the form of another version of leadglass \(99, not 3\)"),
        (OF_NOBODY, "the index is not one of ours"),
    ],
)
def test_another_versions_index_is_refused_and_made_again(tmp_path: Path, made_by: str, why: str) -> None:
    archive = Archive(tmp_path).create()
    for number in (1, 2):
        archive.store(data_set(SOPInstanceUID=f"1.2.3.1.{number}"))
    said = list(archive.vault.index_dump())
    archive.close()
    replace_index(archive, made_by)
    with pytest.raises(Damaged, match=f"{why}; run `leadglass index rebuild HOME`"):
        archive.open()
    keys = archive.open_keys()
    Vault.remake_index(archive.home, keys)
    keys.close()
    archive.open()
    assert list(archive.vault.index_dump()) == said
    assert list(archive.vault.check()) == []
    archive.close()


def test_another_schema_has_another_number() -> None:
    """Who changes the schema, or what is indexed, gives it the next number: an index of before must not be taken for one of now."""
    assert (SCHEMA_VERSION, hashlib.sha256(SCHEMA.encode()).hexdigest()) == (
        3,
        "5531d556e57a1c5a2afd3c535de2722c43017722eecbfaa5575ee3f4a63acd8f",
    )
