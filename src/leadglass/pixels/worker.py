"""The decoding process: `python -I -m leadglass.pixels.worker FRAME_BYTES MEMORY_BYTES`.

Requests come on standard input, answers go to standard output. It holds no key and no descriptor but its two pipes, and closes itself in
before it reads its first byte (`sandbox`).
"""

import sys
from collections.abc import Callable
from typing import BinaryIO

from leadglass.pixels import sandbox
from leadglass.pixels.codestream import Malformed, Unsupported
from leadglass.pixels.protocol import ANSWER, ANSWER_MAGIC, GREETING, REQUEST, Frame, Outcome, Protection, unpack_request

Decode = Callable[[Frame, bytes], bytes]


def main() -> None:
    """Load the decoders, close the doors, serve until the archive hangs up."""
    from leadglass.pixels import codecs  # noqa: PLC0415 - tests serve with other decoders, and without these

    frame_bytes, memory_bytes = map(int, sys.argv[1:3])
    codecs.warm()
    serve(codecs.decode, sandbox.close_in(memory_bytes), frame_bytes, mismatch=codecs.Mismatch)


def serve(decode: Decode, protections: Protection, frame_bytes: int, *, mismatch: type[Exception]) -> None:
    """Answer requests with `decode` until standard input ends."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sink.write(GREETING + bytes([protections]))
    sink.flush()
    while header := source.read(REQUEST.size):
        try:
            frame, length = unpack_request(header)
        except Exception:  # noqa: BLE001 - whatever it is, the two sides no longer understand each other
            return
        _answer(sink, *_decode(decode, frame, source.read(length), frame_bytes, mismatch))


def _decode(decode: Decode, frame: Frame, data: bytes, frame_bytes: int, mismatch: type[Exception]) -> tuple[Outcome, bytes]:
    if frame.size > frame_bytes:
        return Outcome.TOO_LARGE, b""
    try:
        pixels = decode(frame, data)
    except mismatch:
        return Outcome.MISMATCH, b""
    except Unsupported:
        return Outcome.UNSUPPORTED, b""
    except MemoryError:
        return Outcome.TOO_LARGE, b""
    except Malformed:
        return Outcome.DAMAGED, b""
    except Exception:  # noqa: BLE001 - decoders raise what they like; no text of theirs leaves
        return Outcome.DAMAGED, b""
    return (Outcome.DECODED, pixels) if len(pixels) == frame.size else (Outcome.MISMATCH, b"")


def _answer(sink: BinaryIO, outcome: Outcome, pixels: bytes) -> None:
    sink.write(ANSWER.pack(ANSWER_MAGIC, outcome, len(pixels)))
    sink.write(pixels)
    sink.flush()


if __name__ == "__main__":
    main()
