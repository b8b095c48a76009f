"""What a probe may bring home: counts, enums, booleans, and numbers; there is no field in which a patient's text could sit.

`tests/survey/test_survey_observations.py` walks these types and fails on anything else, `str` included.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from leadglass.survey.negotiated import AskedContext

VersionNumber: TypeAlias = tuple[int, ...]
"""A version as numbers; text that a device sends about itself is never kept."""


class ExposureLevel(StrEnum):
    """What a stranger reaches, least first."""

    CLOSED = "closed"
    OPEN_PORT = "open-port"
    DICOM = "dicom"
    ASSOCIATION = "association"
    QUERY_OFFERED = "query-offered"
    RECORDS = "records"
    IMAGES = "images"

    @property
    def rank(self) -> int:
        return _RANKS[self]

    @property
    def is_open(self) -> bool:
        """Greenbone's meaning of an open archive: patient records are answered."""
        return self.rank >= ExposureLevel.RECORDS.rank


_RANKS = {level: rank for rank, level in enumerate(ExposureLevel)}


class Write(StrEnum):
    """Whether a stranger may add to the archive; least first."""

    NOT_TRIED = "not-tried"
    REFUSED = "refused"
    OFFERED = "offered"
    ACCEPTED = "accepted"


class Transport(StrEnum):
    """How a door is protected on the way; weakest first."""

    PLAIN = "plain"
    TLS = "tls"
    MUTUAL_TLS = "mutual-tls"


class Protocol(StrEnum):
    """What a door speaks."""

    DIMSE = "dimse"
    DIMSE_TLS = "dimse-tls"
    DICOMWEB = "dicomweb"
    WEB = "web"


class Ending(StrEnum):
    """Why a conversation stopped where it did."""

    DONE = "done"
    REFUSED = "connection-refused"
    UNREACHABLE = "unreachable"
    NO_ANSWER = "no-answer"
    """Nothing came back from the address: dead, or behind a wall."""
    TIMEOUT = "timeout"
    """Connected, and then silent or too slow."""
    CLOSED_BY_PEER = "closed-by-peer"
    ABORTED = "aborted"
    NOT_THIS_PROTOCOL = "not-this-protocol"
    OVER_A_BOUND = "over-a-bound"
    TLS_FAILED = "tls-failed"


UNREACHED = frozenset({Ending.REFUSED, Ending.UNREACHABLE, Ending.NO_ANSWER})
"""There was no connection."""


class RejectionMeaning(StrEnum):
    """A-ASSOCIATE-RJ by its three bytes (PS3.8 table 9-21): only one of them speaks of the caller."""

    CALLING_AE = "calling-ae-title-not-recognised"
    CALLED_AE = "called-ae-title-not-recognised"
    CONTEXT_NAME = "application-context-not-supported"
    CONGESTION = "temporary-congestion"
    LOCAL_LIMIT = "local-limit-exceeded"
    PROTOCOL_VERSION = "protocol-version-not-supported"
    NO_REASON = "no-reason-given"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Rejection:
    """The three bytes of an A-ASSOCIATE-RJ."""

    result: int
    source: int
    reason: int

    @property
    def meaning(self) -> RejectionMeaning:
        return _MEANINGS.get((self.source, self.reason), RejectionMeaning.OTHER)


_MEANINGS = {
    (1, 1): RejectionMeaning.NO_REASON,
    (1, 2): RejectionMeaning.CONTEXT_NAME,
    (1, 3): RejectionMeaning.CALLING_AE,
    (1, 7): RejectionMeaning.CALLED_AE,
    (2, 1): RejectionMeaning.NO_REASON,
    (2, 2): RejectionMeaning.PROTOCOL_VERSION,
    (3, 1): RejectionMeaning.CONGESTION,
    (3, 2): RejectionMeaning.LOCAL_LIMIT,
}


class Service(StrEnum):
    """The services a stranger asks for in an association; `storage` stands for the storage classes offered together."""

    VERIFICATION = "verification"
    STUDY_ROOT_FIND = "study-root-find"
    PATIENT_ROOT_FIND = "patient-root-find"
    STUDY_ROOT_GET = "study-root-get"
    STUDY_ROOT_MOVE = "study-root-move"
    WORKLIST_FIND = "worklist-find"
    STORAGE = "storage"


