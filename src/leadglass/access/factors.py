"""The second factor: time-based one-time passwords (RFC 6238), and recovery codes for whoever has lost what makes them.

HMAC-SHA-1, 30 seconds and six digits are what every authenticator does, whatever an otpauth URI says. A code is good in its own step and
the two beside it, for clocks that differ, and once (RFC 6238 5.2). A recovery code has 100 random bits, so that its plain hash is kept.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field, replace
from typing import Final

from leadglass.access.clock import NANOSECONDS
from leadglass.access.secret import Secret

STEP_SECONDS: Final = 30
DIGITS: Final = 6
BESIDE: Final = 1
"""Steps before and after now whose code is taken (RFC 6238 5.2 recommends one)."""
RECOVERY_CODES: Final = 10
_SECRET_BYTES: Final = 20
"""RFC 4226 4, R6 asks for 160 bits."""
_READABLE: Final = "abcdefghijkmnpqrstuvwxyz23456789"
_GROUPS, _GROUP = 4, 5


def readable(groups: int, group: int) -> Secret:
    """Random letters and digits that can be read out and typed, five bits each, in groups parted by dashes."""
    return Secret("-".join("".join(secrets.choice(_READABLE) for _ in range(group)) for _ in range(groups)))


def hotp(secret: bytes, counter: int, digits: int = DIGITS) -> str:
    """The one-time password of RFC 4226 5.3.

    >>> hotp(b"12345678901234567890", 0), hotp(b"12345678901234567890", 9)
    ('755224', '520489')
    """
    mac = hmac.digest(secret, counter.to_bytes(8, "big"), "sha1")
    start = mac[-1] & 0xF
    number = int.from_bytes(mac[start : start + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**digits:0{digits}d}"


def step_at(now: int) -> int:
    """The time step of a moment in nanoseconds since 1970 (RFC 6238 4.2)."""
    return now // (STEP_SECONDS * NANOSECONDS)


def otpauth(issuer: str, name: str, secret: str) -> str:
    """The URI that authenticators read, mostly from a QR code.

    >>> otpauth("leadglass LEADGLASS", "anna", "GEZDGNBV")
    'otpauth://totp/leadglass%20LEADGLASS:anna?secret=GEZDGNBV&issuer=leadglass%20LEADGLASS&algorithm=SHA1&digits=6&period=30'
    """
    who = _quoted(issuer)
    return f"otpauth://totp/{who}:{_quoted(name)}?secret={secret}&issuer={who}&algorithm=SHA1&digits={DIGITS}&period={STEP_SECONDS}"


def _quoted(text: str) -> str:
    """`text` with all but the unreserved characters of RFC 3986 2.3 percent-encoded."""
    return "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-._~") else _escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    return "".join(f"%{byte:02X}" for byte in sign.encode())


@dataclass(frozen=True, slots=True)
class Factor:
    """One person's second factor: the shared secret (base32), SHA-256 in hex of each unused recovery code, the last step that was used."""

    secret: str = field(repr=False)
    recovery: tuple[str, ...] = field(repr=False)
    last_step: int = -1

    def use(self, shown: Secret, now: int) -> "Used | None":
        """What is left of it when this code is used up; None if it is no code of his that is still good."""
        code = b"".join(shown.reveal_bytes().lower().replace(b"-", b" ").split())
        key, found = base64.b32decode(self.secret), None
        for step in range(step_at(now) - BESIDE, step_at(now) + BESIDE + 1):
            if hmac.compare_digest(hotp(key, step).encode(), code) and step > self.last_step:
                found = Used(replace(self, last_step=step), "totp")
        hashed = hashlib.sha256(code).hexdigest()
        for known in self.recovery:
            if hmac.compare_digest(known, hashed):
                found = Used(replace(self, recovery=tuple(each for each in self.recovery if each != known)), "recovery-code")
        return found


@dataclass(frozen=True, slots=True)
class Used:
    """A factor after a code of it was used up, and what sort of code that was."""

    factor: Factor
    how: str


def new_factor() -> tuple[Factor, tuple[Secret, ...]]:
    """A factor with a new secret, and its recovery codes, which are kept as hashes only."""
    codes = tuple(readable(_GROUPS, _GROUP) for _ in range(RECOVERY_CODES))
    hashed = tuple(hashlib.sha256(code.reveal_bytes().replace(b"-", b"")).hexdigest() for code in codes)
    return Factor(base64.b32encode(secrets.token_bytes(_SECRET_BYTES)).decode(), hashed), codes
