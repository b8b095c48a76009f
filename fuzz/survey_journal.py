"""The journal of a survey: as a file that somebody changed, and with codes made anew for what he changed."""

import tempfile
from ipaddress import ip_address
from pathlib import Path

from leadglass.errors import ConfigurationError
from leadglass.survey import journal
from leadglass.survey.addresses import RefusedTarget, System
from leadglass.survey.folder import Folder
from leadglass.survey.observations import Dimse, Ending, ExposureLevel, Field, Protocol, RecordCounts, Transport, Web, Write
from leadglass.survey.results import METHOD, to_json
from leadglass.survey.scope import ExposureLimit, parse_scope
from leadglass.survey.shard import WHOLE
from tests.survey.relinking import relinked

MUTATIONS = 150
_SCOPE = parse_scope(b"""
[authority]
owner = "Hospital"
authorised_by = "CISO"
contact = "security@example.org"
valid_until = 2027-03-31
[[target]]
name = "North"
host = "10.0.0.0/30"
dimse_ports = [104]
[[target]]
name = "South"
host = "pacs.example.org"
dimse_ports = [104]
web_ports = [443]
""")
_DOORS = (
    Dimse(104, Protocol.DIMSE, ExposureLevel.CLOSED, Write.NOT_TRIED, None, Ending.REFUSED),
    Dimse(
        *(104, Protocol.DIMSE, ExposureLevel.RECORDS, Write.OFFERED, Transport.PLAIN, Ending.DONE),
        records=RecordCounts(1, 2, 3, exact=True),
        fields=(Field.PATIENT_NAME,),
        fingerprint=0,
        toolkit_version=(3, 6, 7),
    ),
    Web(443, Protocol.WEB, ExposureLevel.OPEN_PORT, Transport.TLS, Ending.DONE),
)


def target(data: bytes) -> None:
    """Go on with it, or refuse it with a sentence; nothing is gone on with whose codes are not those of its lines."""
    with tempfile.TemporaryDirectory() as name:
        for content in (data, relinked(data)):
            (Path(name) / journal.NAME).write_bytes(content)
            try:
                so_far = journal.load(Folder(Path(name)))
            except ConfigurationError:
                continue
            whole = content[: content.rfind(b"\n") + 1]
            if relinked(whole) != whole:
                raise AssertionError(content)
            to_json(so_far.results())


def seeds() -> list[bytes]:
    """A begun survey, one that has asked each kind of system, and one that was cut off."""
    with tempfile.TemporaryDirectory() as name, Folder(Path(name)).appending(journal.NAME, anew=True) as lines:
        begun = journal.Begin(journal.FORMAT, METHOD, "0a1b2c", "2026-11-02T10:00:00+00:00", str(WHOLE), "0" * 32, _SCOPE)
        so_far = journal.SoFar(begun)
        written = journal.Journal(lines, so_far.chain)
        written.begin(begun)
        written.plan(journal.Plan(3, 3, (RefusedTarget("a", "b", "c"),), _SCOPE.authority, _SCOPE.limits.opt_out))
        path = Path(name) / journal.NAME
        first = path.read_bytes()
        north, south = _SCOPE.target
        for place, address in enumerate(("10.0.0.1", "10.0.0.2")):
            system = System(north, ip_address(address), ExposureLimit.QUERY, from_range=True)
            written.take((0, 0, 0), system, _DOORS[place : place + 1], 0.5)
        system = System(south, ip_address("10.0.0.9"), ExposureLimit.QUERY, from_range=False)
        written.take((1, 0, 0), system, RefusedTarget("South", "10.0.0.9", "our own fault"), 0.625)
        written.take((1, 0, 0), system, _DOORS[1:], 0.75)
        return [first, path.read_bytes(), path.read_bytes()[:-40]]
