"""A worker whose decoder has been taken over: `hostile_worker.py ATTACK [unprotected]` attacks instead of decoding.

It is closed in as the real one is, unless told otherwise: then the attack must succeed, which shows that the test can fail.
"""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys

from leadglass.pixels import sandbox, worker
from leadglass.pixels.protocol import Frame, Protection

TARGET = "/tmp/leadglass-hostile-worker"
DONE = b"\x2a"


def open_socket() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()


def write_file() -> None:
    with open(TARGET, "wb"):  # noqa: PTH123
        pass
    os.unlink(TARGET)  # noqa: PTH108


def read_passwd() -> None:
    with open("/etc/passwd", "rb") as file:  # noqa: PTH123
        file.read(1)


def read_home() -> None:
    os.listdir(os.path.expanduser("~root"))  # noqa: PTH111, PTH208


def execute() -> None:
    subprocess.run(["/bin/true"], check=True)


def fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def take_memory() -> None:
    len(bytearray(10 * 1024**3))


def kill_the_parent() -> None:
    os.kill(os.getppid(), 0)


def trace_the_parent() -> None:
    with open(f"/proc/{os.getppid()}/mem", "rb"):  # noqa: PTH123
        pass


def make_memory_executable() -> None:
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    if libc.mmap(None, 4096, 7, 0x22, -1, 0) in {None, ctypes.c_void_p(-1).value}:
        raise OSError


def raise_its_limits() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))


def loop() -> None:
    while True:
        pass


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def babble() -> None:
    os.write(1, b"x" * 100_000)


def too_much() -> None:
    """More pixels than asked for."""


ATTACKS = {
    attack.__name__: attack
    for attack in (
        open_socket,
        write_file,
        read_passwd,
        read_home,
        execute,
        fork,
        take_memory,
        kill_the_parent,
        trace_the_parent,
        make_memory_executable,
        raise_its_limits,
        loop,
        crash,
        babble,
        too_much,
    )
}


def main() -> None:
    attack = ATTACKS[sys.argv[1]]

    def decode(frame: Frame, data: bytes) -> bytes:
        if data == b"behave":
            return bytes(frame.size)
        attack()
        return DONE * (frame.size + (attack is too_much))

    protected = "unprotected" not in sys.argv
    walls = sandbox.close_in(256 * 1024 * 1024) if protected else Protection.SECCOMP
    worker.serve(decode, walls, 1 << 20, mismatch=ZeroDivisionError)


if __name__ == "__main__":
    main()
