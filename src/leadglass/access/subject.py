"""Subject rules: which certificate of an outside CA is a peer's, said by what stands in it, never by a part of a value.

A rule is text such as `CN=ct1.hospital.example,O=Hospital`. Of each kind of name that it mentions the certificate must hold exactly
the values that it gives, no other and none more; kinds that it does not mention are free. Kinds are attributes of the subject
(RFC 4514 section 3, or a dotted OID) and of its alternative name (`DNS`, `URI`, `EMAIL`, `IP`).
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from cryptography import x509
from cryptography.x509.oid import NameOID

from leadglass.errors import WrongUsage

_ATTRIBUTES: Final[Mapping[str, x509.ObjectIdentifier]] = {
    "CN": NameOID.COMMON_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "L": NameOID.LOCALITY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "C": NameOID.COUNTRY_NAME,
    "STREET": NameOID.STREET_ADDRESS,
    "DC": NameOID.DOMAIN_COMPONENT,
    "UID": NameOID.USER_ID,
    "SERIALNUMBER": NameOID.SERIAL_NUMBER,
    "EMAILADDRESS": NameOID.EMAIL_ADDRESS,
}
_NAME_OF: Final = {oid.dotted_string: name for name, oid in _ATTRIBUTES.items()}
_ALTERNATIVE: Final = frozenset({"DNS", "URI", "EMAIL", "IP"})
_ONE_DEVICE: Final = _ALTERNATIVE | {"CN", "UID", "SERIALNUMBER"}
"""Kinds of which one at least must be in a rule: an organisation's name alone would let in all that it has."""
_OID: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,9})){1,20}", re.ASCII)
_TERM: Final = re.compile(r"((?:[^,\\]|\\.)+)(?:,(?!$)|$)")
_ESCAPED: Final = re.compile(r"\\(.)")
_UNPADDED: Final = re.compile(r"^ *((?:\\.|[^\\])*?) *$", re.DOTALL)
"""A value without the spaces around it, of which an escaped one is part of it."""
_MAX_TEXT: Final = 1024
_MAX_TERMS: Final = 16

Names = Mapping[str, tuple[str, ...]]
"""The values of each kind that a certificate holds, sorted."""


@dataclass(frozen=True, slots=True)
class SubjectRule:
    r"""The rule; `terms` are (kind, value), sorted.

    >>> rule = SubjectRule.parse(r"O=Hospital\, North, cn=ct1.hospital.example")
    >>> print(rule)
    CN=ct1.hospital.example,O=Hospital\, North
    >>> rule.matches({"CN": ("ct1.hospital.example",), "O": ("Hospital, North",), "C": ("FR",)})
    True
    >>> rule.matches({"CN": ("ct1.hospital.example.evil",), "O": ("Hospital, North",)})
    False
    """

    terms: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.terms) <= _MAX_TERMS or self.terms != tuple(sorted(self.terms)):
            raise WrongUsage(f"a subject rule has 1 to {_MAX_TERMS} terms, as in CN=ct1.hospital.example,O=Hospital")
        if not _ONE_DEVICE.intersection(kind for kind, _ in self.terms):
            raise WrongUsage(f"a subject rule names one device by {', '.join(sorted(_ONE_DEVICE))} at least; else it lets in all of the CA")
        for kind, value in self.terms:
            if not (kind in _ATTRIBUTES or kind in _ALTERNATIVE or _OID.fullmatch(kind)) or _NAME_OF.get(kind):
                raise WrongUsage(f"{kind!r} is no kind of name; take one of {', '.join([*_ATTRIBUTES, *sorted(_ALTERNATIVE)])}, or an OID")
            if not value or not value.isprintable() or value != _normal(kind, value):
                raise WrongUsage(f"a subject rule's {kind} must be a value in printable characters, as it stands in the certificate")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The rule in `text`: KIND=VALUE, joined by commas; a backslash takes the next character as it is."""
        if len(text) > _MAX_TEXT:
            raise WrongUsage(f"a subject rule has at most {_MAX_TEXT} characters")
        parts, position = [], 0
        while position < len(text):
            found = _TERM.match(text, position)
            if found is None:
                raise WrongUsage("a subject rule is KIND=VALUE, joined by commas, as in CN=ct1.hospital.example,O=Hospital")
            parts.append(found[1])
            position = found.end()
        return cls(tuple(sorted(_term(part) for part in parts)))

    def __str__(self) -> str:
        return ",".join(f"{kind}={_escape(value)}" for kind, value in self.terms)

    @property
    def names(self) -> Names:
        """The values of each kind, sorted."""
        return _gather(self.terms)

    def matches(self, names: Names) -> bool:
        """Whether a certificate with these names is the one that is meant."""
        return all(names.get(kind) == values for kind, values in self.names.items())

    def could_share(self, other: "SubjectRule") -> bool:
        """Whether one certificate could match both: no kind that both mention tells them apart."""
        mine, theirs = self.names, other.names
        return all(theirs[kind] == values for kind, values in mine.items() if kind in theirs)


def names_of(certificate: x509.Certificate) -> Names:
    """All that a rule can be about in a certificate; nothing of a part that cannot be read."""
    return _gather([*_subject(certificate), *_alternative(certificate)])


def _subject(certificate: x509.Certificate) -> Iterable[tuple[str, str]]:
    try:
        attributes = list(certificate.subject)
    except (ValueError, TypeError):
        return
    for attribute in attributes:
        dotted = attribute.oid.dotted_string
        value = attribute.value
        # A value that is no text equals no rule's, and must not hide that it is there.
        yield _NAME_OF.get(dotted, dotted), value if isinstance(value, str) else "\0"


def _alternative(certificate: x509.Certificate) -> Iterable[tuple[str, str]]:
    try:
        names = list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError, TypeError):
        return
    for name in names:
        match name:
            case x509.DNSName():
                yield "DNS", name.value.lower()
            case x509.UniformResourceIdentifier():
                yield "URI", name.value
            case x509.RFC822Name():
                yield "EMAIL", name.value
            case x509.IPAddress():
                yield "IP", str(name.value)


def _gather(pairs: Iterable[tuple[str, str]]) -> Names:
    gathered: dict[str, list[str]] = {}
    for kind, value in pairs:
        gathered.setdefault(kind, []).append(value)
    return {kind: tuple(sorted(values)) for kind, values in gathered.items()}


def _term(text: str) -> tuple[str, str]:
    kind, equals, value = text.partition("=")
    if not equals:
        raise WrongUsage("a subject rule is KIND=VALUE, joined by commas, as in CN=ct1.hospital.example,O=Hospital")
    kind = kind.strip().upper()
    kind = _NAME_OF.get(kind, kind)
    return kind, _normal(kind, _ESCAPED.sub(r"\1", _UNPADDED.sub(r"\1", value)))


def _normal(kind: str, value: str) -> str:
    if kind == "DNS":
        return value.lower()
    if kind == "IP":
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            raise WrongUsage("a subject rule's IP must be one address") from None
    return value


def _escape(value: str) -> str:
    escaped = re.sub(r"([,\\])", r"\\\1", value)
    # Spaces at the ends would be taken for those around a comma.
    return re.sub(r"^ | $", r"\\ ", escaped)
