"""Packs: small blobs in one file, what a power cut leaves of the last of them, and what is damage and not that."""

import errno
import itertools
import os
import shutil
import struct
import subprocess
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.dicom.predicate import EVERY_STUDY
from leadglass.dicom.query import Selection
from leadglass.dicom.uid import Uid
from leadglass.durable import write_all_at
from leadglass.errors import Damaged, NoRoom
from leadglass.vault import packs
from leadglass.vault.blobs import BlobPlace
from leadglass.vault.check import ProblemKind
from leadglass.vault.folder import FolderBlobs
from leadglass.vault.keys import Keys
from leadglass.vault.room import Room
from leadglass.vault.vault import Vault
from tests.vault.making import ROOT, Archive, data_set
from tests.vault.test_blobs import content, keep


def pack_of(folder: Path) -> Path:
    return folder / "000" / "000" / "pack"


def numbered(number: int) -> bytes:
    return data_set(SOPInstanceUID=f"1.2.3.1.{number}", InstanceNumber=str(number))


def problems(archive: Archive) -> set[ProblemKind]:
    return {problem.kind for problem in archive.vault.check()}


def test_small_blobs_share_one_file_and_large_ones_do_not(tmp_path: Path) -> None:
    store = FolderBlobs.at(tmp_path, packed=1000)
    small, other, large = keep(store, b"s" * 100), keep(store, b"t" * 100, b"u" * 100), keep(store, b"l" * 500, b"l" * 600)
    assert sorted(path.name for path in pack_of(tmp_path).parent.iterdir()) == sorted([large.blob_id.hex(), "pack"])
    assert [content(store, place) for place in (small, other, large)] == [b"s" * 100, b"t" * 100 + b"u" * 100, b"l" * 1100]
    assert sorted(store.places_in(0)) == sorted([small, other, large])
    store.close()
    assert pack_of(tmp_path).stat().st_size == 64 + 2 * packs.HEAD_SIZE + 300


def test_many_at_once_share_a_pack(tmp_path: Path) -> None:
    store = FolderBlobs.at(tmp_path)
    places: list[BlobPlace] = []
    threads = [threading.Thread(target=lambda: places.append(keep(store, os.urandom(3000)))) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(places) == store.places_in(0)
    store.close()
    descriptor = os.open(pack_of(tmp_path), os.O_RDONLY)
    assert packs.is_in_order(descriptor)
    os.close(descriptor)


def test_a_place_in_a_pack_is_its_own_blobs_alone(tmp_path: Path) -> None:
    store = FolderBlobs.at(tmp_path)
    one, two = keep(store, b"one"), keep(store, b"two")
    for wrong in (BlobPlace(one.where, two.blob_id), BlobPlace(one.where + 1, one.blob_id), BlobPlace(two.where + 100, two.blob_id)):
        with pytest.raises(Damaged, match="missing"):
            store.open(wrong)


def test_a_pack_that_is_full_is_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "MOST", 1000)
    store = FolderBlobs.at(tmp_path)
    assert [keep(store, bytes(400)).shard for _ in range(5)] == [0, 0, 0, 1, 1]


