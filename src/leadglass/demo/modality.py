"""The demo's modality: sends objects by C-STORE, each in the transfer syntax in which it is."""

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from leadglass.demo.images import Image
from leadglass.dicom.contexts import propose
from leadglass.dicom.status import StatusKind, kind_of
from leadglass.net.requestor import connect, tcp

MAX_CONTEXTS = 128


@dataclass(frozen=True)
class Destination:
    """An application entity to send to; plain where `tls` is None."""

    host: str
    port: int
    aet: str
    tls: ssl.SSLContext | None = None


async def send(images: Sequence[Image], calling: str, to: Destination, on_sent: Callable[[], None]) -> int:
    """Send `images`, as many associations as the contexts need; gives how many were accepted."""
    kinds = sorted({(image.sop_class, image.transfer_syntax) for image in images})
    accepted = 0
    for start in range(0, len(kinds), MAX_CONTEXTS):
        some = kinds[start : start + MAX_CONTEXTS]
        request = propose(calling, to.aet, [(sop_class, [transfer_syntax]) for sop_class, transfer_syntax in some])
        async with connect(tcp(to.host, to.port, tls=to.tls, server_name="localhost" if to.tls else None), request) as association:
            for image in images:
                if (image.sop_class, image.transfer_syntax) not in some:
                    continue
                context = next(
                    (each for each in association.contexts_for(image.sop_class) if each.transfer_syntax == image.transfer_syntax), None
                )
                if context is not None:
                    response = await association.store(context, image.sop_instance, image.data_set)
                    accepted += kind_of(response.status) in {StatusKind.SUCCESS, StatusKind.WARNING}
                on_sent()
    return accepted
