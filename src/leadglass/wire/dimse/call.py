"""One request on an association, with all that a service needs to answer it."""

from dataclasses import dataclass

from leadglass.archive.archive import Session
from leadglass.dicom.uid import Uid
from leadglass.errors import BadMessage
from leadglass.net.acceptor import ServerAssociation
from leadglass.net.streams import DataSetStream, Message
from leadglass.net.workers import Workers
from leadglass.wire.dimse.outbound import Outbound


@dataclass(frozen=True)
class Call:
    """What a peer asked, who it is to the archive, and where the answer goes."""

    session: Session
    association: ServerAssociation
    message: Message
    workers: Workers
    conversions: Workers
    """Threads of their own: what is converted keeps none of the others waiting."""
    aet: str
    storage: frozenset[Uid]
    """The Storage SOP classes of this archive."""
    outbound: Outbound

    @property
    def transfer_syntax(self) -> Uid:
        """The transfer syntax of the context in which it was asked."""
        return self.message.context.transfer_syntax

    @property
    def data(self) -> DataSetStream:
        """The request's data set; raises `BadMessage` where it came without one."""
        if self.message.data is None:
            raise BadMessage("the request came without its data set (PS3.7 9.3)")
        return self.message.data
