"""An advisory as a stranger may have written it."""

import json

from leadglass.errors import BadInput
from leadglass.survey.advisories import read_csaf, read_range

_LEAF = {"category": "product_version_range", "name": "vers:intdot/>=3.0|<3.6.7", "product": {"product_id": "P"}}
_ADVISORY = {
    "document": {"category": "csaf_security_advisory", "tracking": {"id": "ICSMA-22-174-01"}},
    "product_tree": {"branches": [{"category": "product_name", "name": "DCMTK", "branches": [_LEAF]}]},
    "vulnerabilities": [{"cve": "CVE-2022-2119", "product_status": {"known_affected": ["P"]}, "scores": [{"cvss_v3": {"baseScore": 7.5}}]}],
}


def target(data: bytes) -> None:
    """Read as a file, and as a range of versions: what comes out has a known shape."""
    read_range(data.decode("latin-1"), exact=False)
    try:
        read = read_csaf(data)
    except BadInput:
        return
    for row in read.rows:
        assert all(each.isascii() and each.isprintable() and not each.startswith(("=", "+", "-", "@")) for each in row.values())


def seeds() -> list[bytes]:
    """A whole advisory, two ranges, nothing of the kind."""
    return [json.dumps(_ADVISORY).encode(), b"vers:semver/>=1.0.0|<3.0.4", b"<= 12.2.x.x", b"[]"]
