"""What is exported is what C2SP tlog-tiles specifies, read here by the specification alone."""

import base64
import hashlib
import json
import struct
import subprocess
from pathlib import Path

import pytest

from leadglass.errors import WrongUsage
from leadglass.trail.export import export
from tests.trail.trails import create, entry


def mth(hashes: list[bytes]) -> bytes:
    """RFC 6962 2.1 over leaf hashes."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1 << (len(hashes) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + mth(hashes[:k]) + mth(hashes[k:])).digest()


def resource(folder: Path, level: str, index: int, width: int) -> bytes:
    """A tile by the name that the specification gives it (for indexes under 1000)."""
    name = f"tile/{level}/{index:03}" + ("" if width == 256 else f".p/{width}")
    return (folder / name).read_bytes()


def independent_check(folder: Path, size: int) -> list[bytes]:
    """Checkpoint, tiles, bundles, signature; gives the leaves."""
    text, _, signatures = (folder / "checkpoint").read_text().partition("\n\n")
    origin, told, root = text.split("\n")
    name, key_id, key = (folder / "key").read_text().strip().split("+", 2)
    dash, signer, signature = signatures.rstrip("\n").split(" ")
    assert (dash, signer, origin, int(told)) == ("\u2014", name, name, size)
    public = base64.b64decode(key)
    assert public[:1] == b"\1"
    assert hashlib.sha256(name.encode() + b"\n" + public).digest()[:4].hex() == key_id == base64.b64decode(signature)[:4].hex()
    leaves: list[bytes] = []
    for start in range(0, size, 256):
        width = min(256, size - start)
        bundle, offset = resource(folder, "entries", start // 256, width), 0
        while offset < len(bundle):
            (length,) = struct.unpack_from(">H", bundle, offset)
            leaves.append(bundle[offset + 2 : offset + 2 + length])
            offset += 2 + length
    assert len(leaves) == size
    hashes = [hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves]
    assert base64.b64encode(mth(hashes)).decode() == root
    names = {"checkpoint", "key", "entries.jsonl"}
    level, row = 0, hashes
    while row:
        for start in range(0, len(row), 256):
            part = row[start : start + 256]
            assert resource(folder, str(level), start // 256, len(part)) == b"".join(part)
            names.add(f"tile/{level}/{start // 256:03}" + ("" if len(part) == 256 else f".p/{len(part)}"))
            if level == 0:
                names.add(f"tile/entries/{start // 256:03}" + ("" if len(part) == 256 else f".p/{len(part)}"))
        row = [mth(row[start : start + 256]) for start in range(0, len(row) // 256 * 256, 256)]
        level += 1
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == names
    der = bytes.fromhex("302a300506032b6570032100") + public[1:]
    (folder.parent / "public.pem").write_text(f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(der).decode()}\n-----END PUBLIC KEY-----\n")
    (folder.parent / "text").write_text(text + "\n")
    (folder.parent / "signature").write_bytes(base64.b64decode(signature)[4:])
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin", "-in", "text", "-sigfile", "signature"]
    subprocess.run(command, cwd=folder.parent, check=True, capture_output=True)
    return leaves


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 700])
def test_an_export_is_a_tiled_log_by_the_specification(tmp_path: Path, size: int) -> None:
    log = create(tmp_path / "trail")
    for number in range(size):
        log.append(entry(number))
    log.flush()
    assert export(log, tmp_path / "export") == size
    leaves = independent_check(tmp_path / "export", size)
    lines = (tmp_path / "export" / "entries.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert [one["number"] for one in told] == list(range(size))
    assert all(one["principal"] == "peer:CT1" and one["studies"] == [f"1.2.{one['number']}"] for one in told)
    assert [int.from_bytes(leaf[2:10], "big") for leaf in leaves] == [one["time"] for one in told]
    log.close()


@pytest.mark.long
def test_a_log_of_three_levels_is_exported_by_the_specification(tmp_path: Path) -> None:
    log = create(tmp_path / "trail")
    for number in range(66_000):
        log.append(entry(number))
        if number % 4000 == 0:
            log.flush()
    log.flush()
    export(log, tmp_path / "export")
    independent_check(tmp_path / "export", 66_000)
    assert log.verify().problems == ()
    log.close()


def test_an_export_is_for_its_reader_alone_and_overwrites_nothing(tmp_path: Path) -> None:
    log = create(tmp_path / "trail")
    log.flush(log.append(entry()))
    export(log, tmp_path / "export")
    for path in (tmp_path / "export").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(WrongUsage):
        export(log, tmp_path / "export")
    log.close()
