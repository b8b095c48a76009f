"""What is wrong, how badly, and the setting that closes it: the one table of severities and remedies.

A port that rejects strangers is no finding; an association is not exposure, but a caller who is let in unknown is a (low) finding.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from leadglass.survey.advisories import possible_advisories
from leadglass.survey.observations import (
    Certificate,
    DefaultAccount,
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
from leadglass.survey.remedies import setting

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
    evidence: str = ""
    """How it was told: words of ours or of the packaged table, never the device's."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on one door, and what to say where it holds."""

    id: str
    severity: Severity
    title: str
    remedy: str
    holds: Callable[[Observation], bool]


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
    ),
    Rule(
        "records-open",
        Severity.CRITICAL,
        "Anyone can search the patients' records",
        _WALL + "Treat it as a data breach until the archive's logs show otherwise (GDPR Art. 33: 72 hours).",
        lambda seen: seen.level is ExposureLevel.RECORDS,
    ),
    Rule(
        "product-interface-open",
        Severity.CRITICAL,
        "The product's own interface is open: whoever reaches it has the whole archive",
        "Require a sign-in for the product's own web interface, and bind it to the host itself.",
        _is_web(lambda web: bool({WebApi.ORTHANC_REST, WebApi.DICOOGLE_SEARCH} & set(web.open_apis))),
    ),
    Rule(
        "default-account",
        Severity.CRITICAL,
        "The account that the vendor's documentation names opens the archive to anyone",
        "Give every person an account of their own, and remove the documented one.",
        _is_web(lambda web: web.default_account is DefaultAccount.ACCEPTED),
    ),
    Rule(
        "viewer-credentials",
        Severity.CRITICAL,
        "A viewer's configuration hands out the password to its DICOMweb service",
        "Take it out, change it, and sign people in before the viewer.",
        _is_web(lambda web: web.config_holds_credentials),
    ),
    Rule(
        "published-key",
        Severity.CRITICAL,
        "The certificate's private key is published: anyone can impersonate this system",
        "Replace key and certificate by ones of your own; whatever trusted the old one must stop doing so.",
        _has_certificate(lambda certificate: certificate.published_key),
    ),
    Rule(
        "store-accepted",
        Severity.CRITICAL,
        "A stranger's object was stored: anyone can add false images, or fill the disk",
        "Accept C-STORE from known modalities alone: by client certificate, else by AE title and address; STOW-RS from those who "
        "have signed in. Delete the survey's own object: its "
        "PatientID is LEADGLASS-SURVEY- and the run's id, its UID is in results.json.",
        lambda seen: seen.write is Write.ACCEPTED,
    ),
    Rule(
        "store-offered",
        Severity.HIGH,
        "Anyone can offer images to the archive: false ones, or until its disk is full",
        "Accept C-STORE from known modalities alone: by client certificate, else by AE title and address.",
        lambda seen: seen.write is Write.OFFERED,
    ),
    Rule(
        "images-listed",
        Severity.HIGH,
        "The web server lists files of images to anyone",
        "Turn the listing of folders off, and put the files where the web server does not serve them.",
        _is_web(lambda web: web.listed_images > 0),
    ),
    Rule(
        "directory-listing",
        Severity.MEDIUM,
        "The web server lists its folders to anyone",
        "Turn the listing of folders off (nginx: autoindex off; Apache: Options -Indexes).",
        _is_web(lambda web: web.directory_listing),
    ),
    Rule(
        "any-origin",
        Severity.MEDIUM,
        "Any web page may use a visitor's sign-in here (CORS: any origin with credentials)",
        "Name the viewer's origin in Access-Control-Allow-Origin, or leave the header out.",
        _is_web(lambda web: web.any_origin_with_credentials),
    ),
    Rule(
        "any-origin-open",
        Severity.MEDIUM,
        "Any web page that somebody in your network opens may read the archive (CORS: any origin, no sign-in)",
        "Name the viewer's origin in Access-Control-Allow-Origin, or leave the header out; require a sign-in.",
        _is_web(lambda web: web.any_origin and bool(web.open_apis)),
    ),
    Rule(
        "viewer-configuration",
        Severity.LOW,
        "A viewer's configuration names its DICOMweb service to anyone",
        "Sign people in before the viewer's pages as well; what it names must ask for a sign-in of its own.",
        _is_web(lambda web: web.config_names_service and not web.config_holds_credentials),
    ),
    Rule(
        "dicom-unencrypted",
        Severity.MEDIUM,
        "DICOM is spoken without encryption: names and images can be read on the way",
        "Offer DICOM over TLS alone (PS3.15 B.12, port 2762), with client certificates.",
        _is_dimse(lambda dimse: dimse.transport is Transport.PLAIN and dimse.level.rank >= ExposureLevel.ASSOCIATION.rank),
    ),
    Rule(
        "web-unencrypted",
        Severity.MEDIUM,
        "The archive's web interface is spoken without encryption: passwords and images can be read on the way",
        "Offer HTTPS alone; answer HTTP by a redirect, or not at all.",
        _is_web(lambda web: web.transport is Transport.PLAIN and (web.protocol is Protocol.DICOMWEB or web.level.is_open)),
    ),
    Rule(
        "tls-old-version",
        Severity.MEDIUM,
        "TLS before 1.2 is accepted",
        "Accept TLS 1.2 and 1.3 alone (PS3.15 B.12, BCP 195).",
        _has_tls(lambda tls: bool(tls.old_versions)),
    ),
    Rule(
        "tls-no-protection",
        Severity.HIGH,
        "TLS without encryption, without the server's proof of itself, or of export grade is accepted",
        "Take the NULL, anonymous and export suites out: what is sent over them can be read or changed on the way.",
        _has_tls(lambda tls: any(each.leaves_nothing for each in tls.weaknesses)),
    ),
    Rule(
        "tls-weak-suites",
        Severity.MEDIUM,
        "Cipher suites without forward secrecy or authenticated encryption are accepted",
        "Accept ECDHE with AES-GCM or ChaCha20 alone in TLS 1.2 (PS3.15 B.12, BCP 195).",
        _has_tls(lambda tls: tls.weak_suites),
    ),
    Rule(
        "certificate-expired",
        Severity.MEDIUM,
        "The certificate has expired, or is not valid yet",
        "Renew it, and let a program watch the date.",
        _has_certificate(lambda certificate: certificate.days_left < 0 or certificate.not_yet_valid),
    ),
    Rule(
        "certificate-untrusted",
        Severity.MEDIUM,
        "The certificate does not come from the authority that the scope names",
        "Have it issued by that authority, or name the right one in the scope's ca_file.",
        _has_certificate(lambda certificate: certificate.trusted is False and certificate.days_left >= 0),
    ),
    Rule(
        "certificate-weak",
        Severity.MEDIUM,
        "The certificate has a short key or a SHA-1 signature",
        "Issue a new one: RSA of 3072 bits or P-256, signed with SHA-256.",
        _has_certificate(_key_is_short),
    ),
    Rule(
        "certificate-name",
        Severity.LOW,
        "The certificate is for another name",
        "Issue one for the name by which peers know this system.",
        _has_certificate(lambda certificate: certificate.name_matches is False),
    ),
    Rule(
        "certificate-expires-soon",
        Severity.LOW,
        f"The certificate expires within {EXPIRES_SOON_DAYS} days",
        "Renew it, and let a program watch the date.",
        _has_certificate(lambda certificate: 0 <= certificate.days_left < EXPIRES_SOON_DAYS),
    ),
    Rule(
        "strangers-associate",
        Severity.LOW,
        "An association is accepted from a caller that nobody knows",
        "Check the calling AE title, its address and, over TLS, its certificate before anything else.",
        _is_dimse(lambda dimse: ExposureLevel.ASSOCIATION.rank <= dimse.level.rank < ExposureLevel.RECORDS.rank),
    ),
)

