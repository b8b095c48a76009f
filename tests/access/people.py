"""An archive's access half for the tests: a real registry, a real trail, a gate over both, and a clock that can be set."""

import base64
import datetime
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from leadglass.access.factors import hotp, step_at
from leadglass.access.gate import Gate
from leadglass.access.grant import AdministerGrant
from leadglass.access.identity import BearerToken, LocalUser, PasswordAndCode, PeerCertificate, Principal
from leadglass.access.peers import Peer, Pin
from leadglass.access.policy import DEFAULT_POLICY, parse_policy
from leadglass.access.registry import Registry
from leadglass.access.secret import Secret
from leadglass.trail.entries import Entry
from leadglass.trail.log import TrailLog
from leadglass.vocabulary import Action, Door, Outcome, Role

KEY = bytes(range(32))
ARCHIVE = b"archive-of-tests"
PASSWORD = Secret("correct horse battery")
HOME_ADDRESS = "127.0.0.1"

T = TypeVar("T")


@dataclass
class Clock:
    now: int = 1_780_000_000_000_000_000

    def __call__(self) -> int:
        return self.now

    def advance(self, *, seconds: float = 0, days: float = 0) -> None:
        self.now += int((seconds + days * 86400) * 1e9)


def certificate(clock: Clock, *, days: int = 30, name: str = "peer") -> bytes:
    """A certificate (DER) for a new key, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.fromtimestamp(clock() // 10**9, datetime.UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=days))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@dataclass
class House:
    """Everything of access/ in one folder."""

    folder: Path
    policy: str = DEFAULT_POLICY
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.trail = TrailLog.create(self.folder / "trail", KEY, KEY, "leadglass/test", self.clock)
        self.registry = Registry.create(self.folder / "access", KEY, ARCHIVE, self.clock)
        self.gate = Gate(parse_policy(self.policy), self.registry, self.trail, self.clock)
        # Rights to administer, also under a policy that gives nobody any.
        self._keeper = Gate(parse_policy(DEFAULT_POLICY), self.registry, self.trail, self.clock)
        self.me = self.gate.identify(Door.CONTROL, LocalUser(os.geteuid()))

    def administer(self, change: Callable[[AdministerGrant], T]) -> T:
        with self._keeper.admit_administer(self.me, Door.CONTROL, "") as grant:
            result = change(grant)
            grant.settle(Outcome.DONE)
        return result

    def user(self, name: str, *roles: Role) -> None:
        self.administer(lambda grant: self.registry.accounts.add(grant, name, roles, PASSWORD))

    def token(self, user: str, *may: Action, days: int = 30) -> tuple[str, Secret]:
        token, text = self.administer(lambda grant: self.registry.tokens.create(grant, user, frozenset(may), days))
        return token.id, text

    def bearer(self, user: str, *may: Action) -> Principal:
        return self.gate.identify(Door.DICOMWEB, BearerToken(self.token(user, *may)[1].reveal()))

    def factor(self, name: str) -> tuple[str, list[str]]:
        """A second factor: its secret and its recovery codes."""
        secret, codes = self.administer(lambda grant: self.registry.accounts.set_factor(grant, name))
        return secret, [code.reveal() for code in codes]

    def code(self, secret: str, steps: int = 0) -> str:
        """What an authenticator shows now, or so many steps later."""
        return hotp(base64.b32decode(secret), step_at(self.clock()) + steps)

    def sign_in(self, name: str, code: str, password: Secret = PASSWORD, address: str = HOME_ADDRESS) -> tuple[Principal, str]:
        """Sign in at the pages; the principal and what the browser is to show."""
        principal, cookie = self.gate.sign_in(Door.PAGES, PasswordAndCode(name, password, Secret(code)), address)
        return principal, cookie.reveal()

    def cookie(self, name: str) -> str:
        """A session of somebody who has no second factor yet."""
        return self.sign_in(name, self.code(self.factor(name)[0]))[1]

    def peer(self, ae_title: str, *may: Action, networks: tuple[str, ...] = ("127.0.0.0/8",), unsafe_plaintext: bool = False) -> bytes:
        """A peer with a key of its own; gives its certificate."""
        shown = certificate(self.clock)
        peer = Peer(ae_title, networks, frozenset(may), (Pin.of(shown),), unsafe_plaintext=unsafe_plaintext)
        self.administer(lambda grant: self.registry.peers.add(grant, peer))
        return shown

    def call(self, shown: bytes, ae_title: str, address: str = HOME_ADDRESS) -> Principal:
        return self.gate.identify(Door.DIMSE, PeerCertificate(shown, ae_title, address))

    def entries(self, start: int = 0) -> list[Entry]:
        self.trail.flush()
        return [one for _, one in self.trail.read(start)]