class CountedBy(StrEnum):
    """How records were counted."""

    COUNT_ENDPOINT = "count-endpoint"
    """The product said how many; no patient's row was sent."""
    QUERY = "streamed-query"
    PAGES = "pages"


class QueryAnswer(StrEnum):
    """What a query came to."""

    ANSWERED = "answered"
    FAILED = "failure-status"
    ABORTED = "aborted"
    TIMEOUT = "timeout"
    NONSENSE = "not-an-answer"


class Field(StrEnum):
    """The attributes whose presence is reported, by DICOM keyword; their values are dropped where they are received."""

    PATIENT_NAME = "PatientName"
    PATIENT_ID = "PatientID"
    PATIENT_BIRTH_DATE = "PatientBirthDate"
    PATIENT_SEX = "PatientSex"
    ISSUER_OF_PATIENT_ID = "IssuerOfPatientID"
    OTHER_PATIENT_IDS = "OtherPatientIDs"
    STUDY_DATE = "StudyDate"
    STUDY_TIME = "StudyTime"
    ACCESSION_NUMBER = "AccessionNumber"
    STUDY_DESCRIPTION = "StudyDescription"
    REFERRING_PHYSICIAN_NAME = "ReferringPhysicianName"
    INSTITUTION_NAME = "InstitutionName"


@dataclass(frozen=True, slots=True)
class RecordCounts:
    """`exact` is False where a bound stopped the count or the archive would not say: then each is "at least"."""

    patients: int
    studies: int
    instances: int
    exact: bool


class TlsVersion(StrEnum):
    """As `ssl` names them."""

    SSL_3 = "SSLv3"
    TLS_1_0 = "TLSv1"
    TLS_1_1 = "TLSv1.1"
    TLS_1_2 = "TLSv1.2"
    TLS_1_3 = "TLSv1.3"

    @property
    def rank(self) -> int:
        return list(TlsVersion).index(self)


class SuiteWeakness(StrEnum):
    """What PS3.15 B.12 (BCP 195) does not allow of a cipher suite, the worst first."""

    NO_ENCRYPTION = "no-encryption"
    NO_AUTHENTICATION = "no-authentication"
    EXPORT = "export-grade"
    RC4 = "rc4"
    SHORT_BLOCKS = "des-or-3des"
    NO_FORWARD_SECRECY = "no-forward-secrecy"
    NO_AUTHENTICATED_ENCRYPTION = "no-authenticated-encryption"

    @property
    def leaves_nothing(self) -> bool:
        """Whether anyone on the way can read along or stand in for the server."""
        return self in {SuiteWeakness.NO_ENCRYPTION, SuiteWeakness.NO_AUTHENTICATION, SuiteWeakness.EXPORT}


class ClientCertificate(StrEnum):
    """Whether a server lets nobody in without one."""

    REQUIRED = "required"
    NOT_REQUIRED = "not-required"
    UNKNOWN = "unknown"


class KeyKind(StrEnum):
    """The kind of a certificate's key."""

    RSA = "RSA"
    EC = "EC"
    EDWARDS = "EdDSA"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server's certificate, without its names."""

    days_left: int
    not_yet_valid: bool
    key: KeyKind
    key_bits: int
    sha1_signature: bool
    self_signed: bool
    published_key: bool
    trusted: bool | None
    """By the scope's `ca_file`; None where the scope names none."""
    name_matches: bool | None
    """Judged together with `trusted`, else against the target's own name; None for an address."""


@dataclass(frozen=True, slots=True)
class Tls:
    """A TLS door against PS3.15 B.12 (BCP 195: TLS 1.2 or later, forward secrecy, AEAD)."""

    version: TlsVersion | None
    """What was agreed on with everything offered; where a certificate of ours was wanted, what the server chose; else None."""
    old_versions: tuple[TlsVersion, ...]
    """Each before TLS 1.2 that it takes."""
    weak_suites: bool
    client_certificate: ClientCertificate
    certificate: Certificate | None
    weaknesses: tuple[SuiteWeakness, ...] = ()
    """Of the suites that it takes up to TLS 1.2; `weak_suites` where there is any."""


