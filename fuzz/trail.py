"""Bytes that somebody left under trail/: bundles, notes, keys, entries."""

from leadglass.errors import ConfigurationError, TrailDamaged
from leadglass.trail.entries import Entry, Kind, Leaf
from leadglass.trail.layout import Record, parse_records, record_at
from leadglass.trail.note import Checkpoint, Signer, Verifier

_SIGNER = Signer("leadglass/fuzz", bytes(32))


def target(data: bytes) -> None:
    """What is taken is spelt exactly as we spell it; everything else is damage."""
    try:
        if Entry.decode(data).encode() != data:
            raise AssertionError("an entry reads in two spellings")
    except TrailDamaged:
        pass
    try:
        checkpoint = Checkpoint.parse(data, _SIGNER.verifier)
        if _SIGNER.sign(checkpoint.text) != data:
            raise AssertionError("a checkpoint reads in two spellings")
    except TrailDamaged:
        pass
    try:
        if Verifier.parse(data.decode("latin-1")).text != data.decode("latin-1").strip():
            raise AssertionError("a key reads in two spellings")
    except ConfigurationError:
        pass
    records: list[Record] = []
    while (record := record_at(data, sum(one.size for one in records))) is not None and len(records) < 256:
        records.append(record)
    encoded = b"".join(record.encode() for record in records)
    if not data.startswith(encoded) or parse_records(data, len(records)) != records:
        raise AssertionError("records do not read as they are written")


def seeds() -> list[bytes]:
    """One of each, well-formed."""
    entry = Entry(1, Kind.DENIED, principal="peer:CT1", studies=("1.2",), count=3, refers_to=0, detail={"level": "STUDY"})
    record = Record(Leaf.of(entry, b"sealed").encode(), b"sealed").encode()
    return [entry.encode(), _SIGNER.sign(Checkpoint("leadglass/fuzz", 12, bytes(32)).text), _SIGNER.verifier.text.encode(), record * 3]
