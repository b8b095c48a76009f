"""One suite for every BlobStore; then what only files can do wrong."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from leadglass.errors import Damaged, NoRoom
from leadglass.vault.blobs import SHARD_SIZE, BlobPlace, BlobStore, MemoryBlobs
from leadglass.vault.folder import FolderBlobs

MakeStore = Callable[[Path], BlobStore]


def in_files(folder: Path, reserve: int = 0, *, shard_size: int = SHARD_SIZE) -> FolderBlobs:
    """A store whose blobs are all files of their own, as large ones are."""
    return FolderBlobs.at(folder, reserve, shard_size=shard_size, packed=0)


@pytest.fixture(params=[FolderBlobs.at, in_files, lambda _: MemoryBlobs()], ids=["packs", "files", "memory"])
def make(request: pytest.FixtureRequest) -> MakeStore:
    chosen: MakeStore = request.param
    return chosen


@pytest.fixture
def store(make: MakeStore, tmp_path: Path) -> BlobStore:
    return make(tmp_path / "blobs")


def keep(store: BlobStore, *pieces: bytes) -> BlobPlace:
    writer = store.create()
    for piece in pieces:
        writer.write(piece)
    place = writer.put()
    writer.make_durable()
    return place


def content(store: BlobStore, place: BlobPlace) -> bytes:
    blob = store.open(place)
    try:
        return blob.pread(blob.size, 0)
    finally:
        blob.close()


def test_what_is_written_is_read(store: BlobStore) -> None:
    place = keep(store, b"one ", b"two")
    blob = store.open(place)
    assert blob.size == 7
    assert [blob.pread(3, 0), blob.pread(100, 4), blob.pread(1, 7)] == [b"one", b"two", b""]
    blob.close()
    blob.close()


def test_a_blob_is_not_there_before_it_is_committed(store: BlobStore) -> None:
    writer = store.create()
    writer.write(b"half")
    assert store.places_in(0) == []
    unfinished = writer.reread()
    assert unfinished.pread(10, 1) == b"alf"
    unfinished.close()
    place = writer.put()
    writer.abandon()  # harmless afterwards
    assert store.places_in(0) == [place]
    assert content(store, place) == b"half"


def test_an_abandoned_blob_never_was(store: BlobStore) -> None:
    writer = store.create()
    writer.write(b"gone")
    writer.abandon()
    writer.abandon()
    assert store.places_in(0) == []
    assert store.sweep() == 0


def test_ids_are_opaque_and_do_not_repeat(store: BlobStore) -> None:
    places = [keep(store, b"same") for _ in range(50)]
    assert len({place.blob_id for place in places}) == 50
    assert {len(place.blob_id) for place in places} == {16}
    assert store.places_in(0) == sorted(places)


def test_a_missing_blob_is_damage(store: BlobStore) -> None:
    place = keep(store, b"x")
    store.remove(place)
    with pytest.raises(Damaged, match="missing"):
        store.open(place)
    assert store.places_in(0) == []
    store.remove(place)


def test_many_writers_at_once(store: BlobStore) -> None:
    places: dict[bytes, BlobPlace] = {}

    def write_some(name: int) -> None:
        for number in range(20):
            data = b"%d %d" % (name, number)
            places[data] = keep(store, data)

    threads = [threading.Thread(target=write_some, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(places) == 80
    assert all(content(store, place) == data for data, place in places.items())
    assert store.places_in(0) == sorted(places.values())


@pytest.mark.parametrize("kind", ["packs", "files", "memory"])
def test_shards_fill_one_after_the_other(tmp_path: Path, kind: str) -> None:
    store: BlobStore = (
        (FolderBlobs.at if kind == "packs" else in_files)(tmp_path / "blobs", shard_size=4)
        if kind != "memory"
        else MemoryBlobs(shard_size=4)
    )
    places = [keep(store, b"%d" % number) for number in range(10)]
    assert [place.shard for place in places] == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert store.shard == 2
    assert [place for shard in range(4) for place in store.places_in(shard)] == [
        place for shard in range(3) for place in sorted(place for place in places if place.shard == shard)
    ]
    assert [content(store, place) for place in places] == [b"%d" % number for number in range(10)]


def test_a_store_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    first = [keep(FolderBlobs.at(folder, shard_size=4), b"%d" % number) for number in range(6)]
    assert [place.shard for place in first] == [0, 0, 0, 0, 1, 1]
    again = FolderBlobs.at(folder, shard_size=4)
    assert [keep(again, b"x").shard for _ in range(3)] == [1, 1, 2]
    assert content(again, first[0]) == b"0"


def test_files_and_folders_are_private(tmp_path: Path) -> None:
    store = FolderBlobs.at(tmp_path / "blobs")
    keep(store, b"x")
    for path in (tmp_path / "blobs").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


def test_what_an_unclean_stop_leaves_is_swept(tmp_path: Path) -> None:
    store = in_files(tmp_path / "blobs")
    store.create().write(b"half")
    (tmp_path / "blobs" / "incoming" / "folder").mkdir()
    (tmp_path / "blobs" / "incoming" / "folder" / "file").touch()
    again = FolderBlobs.at(tmp_path / "blobs")
    assert again.sweep() == 2
    assert again.sweep() == 0


def test_strangers_are_named_without_their_names(tmp_path: Path) -> None:
    store = FolderBlobs.at(tmp_path / "blobs")
    place = keep(store, b"x")
    assert list(store.strangers()) == []
    shard = tmp_path / "blobs" / "000" / "000"
    (shard / "DOE^JANE.dcm").touch()
    (shard / ("0" * 32)).symlink_to(shard / place.blob_id.hex())
    (tmp_path / "blobs" / "000" / "notes").touch()
    (tmp_path / "blobs" / "DOE").mkdir()
    found = list(store.strangers())
    assert len(found) == 4
    assert "DOE" not in "".join(found)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    store = FolderBlobs.at(tmp_path / "blobs")
    secret = tmp_path / "secret"
    secret.write_text("x")
    place = BlobPlace(0, bytes(16))
    (tmp_path / "blobs" / "000" / "000" / ("0" * 32)).symlink_to(secret)
    with pytest.raises(Damaged, match="cannot be opened"):
        store.open(place)


def test_the_reserve_is_kept_before_anything_is_written(tmp_path: Path) -> None:
    store = FolderBlobs.at(tmp_path / "blobs", 1 << 60)
    with pytest.raises(NoRoom, match="reserve"):
        store.create()
    assert list((tmp_path / "blobs" / "incoming").iterdir()) == []


FAILING = """
import sys
from pathlib import Path
from leadglass.errors import StorageFailed
from leadglass.vault.folder import FolderBlobs

