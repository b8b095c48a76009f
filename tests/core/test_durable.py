"""Replacing a file: whole, private, and never through somebody else's link."""

import stat
from pathlib import Path

from leadglass.durable import replace_file


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"first, and longer", b"second"):
        replace_file(path, content)
        assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_nothing_is_written_through_a_prepared_link_or_file(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    victim.chmod(0o666)
    for prepare in (Path.symlink_to, Path.hardlink_to):
        prepare(tmp_path / "key.pem.new", victim)
        replace_file(tmp_path / "key.pem", b"secret")
        assert victim.read_bytes() == b"untouched"
        assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
