"""Questions to the host's own name server: messages by dnspython, over one TCP connection of the dialer's (RFC 7766).

TCP, since nobody off the path can answer there, and since its messages are bounded by their length field (RFC 1035 4.2.2).
"""

import asyncio
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.PTR
import dns.rdtypes.ANY.TXT

from leadglass.survey.addresses import IpAddress
from leadglass.survey.dialer import Dialer, NoConnection

MAX_IN_FLIGHT = 100
"""Questions sent before the first answer has come (RFC 7766 6.2.1.1)."""

MAX_RECORDS = 32
"""Of one answer; more are not looked at."""

Question: TypeAlias = tuple[str, dns.rdatatype.RdataType]
Answers: TypeAlias = Mapping[Question, Sequence[bytes]]


def txt(name: str) -> Question:
    """The question for the texts at `name`."""
    return name, dns.rdatatype.TXT


def ptr(name: str) -> Question:
    """The question for the names at `name`."""
    return name, dns.rdatatype.PTR


async def ask(dialer: Dialer, server: tuple[IpAddress, int], questions: Sequence[Question], timeout: float) -> Answers:
    """What each name has, as bytes of text; a question that was not answered is left out.

    `timeout`: seconds without any answer after which the server is given up. A server that closes after some answers is asked again
    for the others.
    """
    answers: dict[Question, Sequence[bytes]] = {}
    left = list(dict.fromkeys(questions))
    while left:
        got = await _ask_some(dialer, server, left[:MAX_IN_FLIGHT], timeout)
        if not got:
            break
        answers |= got
        left = [each for each in left if each not in answers]
    return answers


async def _ask_some(dialer: Dialer, server: tuple[IpAddress, int], questions: Sequence[Question], timeout: float) -> Answers:
    answers: dict[Question, Sequence[bytes]] = {}
    async with dialer.connection(*server) as link:
        if isinstance(link, NoConnection):
            return answers
        sent = dict(enumerate(questions, 1))
        try:
            async with asyncio.timeout(timeout):
                await asyncio.get_running_loop().sock_sendall(link, b"".join(_framed(number, each) for number, each in sent.items()))
            while sent:
                async with asyncio.timeout(timeout):
                    raw = await _message(link)
                number = int.from_bytes(raw[:2], "big")
                if number not in sent:
                    break
                answers[sent.pop(number)] = read(raw, questions[number - 1])
        except (TimeoutError, OSError, EOFError):
            pass
    return answers


def _framed(number: int, question: Question) -> bytes:
    message = dns.message.make_query(*question, use_edns=False, id=number)
    raw = message.to_wire()
    return len(raw).to_bytes(2, "big") + raw


async def _message(link: socket.socket) -> bytes:
    return await _exactly(link, int.from_bytes(await _exactly(link, 2), "big"))


async def _exactly(link: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        more = await asyncio.get_running_loop().sock_recv(link, length - len(data))
        if not more:
            raise EOFError
        data += more
    return bytes(data)


def read(raw: bytes, question: Question) -> Sequence[bytes]:
    """The values in an answer to `question`; none where it is not one, or says that there are none."""
    try:
        message = dns.message.from_wire(raw, ignore_trailing=True)
        asked = [(each.name, each.rdtype) for each in message.question]
        if asked != [(dns.name.from_text(question[0]), question[1])] or message.rcode() is not dns.rcode.NOERROR:
            return ()
        if not isinstance(message, dns.message.QueryMessage):
            return ()
        found = message.resolve_chaining().answer
    except (dns.exception.DNSException, ValueError, IndexError):
        return ()
    return tuple(text for _, text in zip(range(MAX_RECORDS), _texts(found or ()), strict=False))


def _texts(records: object) -> Iterator[bytes]:
    for record in records:  # type: ignore[attr-defined]
        if isinstance(record, dns.rdtypes.ANY.TXT.TXT):
            yield b"".join(record.strings)
        elif isinstance(record, dns.rdtypes.ANY.PTR.PTR):
            yield record.target.to_text().encode()