def test_what_a_full_disk_cut_short_leaves_nothing_in_the_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is found again, not behind what comes later either."""
    store = FolderBlobs.at(tmp_path)
    kept = keep(store, b"kept")
    pack = packs.Pack(pack_of(tmp_path))

    def write_until_full(descriptor: int, data: bytes, offset: int) -> None:
        if len(data) > 500:
            write_all_at(descriptor, data[:200], offset)
            raise OSError(errno.ENOSPC, "full")
        write_all_at(descriptor, data, offset)

    monkeypatch.setattr(packs, "write_all_at", write_until_full)
    with pytest.raises(OSError, match="full"):
        pack.append(b"r" * 16, [bytes(500)], 500, spare=1 << 30)
    assert not pack.is_broken
    at = pack.append(b"l" * 16, [b"la", b"ter"], 5, spare=0)
    pack.close()
    assert store.places_in(0) == sorted([kept, BlobPlace.of(0, b"l" * 16, at)])
    assert list(store.strangers()) == []
    store.close()


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "full")


def test_a_pack_that_could_not_be_begun_is_begun_when_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderBlobs.at(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(packs, "write_all_at", no_room)
        with pytest.raises(NoRoom):
            keep(store, b"refused")
    place = keep(store, b"kept")
    assert content(store, place) == b"kept"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def free(disk: Path) -> int:
    state = os.statvfs(disk)
    return state.f_bavail * state.f_frsize


def test_room_taken_ahead_never_eats_into_the_reserve(small_disk: Path) -> None:
    """Neither is any left over that could not be used: what is refused does not fit above the reserve."""
    reserve, size = 5 << 20, 300_000
    store = FolderBlobs.at(small_disk / "blobs", reserve)
    kept = [keep(store, bytes(size))]
    assert pack_of(small_disk / "blobs").stat().st_size > packs.AHEAD
    with suppress(NoRoom):
        for _ in range(100):
            kept.append(keep(store, bytes(size)))
            assert free(small_disk) >= reserve - 4096
    assert free(small_disk) < reserve + size + 4096
    assert len(kept) >= (11 << 20) // size - 1
    store.close()
    assert FolderBlobs.at(small_disk / "blobs").places_in(0) == sorted(kept)


def test_below_the_reserve_room_that_was_taken_ahead_is_not_used(small_disk: Path) -> None:
    """Neither by pieces that fit each, nor by what fitted when it was begun: what is refused can be foreseen from the free room alone."""
    moments = itertools.count()
    store = FolderBlobs(small_disk / "blobs", Room(small_disk, 3 << 20, clock=lambda: next(moments)))
    kept = keep(store, bytes(1000))
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(free(small_disk) - (3 << 20) - 400_000))
    writer = store.create()
    for _ in range(3):
        writer.write(bytes(100_000))
    with pytest.raises(NoRoom, match="reserve"):
        writer.write(bytes(200_000))
    one, other = store.create(), store.create()
    for writer in (one, other):
        writer.write(bytes(300_000))
    ballast.write_bytes(bytes(ballast.stat().st_size + 300_000))
    with pytest.raises(NoRoom, match="reserve"):
        one.put()
    ballast.write_bytes(bytes(ballast.stat().st_size - 300_000))
    later = other.put()
    assert store.places_in(0) == sorted([kept, later])
    ballast.unlink()
    keep(store, *[bytes(100_000)] * 5)
    assert len(store.places_in(0)) == 3


@settings(max_examples=60, deadline=None)
@given(blobs=st.lists(st.binary(min_size=0, max_size=200), min_size=1, max_size=8), data=st.data())
def test_whatever_is_left_of_a_pack_the_whole_records_are_found(
    tmp_path_factory: pytest.TempPathFactory, blobs: list[bytes], data: st.DataObject
) -> None:
    """Cut anywhere, with anything behind the cut: what was whole before it is there, and what is added later is, too."""
    folder = tmp_path_factory.mktemp("pack")
    store = FolderBlobs.at(folder)
    places = [keep(store, blob) for blob in blobs]
    store.close()
    whole = pack_of(folder).read_bytes()
    cut = data.draw(st.integers(64, len(whole)))
    pack_of(folder).write_bytes(whole[:cut] + data.draw(st.binary(max_size=100)))
    kept = [place for place, blob in zip(places, blobs, strict=True) if place.at + len(blob) <= cut]
    again = FolderBlobs.at(folder)
    assert set(kept) <= set(again.places_in(0))
    assert list(again.strangers()) == []
    later = keep(again, b"later")
    assert content(again, later) == b"later"
    assert [content(again, place) for place in kept] == blobs[: len(kept)]
    again.close()


def test_every_changed_byte_of_a_pack_is_found(tmp_path: Path) -> None:
    archive = Archive(tmp_path).create()
    for number in range(3):
        archive.store(numbered(number))
    archive.close()
    archive.open()
    path = pack_of(tmp_path / "blobs")
    data = bytearray(path.read_bytes())
    for place in range(0, len(data), 3):
        data[place] ^= 1
        path.write_bytes(data)
        assert problems(archive), place
        data[place] ^= 1
    path.write_bytes(data)
    assert problems(archive) == set()
    archive.close()


def test_what_a_power_cut_left_half_written_is_made_void_and_nothing_else(tmp_path: Path) -> None:
    """The last record's end never reached the disk, and the index does not know it: it was never acknowledged."""
    archive = Archive(tmp_path).create()
    archive.store(numbered(1))
    archive.close()
    index = (tmp_path / "index" / "index.db").read_bytes()
    archive.open().store(numbered(2))
    archive.close()
    (tmp_path / "index" / "index.db").write_bytes(index)
    path = pack_of(tmp_path / "blobs")
    data = path.read_bytes()
    path.write_bytes(data[:-50] + bytes(50))
    archive.open()
    assert problems(archive) == set()
    assert archive.vault.counts().blobs == 1
    archive.store(numbered(3))
    assert archive.vault.counts().blobs == 2
    archive.close()


def test_damage_before_the_last_flush_is_never_taken_for_a_power_cut(tmp_path: Path) -> None:
    """Even where the index does not know the blob either: a later record says that it was durable."""
    archive = Archive(tmp_path).create()
    index = (tmp_path / "index" / "index.db").read_bytes()
    archive.store(numbered(1))
    archive.store(numbered(2))
    archive.close()
    for name in (tmp_path / "index").iterdir():
        name.unlink()
    (tmp_path / "index" / "index.db").write_bytes(index)
    path = pack_of(tmp_path / "blobs")
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)
    archive.open()
    assert ProblemKind.BLOB_DAMAGED in problems(archive)
    assert path.read_bytes()[: len(data)] == bytes(data)
    archive.close()


def test_a_removed_blob_does_not_come_back(tmp_path: Path) -> None:
    store = FolderBlobs.at(tmp_path)
    place, other = keep(store, b"one"), keep(store, b"two")
    store.remove(place)
    store.close()
    again = FolderBlobs.at(tmp_path)
    assert again.places_in(0) == [other]
    assert list(again.strangers()) == []


