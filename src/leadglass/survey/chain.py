"""Lines that hold together: each ends in a code over itself and every line before it, so that none is changed, lost or moved unnoticed.

It is for accidents (a disk, an editor, a copy that went wrong), not against somebody: who can write the file can make the codes anew.
"""

import hashlib
import re

_END = re.compile(rb',"chain":"([0-9a-f]{32})"\}')
_END_BYTES = len(b',"chain":"') + 32 + len(b'"}')


class Chain:
    """The code so far.

    >>> one, other = Chain(), Chain()
    >>> line = one.link(b'{"a":1}')
    >>> line
    b'{"a":1,"chain":"015abd7f5cc57a2dd94b7590f04ad808"}'
    >>> other.check(line)
    b'{"a":1}'
    """

    def __init__(self) -> None:
        self._code = b""

    def link(self, line: bytes) -> bytes:
        """The next line, a JSON object that is not empty, with its code as its last key."""
        self._code = self._after(line)
        return b'%s,"chain":"%s"}' % (line[:-1], self._code)

    def check(self, line: bytes) -> bytes:
        """The next line without its code; raises `ValueError` where it is not the line that followed."""
        found = _END.fullmatch(line, max(0, len(line) - _END_BYTES))
        if found is None:
            raise ValueError("a line without its code")
        bare = line[: found.start()] + b"}"
        if found[1] != self._after(bare):
            raise ValueError("not the line that followed")
        self._code = found[1]
        return bare

    def _after(self, line: bytes) -> bytes:
        return hashlib.sha256(self._code + line).hexdigest()[:32].encode()
