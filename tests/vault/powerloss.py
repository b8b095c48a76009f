"""What a disk may hold after a power cut: recorded system calls of a program, replayed up to any point with what was not synced in doubt.

The model. A file's bytes are certain up to its last fsync or fdatasync; of later writes any sectors (512 bytes) may be there, in any
combination, and a length that grew may show zeros. A folder's names are certain up to its last fsync; of later changes to names a prefix
is there, in the order in which they were made (a journaling file system keeps that order; ext4, XFS and btrfs do). A rename is one change.
This is harsher than ext4, whose fsync of a file makes earlier names durable as well.
"""

import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

CALLS: Final = "openat,lseek,write,pwrite64,ftruncate,fallocate,fsync,fdatasync,rename,unlink,mkdir,rmdir,close"
SECTOR: Final = 512
_LINE = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)(?:<[^>]*>)?(?: .*)?$")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"^(\d+)(?:<.*>)?$")


def strace_command(trace: Path, calls: str = CALLS) -> list[str]:
    """What to put in front of a program to record it."""
    return ["strace", "-f", "-qq", "-xx", "-s", "1000000", "-o", str(trace), "-e", f"trace={calls}"]


@dataclass
class _File:
    """A file's bytes as they surely are, and the writes that are still in doubt: offset and data, or a length."""

    certain: bytearray = field(default_factory=bytearray)
    doubtful: list[tuple[int, bytes] | int] = field(default_factory=list)

    def sync(self) -> None:
        self.certain = self.after(None)
        self.doubtful.clear()

    def after(self, chance: random.Random | None) -> bytearray:
        """The bytes with all that is in doubt, or with some of it."""
        out = bytearray(self.certain)
        keep = 1.0 if chance is None else chance.choice([0.0, 0.3, 0.7, 1.0])
        for change in self.doubtful:
            if isinstance(change, int):
                if chance is None or chance.random() < keep:
                    out = out[:change].ljust(change, b"\0")
                continue
            offset, data = change
            for at in range(0, len(data), SECTOR):
                if chance is None or chance.random() < keep:
                    end = offset + at + len(data[at : at + SECTOR])
                    out = out.ljust(end, b"\0")
                    out[offset + at : end] = data[at : at + SECTOR]
        return out


@dataclass
class _Change:
    """One change of names: the folders it touches, and what it does."""

    folders: frozenset[str]
    apply: tuple[str, str, object]


class Disk:
    """A folder's state while a trace is replayed."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._certain: dict[str, object] = {}
        self._changes: list[_Change] = []
        self._now: dict[str, object] = {}
        self._open: dict[int, tuple[str, object, int]] = {}
        self.calls = 0
        """How many calls so far had to do with the folder."""
        for path in sorted(root.rglob("*")):
            self._certain[str(path)] = "folder" if path.is_dir() else _File(bytearray(path.read_bytes()))
        self._certain[self._root] = "folder"
        self._now = dict(self._certain)

    def play(self, line: str) -> bytes | None:
        """Take one line of a trace; gives back what was written elsewhere than in the folder, such as an acknowledgment."""
        match = _LINE.match(line)
        if match is None or int(match[3]) < 0:
            return None
        name, arguments, result = match[1], match[2], int(match[3])
        strings = [bytes.fromhex(text.replace("\\x", "")).decode("utf-8", "surrogateescape") for text in _STRING.findall(arguments)]
        if name in {"openat", "rename", "unlink", "mkdir", "rmdir"}:
            self._names(name, strings, arguments, result)
            return None
        return self._data(name, arguments, result)

    def _names(self, name: str, paths: list[str], arguments: str, result: int) -> None:
        path = paths[0] if paths else ""
        if not path.startswith(self._root):
            if name == "openat":
                self._open[result] = (path, None, 0)
            return
        self.calls += 1
        if name == "openat":
            self._opened(path, arguments, result)
        elif name == "rename":
            self._change("move", path, paths[1])
        elif name in {"unlink", "rmdir"}:
            self._change("drop", path, None)
        else:
            self._change("put", path, "folder")

    def _opened(self, path: str, arguments: str, descriptor: int) -> None:
        if path not in self._now:
            if "O_CREAT" not in arguments:
                return
            self._change("put", path, _File())
        content = self._now[path]
        if "O_TRUNC" in arguments and isinstance(content, _File):
            content.doubtful.append(0)
        at = len(content.after(None)) if "O_APPEND" in arguments and isinstance(content, _File) else 0
        self._open[descriptor] = (path, content, at)

    def _data(self, name: str, arguments: str, result: int) -> bytes | None:
        first, *rest = arguments.split(", ")
        match = _DESCRIPTOR.match(first)
        path, content, at = self._open.get(int(match[1]) if match else -1, ("", None, 0))
        self.calls += content is not None
        if name == "close" and match:
            self._open.pop(int(match[1]), None)
        if name in {"write", "pwrite64"}:
            data = b"".join(bytes.fromhex(text.replace("\\x", "")) for text in _STRING.findall(arguments))[:result]
            if not isinstance(content, _File):
                return data
            offset = int(rest[-1]) if name == "pwrite64" else at
            content.doubtful.append((offset, data))
            if name == "write" and match:
                self._open[int(match[1])] = (path, content, at + result)
        elif name == "lseek" and match:
            self._open[int(match[1])] = (path, content, result)
        elif name == "ftruncate" and isinstance(content, _File):
            content.doubtful.append(int(rest[-1]))
        elif name == "fallocate" and isinstance(content, _File):
            offset, length = int(rest[-2]), int(rest[-1])
            # Zeros behind the end; what is there already stays.
            content.doubtful.append(max(offset + length, len(content.after(None))))
        elif name in {"fsync", "fdatasync"}:
            if isinstance(content, _File):
                content.sync()
            elif content == "folder":
                self._sync_names(path)
        return None

    def _change(self, kind: str, path: str, what: object) -> None:
        folders = {path.rpartition("/")[0]} | ({str(what).rpartition("/")[0]} if kind == "move" else set())
        change = _Change(frozenset(folders), (kind, path, what))
        self._changes.append(change)
        _apply(self._now, change)

    def _sync_names(self, folder: str) -> None:
        """All changes that touch the folder become certain, and with them, in a journal, those made before."""
        last = max((number for number, change in enumerate(self._changes) if folder in change.folders), default=-1)
        for change in self._changes[: last + 1]:
            _apply(self._certain, change)
        del self._changes[: last + 1]

    def cut(self, target: Path, chance: random.Random) -> None:
        """Write to `target` what may be left if the power fails now."""
        names = dict(self._certain)
        for change in self._changes[: chance.randint(0, len(self._changes))]:
            _apply(names, change)
        for path, content in sorted(names.items()):
            place = target / Path(path).relative_to(self._root)
            if isinstance(content, _File):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content.after(chance))
            else:
                place.mkdir(parents=True, exist_ok=True)


def _apply(names: dict[str, object], change: _Change) -> None:
    kind, path, what = change.apply
    if kind == "put":
        names[path] = what
    elif kind == "drop":
        names.pop(path, None)
    elif path in names:
        names[str(what)] = names.pop(path)
