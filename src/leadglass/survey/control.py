"""Proof of control over a public host: what its operator publishes, and where; pure rules (`proving.py` asks for it).

The published value names the furthest level that is consented to and the day until which, and ends in a code under the scope's
`control.key` over both and over the authority: whoever publishes it consents to this survey, by this surveyor, and to no other.

It has to be where only who controls the *address* can put it, since a name can be pointed at anybody's: in the reverse zone of the
address, under the name that its PTR record gives it, or in a file that the web server of the address gives to who asks for the address.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import dns.reversename

from leadglass.survey.addresses import IpAddress, Surroundings, System
from leadglass.survey.scope import ExposureLimit, Scope

LABEL = "_leadglass-survey"
"""The name of the TXT record, before the name of the host (underscored as RFC 8552 wants)."""

WELL_KNOWN = "/.well-known/leadglass-survey"
"""The path of the file (RFC 8615)."""

_VERSION = "leadglass-survey-v1"
_PROVABLE = (ExposureLimit.COUNT, ExposureLimit.RETRIEVE)


class ProofBy(StrEnum):
    """Where a proof was found."""

    REVERSE_ZONE = "dns-reverse-zone"
    PTR_NAME = "dns-ptr-name"
    HTTPS_FILE = "https-file"
    HTTP_FILE = "http-file"


@dataclass(frozen=True, slots=True)
class ProvenControl:
    """A host whose operator published his consent."""

    name: str
    host: str
    level: ExposureLimit
    by: ProofBy


def values(scope: Scope) -> Mapping[str, ExposureLimit]:
    """What may be published, and how far each consents to go; empty where the scope has no key."""
    return {_value(scope, level): level for level in _PROVABLE} if scope.control is not None else {}


def _value(scope: Scope, level: ExposureLimit) -> str:
    authority = scope.authority
    until = authority.valid_until.isoformat()
    consented = [_VERSION, str(level), until, authority.owner, authority.authorised_by, authority.contact]
    key = scope.control.key.get_secret_value() if scope.control is not None else ""
    code = hmac.digest(key.encode(), json.dumps(consented).encode(), hashlib.sha256)
    return f"{_VERSION}:{level}:{until}:{base64.urlsafe_b64encode(code).decode().rstrip('=')}"


def proven(published: Iterable[bytes], expected: Mapping[str, ExposureLimit]) -> ExposureLimit | None:
    """The furthest level that something of what was `published` consents to; None where nothing does."""
    found = [level for text in published for value, level in expected.items() if hmac.compare_digest(text.strip(), value.encode())]
    return max(found, key=lambda level: level.rank, default=None)


def reverse_name(address: IpAddress) -> str:
    """The name of `address` in the zone of whoever holds it (RFC 1035 3.5, RFC 3596 2.5).

    >>> from ipaddress import ip_address
    >>> reverse_name(ip_address("198.18.7.9"))
    '9.7.18.198.in-addr.arpa.'
    """
    return str(dns.reversename.from_address(str(address)))


def file_ports(system: System, surroundings: Surroundings) -> Sequence[tuple[int, bool]]:
    """The ports of `system` where a file can prove control, TLS first, and whether each speaks TLS; the scope must name them."""
    secure = [(port, True) for port in system.target.web_ports if port in surroundings.https_ports]
    return secure + [(port, False) for port in system.target.web_ports if port in surroundings.http_ports]


def places(system: System, surroundings: Surroundings) -> Sequence[str]:
    """Where a proof for `system` is looked for, in words."""
    found: list[str] = []
    if surroundings.name_server is not None:
        found = [f"DNS TXT at {LABEL}.{reverse_name(system.address)}", f"DNS TXT at {LABEL}.NAME for the NAME in the address's PTR record"]
    bracketed = f"[{system.address}]" if system.address.version == 6 else str(system.address)
    for port, secure in file_ports(system, surroundings):
        usual = port == (443 if secure else 80)
        found.append(f"{'https' if secure else 'http'}://{bracketed}{'' if usual else f':{port}'}{WELL_KNOWN}")
    return found


def plan(scope: Scope, systems: Sequence[System], surroundings: Surroundings) -> Sequence[str]:
    """For a dry run: what is to be published where, and what would be asked of whom."""
    waiting = [system for system in systems if system.beyond is not None]
    if not waiting:
        return ()
    if scope.control is None:
        count = len({system.address for system in waiting})
        lack = f"{count} public addresses would be surveyed at {waiting[0].level} alone, without proof of control over each"
        key = f'[control] key = "{secrets.token_urlsafe(24)}"'
        return (f"{lack}; for more, add {key} to the scope (random, made just now; keep it to yourself), and run --dry-run again",)
    texts = {level: value for value, level in values(scope).items() if level.reaches(scope.limits.level)}
    lines = [f"to prove control over a host, its operator publishes, at one of the places below: {texts[scope.limits.level]}"]
    for system in waiting:
        asked = " or ".join(places(system, surroundings)) or "nowhere: no name server is set, and the scope names neither port 443 nor 80"
        lines.append(f"{system.address}: proof of control would be looked for: {asked}")
    lines = list(dict.fromkeys(lines))
    if surroundings.name_server is not None:
        lines.append(f"name server {surroundings.name_server[0]}: would be asked for these TXT and PTR records")
    return lines


def unproven(scope: Scope, system: System, level: ExposureLimit, tried: Sequence[str]) -> str:
    """Why `system` is surveyed at `level` and no further, and what to do."""
    alone = f"surveyed at {level} alone:"
    if level is not system.level:
        return f"{alone} what its operator published consents to no more"
    if scope.control is None:
        return f"{alone} beyond it a public address needs proof of control over the host ([control] key), or limits.unsafe_mandate"
    where = "; ".join(tried) or "no name server is set, and the scope names neither port 443 nor 80 of it"
    return f"{alone} no proof of control over the host was found ({where}); --dry-run says what to publish"