@dataclass(frozen=True, slots=True)
class Dimse:
    """One port, spoken to in DIMSE."""

    port: int
    protocol: Protocol
    level: ExposureLevel
    write: Write
    transport: Transport | None
    ending: Ending
    rejection: Rejection | None = None
    named_called_ae: bool = False
    """True where only the scope's `called_aet` was let in, not an invented title."""
    accepted: tuple[Service, ...] = ()
    refused: tuple[Service, ...] = ()
    contexts: tuple[AskedContext, ...] = ()
    echo: bool | None = None
    query: QueryAnswer | None = None
    query_status: int | None = None
    retrieve: QueryAnswer | None = None
    records: RecordCounts | None = None
    counted_by: CountedBy | None = None
    """`count-endpoint` without `records`: the product's own interface had already counted, so this door was not asked."""
    fields: tuple[Field, ...] = ()
    store_status: int | None = None
    """Of the one synthetic object that `write_probe` offers."""
    synthetic_object: int | None = None
    """The last component of its SOP Instance UID, `2.25.` before it, where it was accepted, or not answered: so that it can be deleted."""
    fingerprint: int | None = None
    """Row of `data/fingerprints.csv`."""
    toolkit_version: VersionNumber | None = None
    tls: Tls | None = None


class WebProduct(StrEnum):
    """The products that a web page or interface is recognised as."""

    ORTHANC = "Orthanc"
    DCM4CHEE = "dcm4chee-arc"
    DICOOGLE = "Dicoogle"
    OHIF = "OHIF"
    MEDDREAM = "MedDream"
    OVIYAM = "Oviyam"
    WEASIS = "Weasis PACS connector"


class WebApi(StrEnum):
    """What was found to answer, or to ask for a sign-in."""

    QIDO = "qido-rs"
    ORTHANC_REST = "orthanc-rest"
    DICOOGLE_SEARCH = "dicoogle-search"


class Viewer(StrEnum):
    """Pages by which people look at images."""

    ORTHANC_EXPLORER = "Orthanc Explorer"
    ORTHANC_EXPLORER_2 = "Orthanc Explorer 2"
    DCM4CHEE_UI = "dcm4chee-arc UI"
    OHIF = "OHIF"
    STONE = "Stone Web viewer"
    OVIYAM = "Oviyam"
    WEASIS = "Weasis PACS connector"


class DefaultAccount(StrEnum):
    """What became of the documented account of a recognised product, tried once."""

    REFUSED = "refused"
    ACCEPTED = "accepted"
    NO_ANSWER = "no-answer"


@dataclass(frozen=True, slots=True)
class Web:
    """One port, spoken to in HTTP."""

    port: int
    protocol: Protocol
    level: ExposureLevel
    transport: Transport | None
    ending: Ending
    product: WebProduct | None = None
    product_version: VersionNumber | None = None
    open_apis: tuple[WebApi, ...] = ()
    guarded_apis: tuple[WebApi, ...] = ()
    """Those that asked for a sign-in."""
    viewers: tuple[Viewer, ...] = ()
    """Pages without sign-in; an open viewer only where an API of the same system is open too."""
    catch_all: bool = False
    """Any path gets a page: none of them is taken for an interface."""
    directory_listing: bool = False
    listed_images: int = 0
    """Names in the listings seen that end like a DICOM file's."""
    any_origin: bool = False
    """A web page of any origin may read the answers of an interface."""
    any_origin_with_credentials: bool = False
    """And with the sign-in of the person who looks at it."""
    config_names_service: bool = False
    """A viewer's configuration names its DICOMweb service to anyone."""
    config_holds_credentials: bool = False
    metadata: bool = False
    """WADO-RS hands out an image's metadata: names and dates, without a pixel."""
    default_account: DefaultAccount | None = None
    write: Write = Write.NOT_TRIED
    """By STOW-RS, where `write_probe` asks; `not-tried` also where no answer said what became of the object."""
    stow_status: int | None = None
    """Of HTTP, for the one synthetic object."""
    synthetic_object: int | None = None
    """As at a DIMSE door; also where no answer said what became of it."""
    redirect_refused: bool = False
    """It sent us to a place that the scope does not name; we did not go."""
    records: RecordCounts | None = None
    counted_by: CountedBy | None = None
    fields: tuple[Field, ...] = ()
    tls: Tls | None = None


Observation: TypeAlias = Dimse | Web
