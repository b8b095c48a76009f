"""Closing the decoding process in, from inside and for good: what it has opened it keeps, everything else is gone.

Four walls, each enough against what is named beside it:

- limits (setrlimit): memory, CPU time of its life, no file longer than nothing, no further descriptor, no process, no core dump;
- no new privileges, and not dumpable: no setuid program, no process of the same user may look into it;
- Landlock, where the kernel has it: no file is opened, no TCP port bound or connected, nothing signalled;
- seccomp: reading from descriptor 0, writing to 1, taking and giving back memory that cannot be executed, and ending. What libraries
  try out of curiosity (opening, asking for the number of cores) fails; any other system call ends the process.

Seccomp needs to know the machine's numbers of system calls: where it does not, `close_in` says so and the archive decodes nothing.
"""

import ctypes
import errno
import os
import platform
import resource
import struct
from pathlib import Path
from typing import Final, NamedTuple

from leadglass.pixels.protocol import Protection

CPU_SECONDS: Final = 1800
"""Of a worker's whole life; the archive ends it long before (`pool.LIFE_SECONDS`). It matters when the archive itself was killed."""

_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # alike on every architecture
_LANDLOCK_VERSION = 1
_FILE_ACCESSES: Final = {1: 13, 2: 14, 3: 15, 4: 15}  # by ABI, how many kinds of access it knows; 16 from 5 on

_LOAD, _IF_EQUAL, _IF_ANY, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _FAIL, _KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_PROT_EXEC, _MAP_ANONYMOUS = 4, 0x20


class _Machine(NamedTuple):
    """The numbers of system calls (arch/*/syscall tables of Linux)."""

    audit_arch: int
    read: int
    write: int
    mmap: int
    mprotect: int
    free: tuple[int, ...]
    """munmap, brk, mremap, madvise, rt_sigaction, rt_sigprocmask, rt_sigreturn, futex, clock_gettime, gettimeofday, sched_yield, getpid,
    gettid, exit, exit_group, restart_syscall, getrandom."""
    fails: tuple[int, ...]
    """openat, newfstatat, fstat, statx, readlinkat, faccessat, getdents64, lseek, ioctl, sched_getaffinity, sysinfo, uname, prlimit64,
    getcwd, close, clone, clone3; and, where there are such, open, stat, lstat, access, readlink, getrlimit."""


_MACHINES: Final = {
    "x86_64": _Machine(
        0xC000003E, 0, 1, 9, 10,
        (11, 12, 25, 28, 13, 14, 15, 202, 228, 96, 24, 39, 186, 60, 231, 219, 318),
        (257, 262, 5, 332, 267, 269, 217, 8, 16, 204, 99, 63, 302, 79, 3, 56, 435, 2, 4, 6, 21, 89, 97),
    ),
    "aarch64": _Machine(
        0xC00000B7, 63, 64, 222, 226,
        (215, 214, 216, 233, 134, 135, 139, 98, 113, 169, 124, 172, 178, 93, 94, 128, 278),
        (56, 79, 80, 291, 78, 48, 61, 62, 29, 123, 179, 160, 261, 17, 57, 220, 435),
    ),
}  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def close_in(memory_bytes: int) -> Protection:
    """Put up every wall that this machine has; from now on `memory_bytes` more than now can be taken. Gives which walls stand."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    standing = Protection.LIMITS
    ruleset = _landlock_ruleset(libc)
    _limit(memory_bytes)
    _require(libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))
    _require(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if ruleset is not None:
        _require(libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0))
        os.close(ruleset)
        standing |= Protection.LANDLOCK
    machine = _MACHINES.get(platform.machine())
    if machine is not None:
        code = system_call_filter(machine)
        program = _Program(len(code) // 8, code)
        _require(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0))
        standing |= Protection.SECCOMP
    return standing


def _limit(memory_bytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    for kind, most in (
        (resource.RLIMIT_AS, pages * resource.getpagesize() + memory_bytes),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_NOFILE, 3),
    ):
        resource.setrlimit(kind, (most, most))


def _landlock_ruleset(libc: ctypes.CDLL) -> int | None:
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)
    if version < 1:
        return None
    # Handled and not allowed by any rule: every kind of access to files, then TCP, then abstract sockets and signals.
    handled = struct.pack("<QQQ", (1 << _FILE_ACCESSES.get(version, 16)) - 1, 3, 3)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset: int = libc.syscall(_LANDLOCK_CREATE_RULESET, handled, size, 0)
    return None if ruleset < 0 else ruleset


def system_call_filter(machine: _Machine) -> bytes:
    """The seccomp program, in the classic BPF of `struct sock_filter`."""
    program = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_IF_EQUAL, machine.audit_arch, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
    ]
    for numbers, end in ((machine.free, _ALLOW), (machine.fails, _FAIL)):
        for number in numbers:
            program += [_step(_IF_EQUAL, number, 0, 1), _step(_RETURN, end)]
    for number, descriptor in ((machine.read, 0), (machine.write, 1)):
        program += [
            _step(_IF_EQUAL, number, 0, 4),
            _step(_LOAD, _ARGUMENTS),
            _step(_IF_EQUAL, descriptor, 0, 1),
            _step(_RETURN, _ALLOW),
            _step(_RETURN, _KILL),
        ]
    program += [
        _step(_IF_EQUAL, machine.mprotect, 0, 4),
        _step(_LOAD, _ARGUMENTS + 2 * 8),
        _step(_IF_ANY, _PROT_EXEC, 1, 0),
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _KILL),
        _step(_IF_EQUAL, machine.mmap, 0, 5),
        _step(_LOAD, _ARGUMENTS + 2 * 8),
        _step(_IF_ANY, _PROT_EXEC, 3, 0),
        _step(_LOAD, _ARGUMENTS + 3 * 8),
        _step(_IF_ANY, _MAP_ANONYMOUS, 0, 1),
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _KILL),
    ]
    return b"".join(program)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _require(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
