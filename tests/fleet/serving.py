"""A process of a fleet: it reads its archives as JSON in one line, says `ready`, and serves until it is ended or its input is."""

import asyncio
import json
import resource
import socket
import sys
from contextlib import AsyncExitStack
from functools import partial

from tests.fleet import Archive, Behaviour, Orthanc
from tests.fleet.dimse import Speaker
from tests.fleet.web import WebSpeaker


def dead(archive: Archive, held: list[socket.socket]) -> None:
    """A listener whose queue is full: the system drops what else knocks, as a wall does."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((archive.address, archive.port))
    listener.listen(0)
    filling = socket.create_connection((archive.address, archive.port))
    held += [listener, filling]


async def serve(archives: list[Archive], delay: float) -> None:
    """Listen at every address, until the input ends."""
    loop = asyncio.get_running_loop()
    held: list[socket.socket] = []
    async with AsyncExitStack() as stack:
        for number, archive in enumerate(archives, 1):
            if archive.behaviour is Behaviour.DEAD:
                dead(archive, held)
            elif archive.behaviour is not Behaviour.CLOSED:
                speaker = partial(Speaker, archive, number, delay)
                await stack.enter_async_context(await loop.create_server(speaker, archive.address, archive.port, backlog=8))
            if (web := archive.web) is not None:
                server = await loop.create_server(partial(WebSpeaker, web, delay), archive.address, web.port, backlog=8)
                await stack.enter_async_context(server)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        ended = asyncio.Event()
        loop.add_reader(sys.stdin, ended.set)
        await ended.wait()
    for each in held:
        each.close()


def main() -> None:
    """Read, listen, say so."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    orders = json.loads(sys.stdin.buffer.readline())
    archives = []
    for each in orders["archives"]:
        web = Orthanc(**each.pop("web")) if each["web"] else each.pop("web")
        archives.append(Archive(**each | {"behaviour": Behaviour(each["behaviour"]), "rejection": tuple(each["rejection"]), "web": web}))
    asyncio.run(serve(archives, orders["delay"]))


if __name__ == "__main__":
    main()
