"""What a server answers in clear to a TLS greeting."""

from leadglass.survey.greeting import EVERY, client_hello, read_answer, weakness_of
from leadglass.survey.observations import TlsVersion

_HELLO = bytes([3, 1]) + bytes(32) + b"\0" + bytes([0, 0x2F]) + b"\0"
_CERTIFICATE = bytes([0, 0, 7, 0, 0, 4]) + b"0\x82\0\0"


def _record(kind: int, payload: bytes) -> bytes:
    return bytes([kind, 3, 1]) + len(payload).to_bytes(2, "big") + payload


def _message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def target(data: bytes) -> None:
    """Read as records, and as what one record holds; what was understood once stays so when more comes."""
    for raw in (data, _record(22, data[:16_000])):
        answer = read_answer(raw)
        half = read_answer(raw[: len(raw) // 2])
        if half.version is not None:
            assert (answer.version, answer.suite) == (half.version, half.suite)
        if answer.suite is not None:
            weakness_of(answer.suite)


def seeds() -> list[bytes]:
    """A whole answer, an alert, our own greeting sent back."""
    said = _message(2, _HELLO) + _message(11, _CERTIFICATE) + _message(13, b"\1\1\0\0") + _message(14, b"")
    return [_record(22, said), _record(21, b"\2\x28"), client_hello(TlsVersion.TLS_1_2, EVERY, bytes(32), "pacs.example"), said]
