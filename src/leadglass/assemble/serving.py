"""Serving an archive: its doors in one event loop, opened together and closed in order."""

import asyncio
import logging
import os
import signal
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from starlette.types import ASGIApp, Receive, Scope, Send

from leadglass import logs
from leadglass.access.identity import LocalUser
from leadglass.assemble.allocator import keep_buffers
from leadglass.assemble.opening import Opened, opened
from leadglass.config import Address, Settings, parse_address
from leadglass.errors import LeadglassError, Refused
from leadglass.home import Home
from leadglass.net import tls
from leadglass.net.limits import Limits, open_all_descriptors
from leadglass.net.workers import Workers
from leadglass.vocabulary import Door
from leadglass.wire.control.server import ControlServer
from leadglass.wire.dicomweb.app import ROOT, create_app
from leadglass.wire.dicomweb.server import WebServer
from leadglass.wire.dimse import trying
from leadglass.wire.dimse.commitment import Commitments
from leadglass.wire.dimse.door import DimseDoor
from leadglass.wire.dimse.outbound import Outbound
from leadglass.wire.pages.app import create_pages
from leadglass.wire.pages.visit import DicomDoor

WORKERS = 8
"""Threads of the archive for the DIMSE doors: more than cores, because they wait for the disk."""
CONVERSIONS = 8
"""Threads that wait for pixels to be decoded, half a minute for a large object: stores and finds never wait for one of them."""
TICK_SECONDS = 60


@dataclass(frozen=True)
class Listening:
    """Where the doors are."""

    dimse: Address
    web: Address
    plaintext: Address | None

    def line(self) -> str:
        """The one line that `serve` prints when every door accepts."""
        plaintext = f" dimse-plaintext={self.plaintext}" if self.plaintext is not None else ""
        return f"ready dimse={self.dimse} web=https://{self.web}{plaintext}"


@dataclass(frozen=True)
class Doors:
    """The addresses that were asked for on the command line; None leaves what leadglass.toml says."""

    dimse: str | None = None
    web: str | None = None
    unsafe_plaintext: str | None = None


def serve(home: Home, doors: Doors, ready: Callable[[Listening], None]) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is called when all doors accept.

    Raises what `opened` raises, and `Refused` when an address cannot be listened at.
    """
    logs.to_stderr()
    open_all_descriptors()
    keep_buffers()
    for listen in (doors.dimse, doors.web, doors.unsafe_plaintext):
        if listen is not None:
            # Refused before the archive is opened and its trail says that it was.
            parse_address(listen)
    with opened(home, deny_all=True) as archive:
        for weakness in archive.settings.weakened():
            logs.event(logging.WARNING, f"unsafe setting: {weakness}")
        if doors.unsafe_plaintext is not None:
            logs.event(logging.WARNING, "unsafe setting: --unsafe-dimse-plaintext: what its peers send crosses the network unencrypted")
        if count := archive.archive.open_conflicts():
            logs.event(logging.WARNING, f"{count} conflicts are open: `leadglass conflicts list` shows them")
        _renew_if_due(archive)
        archive.archive.started()
        try:
            asyncio.run(_serve(home, archive, doors, ready))
        finally:
            archive.archive.stopped()


def _renew_if_due(archive: Opened) -> bool:
    """Renew the server's certificate when it ends within a month; gives whether it was."""
    session = archive.archive.enter(Door.CONTROL, LocalUser(os.geteuid()), f"uid:{os.geteuid()}")
    return session.administration.renew_server_certificate_if_due(archive.settings.archive.hostnames)


def limits_of(settings: Settings) -> Limits:
    """The limits of a DIMSE door by its settings."""
    return Limits(
        max_associations=settings.dimse.max_associations,
        max_associations_per_address=settings.dimse.max_associations_per_address,
        max_associations_per_peer=settings.dimse.max_associations_per_peer,
        max_connections=settings.dimse.max_connections,
        max_connections_per_address=settings.dimse.max_connections_per_address,
        handshake_seconds=settings.dimse.handshake_timeout_seconds,
        idle_seconds=settings.dimse.idle_timeout_seconds,
        artim_seconds=settings.dimse.artim_timeout_seconds,
    )