Doors: TypeAlias = Sequence[Observation]


def findings_of(doors: Doors, software: Software) -> tuple[Finding, ...]:
    """Everything to change at one system, the worst first, each thing once."""
    found = [*_by_rules(doors, software), *_open_viewers(doors, software), *_advisories(doors, software)]
    return tuple(sorted(found, key=lambda finding: -finding.severity.rank))


def _by_rules(doors: Doors, software: Software) -> Iterator[Finding]:
    for rule in RULES:
        ports = tuple(sorted({seen.port for seen in doors if rule.holds(seen)}))
        if ports:
            exact = setting(rule.id, software.name, software.toolkit)
            yield Finding(rule.id, rule.severity, rule.title, f"{exact} {rule.remedy}".strip(), ports)


def open_viewers(doors: Doors) -> int:
    """Viewers that show patients without a sign-in: their page is served, and an interface of the same system is open."""
    return sum(len(seen.viewers) for seen in _with_open_viewers(doors))


def _with_open_viewers(doors: Doors) -> Sequence[Web]:
    # A viewer often stands at another port than what it shows: OHIF on a web server before Orthanc.
    pages = [seen for seen in doors if isinstance(seen, Web)]
    return [seen for seen in pages if seen.viewers] if any(seen.open_apis for seen in pages) else []


def _open_viewers(doors: Doors, software: Software) -> Iterator[Finding]:
    for seen in _with_open_viewers(doors):
        names = ", ".join(seen.viewers)
        exact = setting("viewer-open", software.name)
        remedy = "Require a sign-in before the viewer and its interface."
        title = f"A viewer shows patients without a sign-in: {names}"
        yield Finding("viewer-open", Severity.CRITICAL, title, f"{exact} {remedy}".strip(), (seen.port,))


def _advisories(doors: Doors, software: Software) -> Iterator[Finding]:
    ports = tuple(seen.port for seen in doors if seen.level is not ExposureLevel.CLOSED)
    for name, version in ((software.name, software.version), (software.toolkit, software.toolkit_version)):
        possible = possible_advisories(name, version)
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
