"""Scope files and target lists: text that a person wrote, or somebody sent him."""

import contextlib

from leadglass.errors import ConfigurationError
from leadglass.survey.scope import parse_scope, parse_targets

_SCOPE = b"""
[authority]
owner = "Hospital"
authorised_by = "CISO"
contact = "security@example.org"
valid_until = 2027-03-31
[limits]
level = "count"
opt_out = ["10.0.0.9/32"]
[control]
key = "0123456789abcdef"
[[target]]
name = "North"
host = "10.0.0.0/28"
dimse_ports = [104, 2762]
web_ports = [443]
"""
_TARGETS = b"name,host,dimse_ports,web_ports,country,site\nNorth,10.0.0.1,104;11112,443,FR,Lille\n"


def target(data: bytes) -> None:
    """Read as either kind of file."""
    for read in (parse_scope, lambda raw: list(parse_targets(raw))):
        with contextlib.suppress(ConfigurationError):
            read(data)


def seeds() -> list[bytes]:
    """A whole scope, a whole list, and an unknown key."""
    return [_SCOPE, _TARGETS, _SCOPE.replace(b"level", b"levle")]