async def _serve(home: Home, archive: Opened, doors: Doors, ready: Callable[[Listening], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    settings = archive.settings
    identity = tls.Identity(
        archive.authority.server_certificate,
        archive.authority.server_key,
        archive.authority.server_key_password.reveal_bytes(),
    )
    async with AsyncExitStack() as undo:
        workers = Workers(WORKERS)
        undo.callback(workers.close)
        conversions = Workers(CONVERSIONS)
        undo.callback(conversions.close)
        context = tls.LiveContext(identity, archive.trusted_clients)
        storage = archive.storage
        calling = tls.unsafe_unless_proven(identity)
        outbound = Outbound(calling, limits_of(settings), archive.archive.destination)
        commitments = Commitments(archive.archive, workers, outbound)
        undo.push_async_callback(commitments.close)
        opening = partial(
            DimseDoor, archive.archive, workers, conversions, outbound, commitments, limits=limits_of(settings), storage=storage
        )
        door = opening(tls=context.current)
        dimse = await _open(undo, door, doors.dimse or settings.dimse.listen)
        open_doors = [door]
        plaintext = None
        if (listen := doors.unsafe_plaintext or settings.dimse.unsafe_plaintext_listen) is not None:
            door = opening(tls=None)
            plaintext = await _open(undo, door, listen)
            open_doors.append(door)

        changed = asyncio.Event()
        undo.callback(archive.archive.on_change(lambda: _wake(loop, changed)))
        following = loop.create_task(_follow_changes(changed, context, open_doors, outbound))
        undo.callback(following.cancel)
        web_at = parse_address(doors.web or settings.web.listen)
        echo = partial(trying.echo, outbound, settings.archive.aet)
        dicom = DicomDoor(tuple(settings.archive.hostnames), dimse.port, plaintext.port if plaintext else None, echo)
        dicomweb, pages = create_app(archive.archive, settings.web), create_pages(archive.archive, dicom)
        undo.callback(dicomweb.close)
        undo.callback(pages.close)
        web_context = tls.server_context(identity, trusted_clients=None)
        web = WebServer(_by_path(dicomweb, pages), web_context)
        with _listening_at(web_at):
            web_port = await web.start(web_at.host, web_at.port)
        undo.push_async_callback(web.stop)
        control = ControlServer(archive.archive, home.control_socket)
        control.start()
        undo.callback(control.stop)
        ticking = loop.create_task(_tick(archive, workers, identity, (web_context, calling), context, open_doors, outbound))
        undo.callback(ticking.cancel)
        commitments.start()
        ready(Listening(dimse, Address(host=web_at.host, port=web_port), plaintext))
        await stop.wait()


def _by_path(dicomweb: ASGIApp, pages: ASGIApp) -> ASGIApp:
    """Two doors at one address, parted by the path; neither is shown what came for the other."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        await (dicomweb if path == ROOT or path.startswith(f"{ROOT}/") else pages)(scope, receive, send)

    return answer


@contextmanager
def _listening_at(address: Address) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = f"it cannot be listened at ({os.strerror(error.errno) if error.errno else 'no such address'})"
        raise Refused(f"{address}: {why}; end what listens there, or name another in leadglass.toml or on the command line") from None


async def _open(undo: AsyncExitStack, door: DimseDoor, listen: str) -> Address:
    at = parse_address(listen)
    with _listening_at(at):
        host, port = await door.open(at.host, at.port)
    undo.push_async_callback(door.close)
    return Address(host=host, port=port)


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    loop.call_soon_threadsafe(event.set)


async def _follow_changes(changed: asyncio.Event, context: tls.LiveContext, doors: list[DimseDoor], outbound: Outbound) -> None:
    """Trust the certificates and CAs that are a peer's now and no others, and cut whoever is no longer a peer, as the registry changes."""
    while True:
        await changed.wait()
        changed.clear()
        outbound.cut_outdated()
        # One failure must not end the following: a later revocation would cut nobody.
        try:
            if context.follow():
                _use(context, doors)
        except OSError as error:
            logs.fault("certificates that were handed in are not trusted yet", error)
        for door in doors:
            await door.cut_outdated()


def _use(context: tls.LiveContext, doors: list[DimseDoor]) -> None:
    for door in doors:
        door.use(context.current)


async def _tick(
    archive: Opened,
    workers: Workers,
    identity: tls.Identity,
    ours: Iterable[ssl.SSLContext],
    context: tls.LiveContext,
    doors: list[DimseDoor],
    outbound: Outbound,
) -> None:
    """Once a minute: what is counted goes into the trail, our certificate is replaced before it ends, whose time ended is cut."""
    while True:
        await asyncio.sleep(TICK_SECONDS)
        try:
            await workers.run(archive.archive.tick)
            if await workers.run(lambda: _renew_if_due(archive)):
                for each in ours:
                    tls.load(each, identity)
                context.renew()
                _use(context, doors)
            outbound.cut_outdated()
            for door in doors:
                await door.cut_outdated()
        except (LeadglassError, OSError) as error:
            logs.fault("tick", error)
