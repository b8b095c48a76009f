"""What is wrong, how badly, and the setting that closes it: the one table of severities and remedies.

A port that rejects strangers is no finding; an association is not exposure, but a caller who is let in unknown is a (low) finding.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from leadglass.survey import products
from leadglass.survey.observations import (
    Certificate,
    Dimse,
    ExposureLevel,
    KeyKind,
    Observation,
    Protocol,
    Tls,
    Transport,
    VersionNumber,
    Web,
    WebApi,
    Write,
)

EXPIRES_SOON_DAYS = 14
SHORTEST_RSA = 2048
"""BCP 195 (RFC 9325 4.5)."""
SHORTEST_EC = 224


class Severity(StrEnum):
    """Least first."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to change; `ports` say where."""

    id: str
    severity: Severity
    title: str
    remedy: str
    ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Software:
    """What the system runs, as far as it shows."""

    name: str = ""
    toolkit: str = ""
    version: VersionNumber | None = None
    toolkit_version: VersionNumber | None = None
    confidence: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on one door, and what to say where it holds."""

    id: str
    severity: Severity
    title: str
    remedy: str
    holds: Callable[[Observation], bool]
    by_product: Mapping[str, str]
    """The exact setting of a product, where it is known."""


def _is_dimse(check: Callable[[Dimse], bool]) -> Callable[[Observation], bool]:
    return lambda seen: isinstance(seen, Dimse) and check(seen)


def _is_web(check: Callable[[Web], bool]) -> Callable[[Observation], bool]:
    return lambda seen: isinstance(seen, Web) and check(seen)


def _has_tls(check: Callable[[Tls], bool]) -> Callable[[Observation], bool]:
    return lambda seen: seen.tls is not None and check(seen.tls)


def _has_certificate(check: Callable[[Certificate], bool]) -> Callable[[Observation], bool]:
    return _has_tls(lambda tls: tls.certificate is not None and check(tls.certificate))


def _key_is_short(certificate: Certificate) -> bool:
    shortest = {KeyKind.RSA: SHORTEST_RSA, KeyKind.EC: SHORTEST_EC}.get(certificate.key, 0)
    return certificate.key_bits < shortest or certificate.sha1_signature


_ORTHANC_QUERY = (
    'In orthanc.json: "DicomAlwaysAllowFind": false, "DicomAlwaysAllowGet": false, "DicomAlwaysAllowMove": false; list the stations under '
    '"DicomModalities" with their rights, "DicomCheckModalityHost": true, "DicomCheckCalledAet": true.'
)
_ORTHANC_WEB = (
    'In orthanc.json: "AuthenticationEnabled": true with "RegisteredUsers", or "RemoteAccessAllowed": false behind a proxy that signs '
    'people in; "SslEnabled": true.'
)
_ORTHANC_STORE = (
    'In orthanc.json: "DicomAlwaysAllowStore": false; list the modalities under "DicomModalities" with "AllowStore": true, and '
    '"DicomCheckModalityHost": true.'
)
_ORTHANC_ASSOCIATION = 'In orthanc.json: "DicomCheckCalledAet": true, "DicomCheckModalityHost": true, "DicomAlwaysAllowEcho": false.'
_ORTHANC_TLS = (
    'In orthanc.json: "DicomTlsEnabled": true with "DicomTlsCertificate", "DicomTlsPrivateKey", "DicomTlsTrustedCertificates" and '
    '"DicomTlsRemoteCertificateRequired": true.'
)
_DCM4CHEE_QUERY = (
    "In the archive's device configuration: list the stations under Accepted Calling AE Title (dcmAcceptedCallingAETitle) of every "
    "network AE, and use the secured build (-D secure=all) for its web services."
)
_DCM4CHEE_SUITES = (
    "Set dicomTLSCipherSuite to TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 and TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 on every connection."
)
_DCMTK_QUERY = (
    "If it is dcmqrscp: in dcmqrscp.cfg replace ANY in the lines of the AETable by the peers of the HostTable, which have a title and an "
    "address; keep other hosts off its port."
)
_DCMTK_TLS = "Start it with +tls KEY CERTIFICATE and --require-peer-cert where its version has them; else put stunnel in front of it."

_WALL = (
    "Let no network reach this port but that of the stations which need it (firewall, VPN); then admit only known peers: client "
    "certificates over TLS (PS3.15 B.12), else called and calling AE titles with addresses. "
)

RULES: Sequence[Rule] = (
    Rule(
        "images-open",
        Severity.CRITICAL,
        "Anyone can fetch images and the patients' data in them",
        _WALL + "Treat it as a data breach until the archive's logs show otherwise (GDPR Art. 33: 72 hours).",
        lambda seen: seen.level is ExposureLevel.IMAGES,
        {"Orthanc": _ORTHANC_QUERY + " " + _ORTHANC_WEB, "dcm4chee-arc": _DCM4CHEE_QUERY, "DCMTK": _DCMTK_QUERY},
    ),
    Rule(
        "records-open",
        Severity.CRITICAL,
        "Anyone can search the patients' records",
        _WALL + "Treat it as a data breach until the archive's logs show otherwise (GDPR Art. 33: 72 hours).",
        lambda seen: seen.level is ExposureLevel.RECORDS,
        {"Orthanc": _ORTHANC_QUERY + " " + _ORTHANC_WEB, "dcm4chee-arc": _DCM4CHEE_QUERY, "DCMTK": _DCMTK_QUERY},
    ),
    Rule(
        "product-interface-open",
        Severity.CRITICAL,
        "The product's own interface is open: whoever reaches it administers the archive",
        "Require a sign-in for the product's own web interface, and bind it to the host itself.",
        _is_web(lambda web: WebApi.ORTHANC_REST in web.open_apis),
        {"Orthanc": _ORTHANC_WEB},
    ),
    Rule(
        "published-key",
        Severity.CRITICAL,
        "The certificate's private key is published: anyone can impersonate this system",
        "Replace key and certificate by ones of your own; whatever trusted the old one must stop doing so.",
        _has_certificate(lambda certificate: certificate.published_key),
        {"dcm4chee-arc": 'Replace key.p12 of the sample configuration (keystore and its password "secret") by a key of your own.'},
    ),
    Rule(
        "store-offered",
        Severity.HIGH,
        "Anyone can add images to the archive: false ones, or until its disk is full",
        "Accept C-STORE from known modalities alone: by client certificate, else by AE title and address.",
        lambda seen: isinstance(seen, Dimse) and seen.write in {Write.OFFERED, Write.ACCEPTED},
        {"Orthanc": _ORTHANC_STORE, "dcm4chee-arc": _DCM4CHEE_QUERY, "DCMTK": _DCMTK_QUERY},
    ),
    Rule(
        "directory-listing",
        Severity.MEDIUM,
        "The web server lists its folders to anyone",
        "Turn the listing of folders off (nginx: autoindex off; Apache: Options -Indexes).",
        _is_web(lambda web: web.directory_listing),
        {},
    ),
    Rule(
        "any-origin",
        Severity.MEDIUM,
        "Any web page may use a visitor's sign-in here (CORS: any origin with credentials)",
        "Name the viewer's origin in Access-Control-Allow-Origin, or leave the header out.",
        _is_web(lambda web: web.any_origin_with_credentials),
        {},
    ),
    Rule(
        "dicom-unencrypted",
        Severity.MEDIUM,
        "DICOM is spoken without encryption: names and images can be read on the way",
        "Offer DICOM over TLS alone (PS3.15 B.12, port 2762), with client certificates.",
        _is_dimse(lambda dimse: dimse.transport is Transport.PLAIN and dimse.level.rank >= ExposureLevel.ASSOCIATION.rank),
        {"Orthanc": _ORTHANC_TLS, "DCMTK": _DCMTK_TLS},
    ),
    Rule(
        "web-unencrypted",
        Severity.MEDIUM,
        "The archive's web interface is spoken without encryption: passwords and images can be read on the way",
        "Offer HTTPS alone; answer HTTP by a redirect, or not at all.",
        _is_web(lambda web: web.transport is Transport.PLAIN and (web.protocol is Protocol.DICOMWEB or web.level.is_open)),
        {"Orthanc": 'Put a proxy with TLS before it, or set "SslEnabled": true with "SslCertificate".'},
    ),
    Rule(
        "tls-old-version",
        Severity.MEDIUM,
        "TLS before 1.2 is accepted",
        "Accept TLS 1.2 and 1.3 alone (PS3.15 B.12, BCP 195).",
        _has_tls(lambda tls: bool(tls.old_versions)),
        {},
    ),
    Rule(
        "tls-weak-suites",
        Severity.MEDIUM,
        "Cipher suites without forward secrecy or authenticated encryption are accepted",
        "Accept ECDHE with AES-GCM or ChaCha20 alone in TLS 1.2 (PS3.15 B.12, BCP 195).",
        _has_tls(lambda tls: tls.weak_suites),
        {"dcm4chee-arc": _DCM4CHEE_SUITES},
    ),
    Rule(
        "certificate-expired",
        Severity.MEDIUM,
        "The certificate has expired, or is not valid yet",
        "Renew it, and let a program watch the date.",
        _has_certificate(lambda certificate: certificate.days_left < 0 or certificate.not_yet_valid),
        {},
    ),
    Rule(
        "certificate-untrusted",
        Severity.MEDIUM,
        "The certificate does not come from the authority that the scope names",
        "Have it issued by that authority, or name the right one in the scope's ca_file.",
        _has_certificate(lambda certificate: certificate.trusted is False and certificate.days_left >= 0),
        {},
    ),
    Rule(
        "certificate-weak",
        Severity.MEDIUM,
        "The certificate has a short key or a SHA-1 signature",
        "Issue a new one: RSA of 3072 bits or P-256, signed with SHA-256.",
        _has_certificate(_key_is_short),
        {},
    ),
    Rule(
        "certificate-name",
        Severity.LOW,
        "The certificate is for another name",
        "Issue one for the name by which peers know this system.",
        _has_certificate(lambda certificate: certificate.name_matches is False),
        {},
    ),
    Rule(
        "certificate-expires-soon",
        Severity.LOW,
        f"The certificate expires within {EXPIRES_SOON_DAYS} days",
        "Renew it, and let a program watch the date.",
        _has_certificate(lambda certificate: 0 <= certificate.days_left < EXPIRES_SOON_DAYS),
        {},
    ),
    Rule(
        "strangers-associate",
        Severity.LOW,
        "An association is accepted from a caller that nobody knows",
        "Check the calling AE title, its address and, over TLS, its certificate before anything else.",
        _is_dimse(lambda dimse: ExposureLevel.ASSOCIATION.rank <= dimse.level.rank < ExposureLevel.RECORDS.rank),
        {"Orthanc": _ORTHANC_ASSOCIATION, "DCMTK": _DCMTK_QUERY},
    ),
)

Doors: TypeAlias = Sequence[Observation]


def findings_of(doors: Doors, software: Software) -> tuple[Finding, ...]:
    """Everything to change at one system, the worst first, each thing once."""
    found = [*_by_rules(doors, software), *_open_viewers(doors), *_advisories(doors, software)]
    return tuple(sorted(found, key=lambda finding: -finding.severity.rank))


def _by_rules(doors: Doors, software: Software) -> Iterator[Finding]:
    for rule in RULES:
        ports = tuple(sorted({seen.port for seen in doors if rule.holds(seen)}))
        if ports:
            exact = rule.by_product.get(software.name) or rule.by_product.get(software.toolkit, "")
            yield Finding(rule.id, rule.severity, rule.title, f"{exact} {rule.remedy}".strip(), ports)


def open_viewers(doors: Doors) -> int:
    """Viewers that show patients without a sign-in: their page is served, and an interface of the same port is open."""
    return sum(len(seen.viewers) for seen in doors if isinstance(seen, Web) and seen.open_apis)


def _open_viewers(doors: Doors) -> Iterator[Finding]:
    for seen in doors:
        if isinstance(seen, Web) and seen.open_apis and seen.viewers:
            names = ", ".join(seen.viewers)
            yield Finding(
                "viewer-open",
                Severity.CRITICAL,
                f"A viewer shows patients without a sign-in: {names}",
                "Require a sign-in before the viewer and its interface.",
                (seen.port,),
            )


def _advisories(doors: Doors, software: Software) -> Iterator[Finding]:
    ports = tuple(seen.port for seen in doors if seen.level is not ExposureLevel.CLOSED)
    for name, version in ((software.name, software.version), (software.toolkit, software.toolkit_version)):
        possible = products.possible_advisories(name, version)
        if possible:
            ids = ", ".join(" ".join(part for part in (each.advisory, f"({each.ids})") if part) for each in possible)
            shown = ".".join(str(part) for part in version or ())
            yield Finding(
                f"advisory-{name.lower()}",
                Severity.LOW,
                f"{name} {shown} is possibly affected by known flaws",
                f"Check whether the distribution has back-ported the fixes, else update. By the version alone: {ids}.",
                ports,
            )
