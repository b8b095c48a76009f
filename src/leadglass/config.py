"""leadglass.toml: frozen, complete, and every default the safe one, with its reason under it."""

import contextlib
import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from leadglass.errors import ConfigurationError

MIB = 1024 * 1024
GIB = 1024 * MIB
AE_TITLE_FORM = r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$"
"""PS3.5 table 6.2-1, AE: printable ASCII but the backslash, at most 16; spaces at the ends do not count and are not written."""
_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", re.ASCII)


class Address(BaseModel):
    """Where a door listens: HOST:PORT, [HOST]:PORT for IPv6; port 0 lets the system choose."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    host: str
    port: int = Field(ge=0, le=65535)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """HOST:PORT as an `Address`.

    >>> parse_address("127.0.0.1:2762")
    Address(host='127.0.0.1', port=2762)
    >>> str(parse_address("[::1]:8443"))
    '[::1]:8443'
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ConfigurationError(f"{text!r} is not HOST:PORT, as in 127.0.0.1:2762")
    return Address(host=host.strip("[]"), port=int(port))


def _address_text(text: str) -> str:
    try:
        parse_address(text)
    except ConfigurationError as error:
        raise ValueError(error) from None  # pydantic adds which key it is
    return text


def _host_text(text: str) -> str:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(text)
        return text
    if len(text) > 253 or not all(map(_HOST_LABEL.fullmatch, text.split("."))):
        raise ValueError("a host name is labels of ASCII letters, digits and dashes, joined by dots; or it is an address")
    return text


ListenText = Annotated[str, AfterValidator(_address_text)]
HostText = Annotated[str, AfterValidator(_host_text)]
UidText = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)+$", max_length=64)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ArchiveSection(_Section):
    """Who we are to peers and browsers."""

    aet: str = Field(default="LEADGLASS", pattern=AE_TITLE_FORM)
    """What peers call; an association for another title is rejected."""
    hostnames: list[HostText] = []
    """Names in the server certificate beside localhost and 127.0.0.1."""


class KeysSection(_Section):
    """Where the root key is."""

    root_key: str = ""
    """Outside HOME: a thief of the disk or of a backup of HOME must not find the key beside the data."""
    unsafe_key_beside_data: bool = False


class DimseSection(_Section):
    """The DIMSE door."""

    listen: ListenText = "127.0.0.1:2762"
    """Loopback until somebody decides otherwise; 2762 is dicom-tls (PS3.15 B.12)."""
    unsafe_plaintext_listen: ListenText | None = None
    """No listener without TLS unless named; it takes marked peers alone, for echo and store."""
    max_associations: int = Field(default=200, ge=1)
    max_associations_per_address: int = Field(default=32, ge=1)
    """One broken modality must not take every place."""
    max_associations_per_peer: int | None = Field(default=None, ge=1)
    """As many as from one address, unless said: a stolen key must not take every place either, from wherever it comes."""
    max_connections: int = Field(default=512, ge=1)
    """Without an association: in the TLS handshake, silent, or being told no."""
    max_connections_per_address: int = Field(default=64, ge=1)
    """When all places are taken, whichever address has the most gives one up to a newcomer."""
    handshake_timeout_seconds: float = Field(default=10.0, gt=0)
    """For the TLS handshake, from the connection on."""
    idle_timeout_seconds: float = Field(default=60.0, gt=0)
    """A peer that went silent must not keep its place; modalities that pause longer open a new association."""
    artim_timeout_seconds: float = Field(default=15.0, gt=0)
    """How long whoever connected may take to ask for an association (the ARTIM timer of PS3.8)."""
    additional_storage_classes: list[UidText] = Field(default=[], max_length=1000)
    """Private SOP classes that are stored like those of PS3.4 B.5: nothing unknown is taken unless somebody says what it is."""


