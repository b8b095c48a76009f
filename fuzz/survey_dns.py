"""A name server's answer, and what its operators publish as proof of control."""

from leadglass.survey import control, nameserver
from leadglass.survey.scope import ExposureLimit

_QUESTION = nameserver.txt("_leadglass-survey.a.example.")
_NAME = b"\x11_leadglass-survey\x01a\x07example\x00"
_HEAD = b"\0\1\x81\x80\0\1\0\1\0\0\0\0"


def target(data: bytes) -> None:
    """Read as an answer to either kind of question, and as published text; nothing but the very text is a proof."""
    expected = {"leadglass-survey-v1:count:2027-03-31:x": ExposureLimit.COUNT}
    for question in (_QUESTION, nameserver.ptr(_QUESTION[0])):
        for text in nameserver.read(data, question):
            assert len(text) <= len(data) * 64 + 1024
            assert control.proven([text], expected) is None or b":count:2027-03-31:x" in text
    assert control.proven(data.split(b"\n"), expected) is None or b":count:2027-03-31:x" in data


def seeds() -> list[bytes]:
    """A text, a name, an alias before a text, none, and a file."""
    text = b"\xc0\x0c\0\x10\0\1\0\0\0\x3c\0\x27\x26leadglass-survey-v1:count:2027-03-31:x"
    name = b"\xc0\x0c\0\x0c\0\1\0\0\0\x3c\0\x04\x01b\xc0\x1e"
    alias = b"\xc0\x0c\0\5\0\1\0\0\0\x3c\0\x04\x01c\xc0\x1e"
    return [
        _HEAD + _NAME + b"\0\x10\0\1" + text,
        _HEAD + _NAME + b"\0\x0c\0\1" + name,
        _HEAD[:7] + b"\2" + _HEAD[8:] + _NAME + b"\0\x10\0\1" + alias + b"\x01c\xc0\x1e" + text[2:],
        _HEAD[:3] + b"\x83\0\1\0\0\0\0\0\0" + _NAME + b"\0\x10\0\1",
        b"# proofs\nleadglass-survey-v1:count:2027-03-31:x\n",
    ]
