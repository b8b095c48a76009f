"""What an import finds, and what it refuses to open."""

import io
import os
import struct
import zipfile
from pathlib import Path

import pytest

from leadglass.errors import BadArchiveFile
from leadglass.wire.files import sources
from leadglass.wire.files.sources import Candidate, Unusable


def zipped(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def read_all(paths: list[Path]) -> dict[str, bytes]:
    """The content of each candidate, read while its source is open, as an import does."""
    found = {}
    for source in sources.find(paths):
        assert isinstance(source, Candidate), source
        with source.open() as file:
            found[source.label] = file.read()
    return found


def whys(paths: list[Path]) -> list[str]:
    return [source.why for source in sources.find(paths) if isinstance(source, Unusable)]


def test_files_folders_and_zips_are_all_walked(tmp_path: Path) -> None:
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "a").write_bytes(b"first")
    (tmp_path / "folder" / "deep" / "b").write_bytes(b"second")
    archive = zipped(tmp_path / "folder" / "c.zip", {"x/d": b"third", "e": b"fourth"})
    assert read_all([tmp_path / "folder"]) == {
        str(tmp_path / "folder" / "a"): b"first",
        f"{archive}!x/d": b"third",
        f"{archive}!e": b"fourth",
        str(tmp_path / "folder" / "deep" / "b"): b"second",
    }


def test_a_zip_is_known_by_its_content_not_by_its_name(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "IM0001", {"a": b"content"})
    assert read_all([archive]) == {f"{archive}!a": b"content"}


def test_links_are_not_followed_unless_named(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "link").symlink_to(tmp_path / "secret")
    assert whys([tmp_path / "media"]) == ["a link: not followed; name its target to import it"]
    assert read_all([tmp_path / "media" / "link"]) == {str(tmp_path / "media" / "link"): b"secret"}


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "l.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert whys([tmp_path / "l.zip"]) == ["a link: not followed"]


def test_an_entry_named_like_a_path_outside_creates_nothing(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "t.zip", {"../../../../tmp/leadglass-escaped": b"content"})
    before = set(tmp_path.rglob("*"))
    assert list(read_all([archive]).values()) == [b"content"]
    assert set(tmp_path.rglob("*")) == before


def test_a_pipe_does_not_stop_an_import(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert whys([tmp_path]) == ["not a regular file"]


def test_a_file_that_cannot_be_read_is_listed(tmp_path: Path) -> None:
    assert whys([tmp_path / "missing"]) == ["cannot be read: No such file or directory"]


def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "bomb.zip", {"zeros": bytes(64 * 1024 * 1024)})
    assert ["taken for a zip bomb" in why for why in whys([archive])] == [True]


def test_a_black_image_is_no_bomb(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "black.zip", {"black": bytes(8 * 1024 * 1024)})
    assert len(read_all([archive])[f"{archive}!black"]) == 8 * 1024 * 1024


def test_an_entry_larger_than_it_says_is_cut_off(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "lie.zip", {"a": bytes(1_000_000)})
    raw = archive.read_bytes().replace(struct.pack("<I", 1_000_000), struct.pack("<I", 1_000))
    archive.write_bytes(raw)
    candidate = next(generator := sources.find([archive]))
    assert isinstance(candidate, Candidate)
    with pytest.raises(BadArchiveFile, match="damaged"), candidate.open() as file:
        file.read()
    generator.close()


def test_overlapping_entries_are_refused(tmp_path: Path) -> None:
    """The construction of a non-recursive bomb: many directory entries that share the same compressed bytes."""
    archive = zipped(tmp_path / "overlap.zip", {"a": os.urandom(50_000), "b": os.urandom(10)}, zipfile.ZIP_STORED)
    raw = bytearray(archive.read_bytes())
    second = raw.rindex(b"PK\x01\x02")
    raw[second + 42 : second + 46] = struct.pack("<I", 100)  # the second entry's header offset: inside the first
    archive.write_bytes(raw)
    assert "its bytes overlap another entry's: a zip bomb" in whys([archive])


def test_a_zip_inside_a_zip_is_not_opened(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("x", b"x")
    outer = zipped(tmp_path / "outer.zip", {"inner.zip": inner.getvalue()})
    candidate = next(generator := sources.find([outer]))
    assert isinstance(candidate, Candidate)
    with pytest.raises(BadArchiveFile, match="zip inside a zip"):
        candidate.open()
    generator.close()


@pytest.mark.parametrize("cut", [5, 40, 200])
def test_a_broken_zip_is_listed(tmp_path: Path, cut: int) -> None:
    archive = zipped(tmp_path / "cut.zip", {"a": os.urandom(1000)})
    archive.write_bytes(archive.read_bytes()[:cut])
    assert ["a broken zip" in why for why in whys([archive])] == [True]


def test_a_damaged_entry_says_so(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "damaged.zip", {"a": os.urandom(100_000)})
    raw = bytearray(archive.read_bytes())
    raw[50_000] ^= 0xFF
    archive.write_bytes(raw)
    candidate = next(generator := sources.find([archive]))
    assert isinstance(candidate, Candidate)
    with pytest.raises(BadArchiveFile, match="damaged"), candidate.open() as file:
        file.read()
    generator.close()


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "e.zip", {"a": b"content"})
    raw = bytearray(archive.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(raw)
    assert whys([archive]) == ["encrypted: unpack it first"]