class WebSection(_Section):
    """The DICOMweb door."""

    listen: ListenText = "127.0.0.1:8443"
    max_request_bytes: int = Field(default=16 * GIB, ge=1)
    """A whole STOW-RS request, which may hold many objects; each of them is bounded by `storage.max_object_bytes`."""
    default_limit: int = Field(default=100, ge=1)
    """A viewer that asks for everything must not stall the archive (OHIF/Viewers issue 943)."""
    largest_limit: int = Field(default=1000, ge=1)
    """Whoever asks for more gets this many and a warning, and the rest by `offset`."""


class PagesSection(_Section):
    """The pages for people, at the same address as DICOMweb."""

    idle_minutes: float = Field(default=15.0, gt=0, le=8 * 60)
    """A session ends after so long without a request: the next person at a shared workstation is not whoever left it."""
    longest_hours: float = Field(default=10.0, gt=0, le=24)
    """It ends after a working day, however busy: what was stolen of it is worth no more than that."""


class StorageSection(_Section):
    """What is kept free, and how large an object may be."""

    reserve_bytes: int = Field(default=1 * GIB, ge=0)
    """Below this much free space nothing is stored any more, and everything else goes on."""
    max_object_bytes: int = Field(default=8 * GIB, ge=1)
    """Larger than any real object; what a hostile one may take is bounded."""


class PixelsSection(_Section):
    """Decoding compressed pixels, for receivers that do not take them as they are stored; in processes of their own."""

    processes: int = Field(default=0, ge=0, le=64)
    """0: as many as there are cores. None is started before it is needed."""
    seconds_per_frame: float = Field(default=30.0, gt=0)
    """The largest mammogram takes 2; what takes longer is an attack, and its process is ended."""
    max_frame_bytes: int = Field(default=128 * MIB, ge=1, le=2 * GIB)
    """Decoded. Larger than any detector's image; what a code stream of a few bytes can claim is bounded."""
    process_memory_bytes: int = Field(default=1 * GIB, ge=64 * MIB)
    """What one process may take beyond its start; JPEG 2000 needs up to eight times the decoded frame."""


class Settings(_Section):
    """All of leadglass.toml."""

    archive: ArchiveSection = ArchiveSection()
    keys: KeysSection = KeysSection()
    dimse: DimseSection = DimseSection()
    web: WebSection = WebSection()
    pages: PagesSection = PagesSection()
    storage: StorageSection = StorageSection()
    pixels: PixelsSection = PixelsSection()

    def weakened(self) -> list[str]:
        """The settings that weaken a default, for the warning at every start."""
        found = []
        if self.keys.unsafe_key_beside_data:
            found.append("keys.unsafe_key_beside_data: whoever takes this folder takes the key with it")
        if self.dimse.unsafe_plaintext_listen is not None:
            found.append("dimse.unsafe_plaintext_listen: what its peers send crosses the network unencrypted")
        return found


def _likely(unknown: str, section: type[BaseModel]) -> str:
    return f"unknown key {unknown!r}; known here: {', '.join(sorted(section.model_fields))}"


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Each fault of a pydantic validation as a sentence that says what would be right, without echoing values."""
    sentences = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        location = [str(part) for part in fault["loc"]]
        where = ".".join(location)
        if fault["type"] == "extra_forbidden":
            section: type[BaseModel] = model
            for part in location[:-1]:
                annotation = section.model_fields[part].annotation if part in section.model_fields else None
                if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                    section = annotation
            sentences.append(f"{where}: {_likely(location[-1], section)}")
        else:
            sentences.append(f"{where}: {fault['msg']}")
    return sentences


def parse_settings(text: str, origin: str = "leadglass.toml") -> Settings:
    """The settings in `text` (TOML); raises `ConfigurationError` that names every fault and what would be right."""
    try:
        return Settings.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{origin} is not TOML: {error}") from None
    except ValidationError as error:
        raise ConfigurationError(f"{origin}: " + "; ".join(explain(error, Settings))) from None


def load_settings(path: Path) -> Settings:
    """The settings in the file at `path`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}; run as the owner of the archive") from None
    return parse_settings(text, str(path))
