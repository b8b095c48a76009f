"""A hospital's PKI, made by openssl: CAs above CAs, and certificates of devices with whatever in them a test wants."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.certificates import Identity

CLIENT, SERVER = "clientAuth", "serverAuth"


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def der(certificate: Path) -> bytes:
    """The first certificate of a PEM file."""
    return subprocess.run(["openssl", "x509", "-in", certificate, "-outform", "DER"], capture_output=True, check=True).stdout


@dataclass
class OutsideAuthority:
    """A CA in a folder; `above` are its issuers, the nearest first."""

    folder: Path
    subject: str = "/O=Hospital/CN=Hospital Root"
    above: tuple["OutsideAuthority", ...] = ()
    path_length: int | None = None
    extensions: str = ""
    curve: str = "P-256"
    _count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        length = "" if self.path_length is None else f",pathlen:{self.path_length}"
        usage = f"basicConstraints=critical,CA:TRUE{length}\nkeyUsage=critical,keyCertSign,cRLSign\n"
        self._make("ca", self.subject, self.above[0] if self.above else None, usage + self.extensions)

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.cert.pem"

    @property
    def pem(self) -> str:
        return self.certificate.read_text()

    @property
    def chain(self) -> str:
        """Its certificate and those above it, but for the root's."""
        return "".join(each.pem for each in (self, *self.above) if each.above)

    def under(self, name: str, **more: object) -> "OutsideAuthority":
        """A CA that this one issues."""
        return OutsideAuthority(self.folder / name, f"/O=Hospital/CN={name}", (self, *self.above), **more)  # type: ignore[arg-type]

    def device(
        self,
        subject: str = "/O=Hospital/CN=ct1.hospital.example",
        *,
        usage: str | None = CLIENT,
        names: str = "",
        more: str = "",
        days: int = 30,
    ) -> Identity:
        """A device's key and certificate, in a file with its chain, as TLS libraries send it; `names`: its subjectAltName."""
        self._count += 1
        name = f"device{self._count}"
        lines = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
        lines += f"extendedKeyUsage={usage}\n" if usage else ""
        lines += f"subjectAltName={names}\n" if names else ""
        certificate = self._make(name, subject, self, more or lines, days=days)
        whole = self.folder / f"{name}.chain.pem"
        whole.write_text(certificate.read_text() + self.chain)
        return Identity(whole, self.folder / f"{name}.key.pem", self.certificate)

    def _make(self, name: str, subject: str, issuer: "OutsideAuthority | None", extensions: str, days: int = 30) -> Path:
        key, request, certificate, config = (self.folder / f"{name}.{end}" for end in ("key.pem", "csr", "cert.pem", "cnf"))
        config.write_text(f"{extensions}\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
        # dcmtk 3.6.7 cannot use ECDSA with TLS 1.2: devices have RSA.
        kind: list[str] = ["-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{self.curve}"] if name == "ca" else ["-algorithm", "RSA"]
        _openssl("genpkey", *kind, "-out", key)
        _openssl("req", "-new", "-utf8", "-key", key, "-subj", subject, "-out", request)
        signer: list[str | Path] = (
            ["-signkey", key] if issuer is None else ["-CA", issuer.certificate, "-CAkey", issuer.folder / "ca.key.pem", "-CAcreateserial"]
        )
        _openssl("x509", "-req", "-in", request, *signer, "-days", str(days), "-extfile", config, "-out", certificate)
        return certificate
