"""What makes a peer: a certificate of ours or handed in, whose key is pinned, or an outside CA with a rule about the subject."""

import time
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from leadglass.access.authority import Authority
from leadglass.access.grant import AdministerGrant
from leadglass.access.holds import Hold
from leadglass.access.peers import Peer, Pin
from leadglass.access.vouchers import Voucher, utc
from leadglass.archive.holding import hold_row, standing
from leadglass.archive.rows import Row, time_text
from leadglass.errors import WrongUsage
from leadglass.vocabulary import Action


@dataclass(frozen=True)
class NewPeer:
    """A peer to be added; exactly one of `certificate`, `csr`, `ca` with `subject` (PEM, and a rule) and `issue`, or `unsafe_plaintext`."""

    ae_title: str
    addresses: list[str]
    may: list[Action]
    host: str | None = None
    port: int | None = None
    certificate: str | None = None
    csr: str | None = None
    issue: bool = False
    unsafe_plaintext: bool = False
    ca: str | None = None
    subject: str | None = None
    needs_user: bool = False

    @property
    def proof(self) -> "NewProof":
        return NewProof(self.certificate, self.csr, self.ca, self.subject, issue=self.issue)


@dataclass(frozen=True)
class NewProof:
    """How a peer is to be known: exactly one of `certificate`, `csr`, `ca` with `subject`, and `issue`."""

    certificate: str | None = None
    csr: str | None = None
    ca: str | None = None
    subject: str | None = None
    issue: bool = False

    def require_one(self) -> None:
        """Raise `WrongUsage` unless it is exactly one."""
        ways = (self.certificate is not None, self.csr is not None, self.ca is not None, self.issue)
        if sum(ways) != 1 or (self.ca is None) != (self.subject is None):
            raise WrongUsage("a peer needs exactly one of --certificate FILE, --csr FILE, --ca FILE with --subject RULE, --issue DIR")


def certify(grant: AdministerGrant, authority: Authority, ae_title: str, new: NewProof) -> tuple[Row, Pin | Voucher]:
    """What the peer is to be known by, and with it what was issued (PEM): certificate, authority, and the key where we made it."""
    new.require_one()
    if new.certificate is not None:
        try:
            der = x509.load_pem_x509_certificate(new.certificate.encode()).public_bytes(Encoding.DER)
        except ValueError:
            raise WrongUsage("the certificate is not PEM; `openssl x509 -in FILE -out FILE.pem` makes it so") from None
        authority.trust(grant, new.certificate.encode())
        return {}, Pin.of(der)
    if new.ca is not None:
        voucher = Voucher.read(new.ca, new.subject or "", utc(time.time_ns()))
        if authority.pin in voucher.keys:
            raise WrongUsage("the file given with --ca is the archive's own CA: --issue or --csr makes a certificate of it")
        return {}, voucher
    issued = authority.issue_peer(grant, ae_title) if new.csr is None else authority.sign_request(grant, ae_title, new.csr.encode())
    row: Row = {"certificate": issued.certificate_pem.decode(), "authority": issued.ca_pem.decode()}
    if issued.key_pem is not None:
        row["key"] = issued.key_pem.reveal()
    return row, Pin.of(issued.certificate_der)


def peer_row(peer: Peer, hold: Hold | None, last_seen: str | None) -> Row:
    """A peer as it is listed."""
    keys = [f"key {pin.sha256[:16]}" for pin in peer.pins]
    rules = [f"{voucher.subject} by {voucher.authority_name}" for voucher in peer.vouchers]
    return {
        "ae_title": peer.ae_title,
        "may": sorted(peer.may),
        "addresses": list(peer.networks),
        "destination": f"{peer.host}:{peer.port}" if peer.host else None,
        "proof": keys + rules,
        "needs_user": peer.needs_user,
        "expires": time_text(peer.ends) if peer.ends else None,
        "state": standing("revoked" if peer.revoked else "unsafe plaintext" if peer.unsafe_plaintext else "active", hold),
        "last_seen": last_seen,
        **hold_row(hold),
    }