store = FolderBlobs.at(Path(sys.argv[1]), packed=int(sys.argv[2]))
for _ in range(3):
    place = None
    try:
        writer = store.create()
        writer.write(b"data")
        place = writer.put()
        writer.make_durable()
        print("kept")
    except StorageFailed:
        print("refused")
        if place is not None:
            store.remove(place)
print(len(store.places_in(0)), len(list(store.incoming.iterdir())))
"""


@pytest.mark.parametrize(
    ("packed", "call", "answers"),
    [
        # One file's sync fails: that object is refused, the next one has a new file.
        (0, "fdatasync", ["refused", "kept", "kept", "2 0"]),
        # The folder's sync fails: nobody knows which names are on the disk, nothing more is taken.
        (0, "fsync", ["refused", "refused", "refused", "0 0"]),
        # A pack's sync fails: nothing more is taken. The two syncs before it are of the pack's header and of its opening.
        (1000, "fdatasync", ["refused", "refused", "refused"]),
    ],
)
def test_a_failed_sync_is_never_acknowledged(tmp_path: Path, packed: int, call: str, answers: list[str]) -> None:
    FolderBlobs.at(tmp_path / "blobs")
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={3 if packed else 1}"]
    command = ["strace", "-qq", "-o", str(tmp_path / "trace"), *inject, sys.executable, "-c", FAILING, str(tmp_path / "blobs"), str(packed)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.splitlines()[: len(answers)] == answers


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    store = FolderBlobs.at(tmp_path / "blobs")
    place = keep(store, b"x")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        keep(store, b"x")
        content(store, place)
        writer = store.create()
        writer.write(b"x")
        writer.abandon()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
