"""JSON and query answers from a stranger's archive."""

from leadglass.survey import dicomjson
from leadglass.survey.probes.dimse import identifier
from leadglass.survey.tally import Tally
from leadglass.vocabulary import Level

_ROWS = (
    b'[{"0020000D":{"vr":"UI","Value":["1.2.3"]},"00100010":{"vr":"PN","Value":[{"Alphabetic":"A^B"}]},"00201208":{"vr":"IS","Value":[7]}}]'
)


def target(data: bytes) -> None:
    """Read as a page of a search, as a count, and as a C-FIND identifier."""
    value = dicomjson.parse(data)
    tally = Tally(b"k" * 32)
    rows = dicomjson.rows(value) or []
    dicomjson.tally_rows(rows, tally)
    assert tally.studies <= len(rows)
    for row in rows:
        dicomjson.fields_of(row)
    dicomjson.whole_numbers(value, ("count",))
    assert set(identifier.decode(data)) <= set(identifier.TAGS)


def seeds() -> list[bytes]:
    """A page, a count, and an identifier."""
    return [_ROWS, b'{"count":12}', identifier.encode(Level.STUDY, {"StudyInstanceUID": "1.2.3", "PatientID": ""})]