def test_a_link_in_the_place_of_a_pack_is_not_followed(tmp_path: Path) -> None:
    store = FolderBlobs.at(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(packs.HEADER)
    pack_of(tmp_path).symlink_to(elsewhere)
    with pytest.raises(Damaged, match="cannot be opened"):
        store.open(BlobPlace.of(0, bytes(16), 104))
    assert len(list(store.strangers())) == 1 + 1


@pytest.mark.parametrize("left", [b"", bytes(64), packs.HEADER[:20], packs.HEADER[:20] + bytes(44)])
def test_a_pack_whose_beginning_a_power_cut_took_is_begun_again(tmp_path: Path, left: bytes) -> None:
    FolderBlobs.at(tmp_path).close()
    pack_of(tmp_path).write_bytes(left)
    store = FolderBlobs.at(tmp_path)
    assert list(store.strangers()) == []
    place = keep(store, b"kept")
    store.close()
    again = FolderBlobs.at(tmp_path)
    assert (again.places_in(0), list(again.strangers())) == ([place], [])
    again.close()


def test_a_pack_that_begins_otherwise_stays_as_it_is(tmp_path: Path) -> None:
    """That is no power cut: it is named, and nothing in it is written over."""
    FolderBlobs.at(tmp_path).close()
    pack_of(tmp_path).write_bytes(b"leadglass pack v9\n".ljust(64, b"\0"))
    store = FolderBlobs.at(tmp_path)
    assert len(list(store.strangers())) == 1
    assert keep(store, b"kept").shard == 1
    store.close()
    assert pack_of(tmp_path).read_bytes().startswith(b"leadglass pack v9\n")


def test_a_pack_with_a_gap_takes_nothing_more(tmp_path: Path) -> None:
    """A power cut may take the first of two records and leave the second: a later one would say that the gap was durable."""
    store = FolderBlobs.at(tmp_path)
    first, second = keep(store, b"1" * 300), keep(store, b"2" * 300)
    store.close()
    with pack_of(tmp_path).open("r+b") as file:
        file.seek(first.at - packs.HEAD_SIZE)
        file.write(bytes(second.at - first.at))
    pack = packs.Pack(pack_of(tmp_path))
    assert pack.is_full
    pack.close()


# The form on the disk


PACKED_HOME = Path(__file__).parents[1] / "vectors" / "vault" / "packs-v1"
RECORDS = [
    (b"LGBLOB1\n", 616, "ee3273eb5dd83039803daed38a377159", 64),
    (b"LGBLOB1\n", 716, "29f769624e389dbd876ef19b194b7742", 720),
    (b"LGBLOB1\n", 582, "972c1790cb10460bafa8e9515049d953", 1476),
    (b"LGVOID1\n", 18, "000102030405060708090a0b0c0d0e0f", 2098),
    (b"LGBLOB1\n", 816, "e82cfc034b1270f6ccb34b17f022f74e", 2156),
]
"""Marker, length, blob id, and up to where the pack was durable."""


def test_the_kept_pack_is_as_the_documents_say() -> None:
    """Read here by docs/formats.md, without a line of ours."""
    whole = pack_of(PACKED_HOME / "blobs").read_bytes()
    assert whole[:64] == b"leadglass pack v1\n" + bytes(46)
    at, found = 64, []
    while at < len(whole):
        marker, checksum, length, blob_id, durable = struct.unpack_from(">8sII16sQ", whole, at)
        assert checksum == zlib.crc32(whole[at + 12 : at + 40])
        found.append((marker, length, blob_id.hex(), durable))
        at += 40 + length
    assert (at, found) == (len(whole), RECORDS)


def test_a_pack_of_version_1_opens_for_ever(tmp_path: Path) -> None:
    """Kept: keys, journal and a pack of three objects, one put aside, and one never acknowledged; their index is made again."""
    home = Path(shutil.copytree(PACKED_HOME, tmp_path / "home"))
    keys = Keys.open(home / "keys", ROOT)
    assert Vault.remake_index(home, keys) == 4
    keys.close()
    archive = Archive(home).open()
    assert list(archive.vault.check()) == []
    assert [(each.blob_id.hex(), each.first_blob_id.hex()) for each in archive.vault.conflicts()] == [(RECORDS[2][2], RECORDS[0][2])]
    for number in (1, 2, 3):
        (row,) = archive.vault.instances(Selection(instances=(Uid(f"1.2.3.1.{number}"),)), EVERY_STUDY)
        with archive.vault.open_object(row) as stored:
            assert stored.reader.read() == data_set(bytes(100 * number), SOPInstanceUID=f"1.2.3.1.{number}", InstanceNumber=str(number))
    # And it goes on growing.
    before = pack_of(home / "blobs").read_bytes()
    archive.store(numbered(4))
    archive.close()
    assert pack_of(home / "blobs").read_bytes().startswith(before)
