"""A name server on loopback that answers over TCP from a table."""

import contextlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.survey.servers import talking


@dataclass
class Records:
    """What is published, by (name, type), and what has been asked."""

    published: Mapping[tuple[str, str], Sequence[str]]
    closes_after: int = 1000
    """Answers on one connection."""
    asked: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, link: socket.socket) -> None:
        for _ in range(self.closes_after):
            link.sendall(_framed(self.reply(_read(link, int.from_bytes(_read(link, 2), "big")))))

    def reply(self, raw: bytes) -> bytes:
        query = dns.message.from_wire(raw)
        (question,) = query.question
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        response = dns.message.make_response(query)
        if alias := self.published.get((name, "CNAME")):
            response.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", *alias))
            name = alias[0]
        if found := self.published.get((name, kind)):
            response.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *found))
        if not response.answer:
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()


@contextlib.contextmanager
def name_server(records: Records) -> Iterator[tuple[IPv4Address, int]]:
    """Its address and port."""
    with talking(records.answer, "127.0.53.53") as listener:
        address = ip_address(listener.host)
        assert isinstance(address, IPv4Address)
        yield address, listener.port


def _read(link: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = link.recv(length - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


def _framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message
