"""What a row works with: an archive with both its doors open, the images, and who the peer is at the door in question."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.archives import ArchiveUnderTest
from tests.certificates import Identity
from tests.matrix.cells import Transport
from tests.matrix.comparing import Original, assert_same_objects
from tests.peers import DimseAddress, Orthanc
from tests.whole.associating import get_studies

TRUSTED, OLD = "CT1", "OLDCT1"
"""A peer with a certificate, which may do everything; and one without TLS, which may echo and store. Both can be destinations."""

ORTHANC, OLD_ORTHANC = "ORTHANC", "OLDORTHANC"
"""The same for Orthanc, which listens all the time."""


@dataclass(frozen=True)
class Known:
    """A peer of the archive: the port on loopback at which it is a destination, and what it shows over TLS."""

    aet: str
    port: int
    tls: Identity | None


@dataclass(frozen=True)
class Bench:
    """The archive serves while a row runs; of the images, it holds all or none."""

    archive: ArchiveUnderTest
    transport: Transport
    originals: list[Original]
    known: Mapping[str, Known]
    folder: Path
    orthanc: Callable[[Transport], Orthanc]
    """Starts it when the first row asks: it takes seconds."""

    @property
    def secured(self) -> bool:
        return self.transport is Transport.TLS

    @property
    def door(self) -> DimseAddress:
        """The door over this transport."""
        return self.archive.dimse if self.secured else self.archive.plaintext

    @property
    def peer(self) -> Known:
        """Who the peer is at that door."""
        return self.known[TRUSTED if self.secured else OLD]

    @property
    def orthanc_peer(self) -> Known:
        """Who Orthanc is at that door."""
        return self.known[ORTHANC if self.secured else OLD_ORTHANC]

    @property
    def calling(self) -> str:
        """The peer's AE title at that door."""
        return self.peer.aet

    @property
    def tls(self) -> Identity | None:
        """What the peer shows at that door."""
        return self.peer.tls

    @property
    def identity(self) -> Identity:
        """What the trusted peer shows, whatever the transport of the row."""
        identity = self.known[TRUSTED].tls
        assert identity is not None
        return identity

    @property
    def studies(self) -> list[str]:
        return sorted({each.study for each in self.originals})

    @property
    def patients(self) -> list[str]:
        """The Patient IDs that the images have; those of some patients are empty."""
        return sorted({each.patient for each in self.originals} - {""})

    @property
    def pairs(self) -> set[tuple[str, str]]:
        """Every SOP class with the transfer syntaxes that the images are in."""
        return {(each.sent.sop_class, each.sent.transfer_syntax) for each in self.originals}

    def assert_holds(self, expected: list[Original]) -> None:
        """The archive serves these objects as they were, and no other."""
        natively = {(sop_class, syntax) for sop_class, _ in self.pairs for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")}
        studies = {each.study for each in expected}
        assert_same_objects(get_studies(self.archive.dimse, self.identity, studies, self.pairs | natively), expected)
