"""What may never happen, 4: a trail is changed and verification says yes."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadglass.errors import ConfigurationError, TrailDamaged
from leadglass.seal.chunked import seal
from leadglass.trail import layout
from leadglass.trail.entries import Entry, Kind, Leaf, seal_context
from leadglass.trail.log import TrailLog
from leadglass.trail.note import Checkpoint, Signer
from leadglass.trail.verify import verify
from tests.trail.trails import ORIGIN, SEAL_KEY, create, entry, grown, reopen, restore, snapshot

ENTRIES = 4


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("verify") / "trail"
    return folder, grown(folder, ENTRIES)


@pytest.fixture
def large(tmp_path: Path) -> tuple[Path, str]:
    """Two full bundles, a growing one, two levels of tiles."""
    return tmp_path / "trail", grown(tmp_path / "trail", 600)


def test_an_untouched_trail_is_in_order(large: tuple[Path, str]) -> None:
    folder, key = large
    report = verify(folder, key=key)
    assert (report.ok, report.size, report.problems) == (True, 600, ())


@pytest.mark.parametrize("change", [0x01, *(pytest.param(change, marks=pytest.mark.long) for change in (0x20, 0x80, 0xFF))])
def test_every_changed_byte_of_every_file_is_found(small: tuple[Path, str], change: int) -> None:
    folder, key = small
    missed = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        step = 40_961 if path.name == layout.RESERVE else 1
        for place in [*range(0, len(whole), step), len(whole) - 1]:
            with path.open("r+b") as file:
                file.seek(place)
                file.write(bytes([whole[place] ^ change]))
                file.flush()
                if verify(folder, key=key).ok:
                    missed.append(f"{path.name}:{place}")
                file.seek(place)
                file.write(whole[place : place + 1])
    assert missed == []
    assert verify(folder, key=key).ok


def test_every_shortened_or_lengthened_file_is_found(small: tuple[Path, str]) -> None:
    folder, key = small
    files = snapshot(folder)
    for name, data in files.items():
        lengths = {0, 1, len(data) // 2, len(data) - 1}
        for changed in [*(data[:length] for length in lengths), data + b"\0", data + b"\n", data + data, data[1:]]:
            (folder / name).write_bytes(changed)
            assert not verify(folder, key=key).ok, name
        (folder / name).unlink()
        assert not verify(folder, key=key).ok, name
        (folder / name).write_bytes(data)
    assert verify(folder, key=key).ok


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_edit_of_a_larger_trail_is_found(large: tuple[Path, str], data: st.DataObject) -> None:
    folder, key = large
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    name = data.draw(st.sampled_from(names))
    whole = (folder / name).read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, min(len(whole), start + 80)))
    changed = whole[:start] + data.draw(st.binary(max_size=80)) + whole[stop:]
    (folder / name).write_bytes(changed)
    try:
        assert verify(folder, key=key).ok == (changed == whole)
    finally:
        (folder / name).write_bytes(whole)


@pytest.mark.parametrize(
    "extra",
    [
        "more",
        "checkpoint.old",
        "checkpoint.new",
        "sealed/003",
        "sealed/x001/000",
        "tile/0/003",
        "tile/2/000",
        "tile/entries/000.p/7",
        "tile/deep/er/file",
    ],
)
def test_a_file_that_does_not_belong_there_is_found(large: tuple[Path, str], extra: str) -> None:
    folder, key = large
    (folder / extra).parent.mkdir(parents=True, exist_ok=True)
    (folder / extra).write_bytes(b"")
    assert any(extra in problem for problem in verify(folder, key=key).problems)


def test_a_pipe_is_found_and_not_waited_for(large: tuple[Path, str]) -> None:
    folder, key = large
    for name in (layout.sealed_path(1), layout.CHECKPOINT, layout.RESERVE, layout.KEY):
        whole = (folder / name).read_bytes()
        (folder / name).unlink()
        os.mkfifo(folder / name)
        assert not verify(folder, key=key).ok
        (folder / name).unlink()
        (folder / name).write_bytes(whole)
    assert verify(folder, key=key).ok


def test_a_folder_or_a_link_that_does_not_belong_there_is_found(large: tuple[Path, str]) -> None:
    folder, key = large
    (folder / "sealed" / "more").mkdir()
    assert not verify(folder, key=key).ok
    (folder / "sealed" / "more").rmdir()
    elsewhere = folder.parent / "elsewhere"
    shutil.move(folder / "sealed", elsewhere)
    (folder / "sealed").symlink_to(elsewhere)
    assert not verify(folder, key=key).ok


def test_two_bundles_that_changed_places_are_found(large: tuple[Path, str]) -> None:
    folder, key = large
    for kind in (layout.sealed_path, layout.entries_path, lambda bundle: layout.tile_path(0, bundle)):
        files = snapshot(folder)
        (folder / kind(0)).write_bytes(files[kind(1)])
        (folder / kind(1)).write_bytes(files[kind(0)])
        assert not verify(folder, key=key).ok
        restore(folder, files)


def test_bundles_that_changed_places_with_all_their_tiles_are_found(large: tuple[Path, str]) -> None:
    folder, key = large
    files = snapshot(folder)
    for kind in (layout.sealed_path, layout.entries_path, lambda bundle: layout.tile_path(0, bundle)):
        (folder / kind(0)).write_bytes(files[kind(1)])
        (folder / kind(1)).write_bytes(files[kind(0)])
    upper = files["tile/1/000"]
    (folder / "tile/1/000").write_bytes(upper[32:64] + upper[:32])
    assert verify(folder, key=key).problems == (
        "the entries are not those that trail/checkpoint signs: something was changed, moved, removed or added",
    )


def test_two_entries_that_changed_places_are_found(large: tuple[Path, str]) -> None:
    folder, key = large
    path = folder / layout.sealed_path(0)
    records = layout.parse_records(path.read_bytes(), 256)
    records[3], records[4] = records[4], records[3]
    path.write_bytes(b"".join(record.encode() for record in records))
    assert not verify(folder, key=key).ok


def test_there_is_no_older_checkpoint_to_cut_back_to(tmp_path: Path) -> None:
    """Whatever lies under trail/ at any time, only one note in it verifies: the one that covers everything."""
    folder = tmp_path / "trail"
    log = create(folder)
    signer = Signer(ORIGIN, bytes(range(100, 132)))
    for number in range(120):
        log.flush(log.append(entry(number)))
        notes = []
        for data in snapshot(folder).values():
            start = data.find(ORIGIN.encode() + b"\n")
            while start >= 0:
                for stop in range(start + 1, min(len(data), start + 600) + 1):
                    if data[stop - 1 : stop] == b"\n":
                        try:
                            notes.append(Checkpoint.parse(data[start:stop], signer.verifier).size)
                        except TrailDamaged:
                            continue
                start = data.find(ORIGIN.encode() + b"\n", start + 1)
        assert notes == [number + 1]
    log.close()


def cut_back(folder: Path, size: int, note: bytes) -> None:
    """What somebody would do who kept an older checkpoint: cut every file to what it covers."""
    source = folder.with_name("source")
    folder.rename(source)
    log = TrailLog.create(folder, SEAL_KEY, bytes(range(100, 132)), ORIGIN)
    log.close()
    records = layout.parse_records((source / layout.sealed_path(0)).read_bytes(), size)
    files = {
        layout.sealed_path(0): b"".join(record.encode() for record in records),
        layout.entries_path(0): (source / layout.entries_path(0)).read_bytes()[: size * layout.ENTRY_SIZE],
        layout.tile_path(0, 0): (source / layout.tile_path(0, 0)).read_bytes()[: size * 32],
        layout.CHECKPOINT: note,
    }
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def test_cutting_back_is_found_by_a_checkpoint_kept_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "trail"
    log = create(folder)
    notes = {}
    for number in range(30):
        log.flush(log.append(entry(number)))
        notes[number + 1] = log.checkpoint()
    log.close()
    key = log.verifier_text
    cut_back(folder, 20, notes[20])
    assert verify(folder, key=key, kept_checkpoint=notes[15]).ok
    report = verify(folder, key=key, kept_checkpoint=notes[30])
    assert any("cut off" in problem for problem in report.problems)


def test_history_rewritten_by_somebody_with_the_keys_is_found_by_an_earlier_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "trail"
    log = create(folder)
    for number in range(300):
        log.append(entry(number))
    log.flush()
    kept = log.checkpoint()
    log.close()
    key = log.verifier_text
    folder.rename(tmp_path / "before")
    forged = create(folder)
    for number in range(400):
        forged.append(entry(number if number != 100 else 101))
    forged.close()
    assert verify(folder, key=key).ok
    report = verify(folder, key=key, kept_checkpoint=kept)
    assert any("history was rewritten" in problem for problem in report.problems)
    assert reopen(folder).verify(kept).problems == report.problems


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 299, 300])
def test_every_earlier_checkpoint_of_the_same_history_agrees(tmp_path: Path, size: int) -> None:
    log = create(tmp_path / "trail")
    for number in range(size):
        log.append(entry(number))
    log.flush()
    kept = log.checkpoint()
    for number in range(size, 300):
        log.append(entry(number))
    log.close()
    assert verify(tmp_path / "trail", key=log.verifier_text, kept_checkpoint=kept).problems == ()


def test_another_trail_signed_with_another_key_is_found(tmp_path: Path) -> None:
    """Somebody without the key makes a whole new trail, with his own key in trail/key."""
    folder = tmp_path / "trail"
    log = create(folder)
    log.append(entry())
    log.close()
    key, kept = log.verifier_text, log.checkpoint()
    folder.rename(tmp_path / "before")
    forged = TrailLog.create(folder, SEAL_KEY, bytes(32), ORIGIN)
    forged.append(entry(1))
    forged.close()
    assert not verify(folder, key=key).ok
    assert not verify(folder, kept_checkpoint=kept).ok
    with pytest.raises(TrailDamaged, match="trail/key"):
        reopen(folder)
    report = verify(folder)
    assert report.ok
    assert any("on trust" in note for note in report.notes)


def test_an_entry_that_was_made_up_is_found(large: tuple[Path, str]) -> None:
    """Everything that follows from the entries is made to fit; only the signature cannot be."""
    folder, key = large
    forged = Entry(5, Kind.INTENT, principal="peer:FORGED")
    sealed = seal(bytes(32), seal_context(ORIGIN, 600), forged.encode())
    record = layout.Record(Leaf.of(forged, sealed).encode(), sealed)
    with (folder / layout.sealed_path(2)).open("ab") as file:
        file.write(record.encode())
    with (folder / layout.entries_path(2)).open("ab") as file:
        file.write(layout.encode_entry(record.leaf))
    assert not verify(folder, key=key).ok


def test_what_is_no_key_is_wrong_usage(small: tuple[Path, str]) -> None:
    with pytest.raises(ConfigurationError):
        verify(small[0], key="not a key")


def test_what_is_no_trail_is_no_crash(tmp_path: Path) -> None:
    assert not verify(tmp_path / "nothing").ok
    (tmp_path / "file").write_bytes(b"")
    assert not verify(tmp_path / "file").ok
    (tmp_path / "empty").mkdir()
    assert not verify(tmp_path / "empty").ok
