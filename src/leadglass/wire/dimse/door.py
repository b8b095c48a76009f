"""The DIMSE door: who may associate, for which contexts, and which service answers which message."""

import asyncio
import ssl
from functools import partial

from leadglass import logs
from leadglass.access.identity import BearerToken, Credentials, PeerCertificate, PlaintextPeer, UserToken
from leadglass.archive.archive import Archive, Session
from leadglass.dicom import sopclasses
from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, Negotiated, Offer, negotiate
from leadglass.dicom.dimse import ActionRequest, EchoRequest, FindRequest, GetRequest, MoveRequest, StoreRequest
from leadglass.dicom.pdu import AssociateRequest, ContextOutcome
from leadglass.dicom.status import Status
from leadglass.dicom.uid import Uid
from leadglass.dicom.user_information import IdentityKind, UserIdentity
from leadglass.errors import BadInput, LeadglassError, NotIdentified, UserNotIdentified
from leadglass.net.acceptor import Accept, Acceptor, PeerInfo, Reject, ServerAssociation, serve
from leadglass.net.limits import Limits
from leadglass.net.streams import Message
from leadglass.net.workers import Workers
from leadglass.vocabulary import Action, Door, Refusal
from leadglass.wire.dimse import echo, find, get, move, store
from leadglass.wire.dimse.call import Call
from leadglass.wire.dimse.commitment import Commitments
from leadglass.wire.dimse.outbound import Outbound
from leadglass.wire.dimse.statuses import status_of

_QUERY_SYNTAXES = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)
_OURS = sopclasses.FIND | sopclasses.GET | sopclasses.MOVE | {sopclasses.VERIFICATION, sopclasses.STORAGE_COMMITMENT}
"""The SOP classes of the services that we have beside storage, for whoever may use them."""

IDENTIFYING = 2
"""Threads that say who somebody is, and whether he still is: no service can take them, so that whoever is revoked is out at once."""


async def _serve_call(call: Call, commitments: Commitments) -> bool:
    """The table of services: a command, in a context of its own SOP classes; gives whether there is one."""
    match call.message.command:
        case EchoRequest() as command if command.sop_class == sopclasses.VERIFICATION:
            await echo.serve(call, command)
        case StoreRequest() as command if command.sop_class in call.storage:
            await store.serve(call, command)
        case FindRequest() as command if command.sop_class in sopclasses.FIND:
            await find.serve(call, command)
        case GetRequest() as command if command.sop_class in sopclasses.GET:
            await get.serve(call, command)
        case MoveRequest() as command if command.sop_class in sopclasses.MOVE:
            await move.serve(call, command)
        case ActionRequest() as command if command.sop_class == sopclasses.STORAGE_COMMITMENT:
            await commitments.serve(call, command)
        case _:
            return False
    return True


def offer(session: Session, storage: frozenset[Uid], abstract_syntax: Uid) -> Offer | None:
    """What is offered for an abstract syntax: only what this caller may do at all."""
    if abstract_syntax == sopclasses.VERIFICATION and session.may(Action.ECHO):
        return Offer(_QUERY_SYNTAXES)
    if abstract_syntax in sopclasses.FIND and session.may(Action.FIND):
        return Offer(_QUERY_SYNTAXES)
    if abstract_syntax in sopclasses.GET and session.may(Action.GET):
        return Offer(_QUERY_SYNTAXES)
    if abstract_syntax in sopclasses.MOVE and session.may(Action.MOVE):
        return Offer(_QUERY_SYNTAXES)
    if abstract_syntax == sopclasses.STORAGE_COMMITMENT and session.may(Action.STORE) and session.caller.door is Door.DIMSE:
        # Without TLS a peer has echo and store alone: whoever forges its address learns of no object that it is here.
        return Offer(_QUERY_SYNTAXES)
    if abstract_syntax in storage:
        takes, gives = session.may(Action.STORE), session.may(Action.GET)
        if takes or gives:
            return Offer(tuple(sopclasses.TRANSFER_SYNTAXES), as_scp=takes, as_scu=gives, stores=True)
    return None


def _was_denied(request: AssociateRequest, negotiated: Negotiated, storage: frozenset[Uid]) -> bool:
    """Whether a service that we have was asked for and not offered: to this caller, then."""
    accepted = {each.abstract_syntax for each in negotiated.contexts}
    unsupported = {each.id for each in negotiated.results if each.result == ContextOutcome.ABSTRACT_SYNTAX_NOT_SUPPORTED}
    asked = {each.abstract_syntax for each in request.contexts if each.id in unsupported}
    return any(each in _OURS or each in storage for each in asked - accepted)


def _user_token(identity: UserIdentity | None) -> UserToken | None:
    """The token in a user identity (PS3.7 D.3.3.7); the kinds that hold none are passed over, as the standard has it."""
    match identity:
        case UserIdentity(kind=IdentityKind.USERNAME_AND_PASSCODE, primary=name, secondary=passcode):
            return UserToken(BearerToken(_text(passcode)), _text(name))
        case UserIdentity(kind=IdentityKind.JWT, primary=token):
            return UserToken(BearerToken(_text(token)))
        case _:
            return None


def _text(raw: bytes) -> str:
    # Padded by some to an even length; whatever is not UTF-8 is nobody's name and nobody's token.
    return raw.rstrip(b"\0 ").decode("utf-8", "replace")


class DimseDoor:
    """One listener; over TLS unless `tls` is None, and then for the peers that are marked so alone."""

    def __init__(
        self,
        archive: Archive,
        workers: Workers,
        conversions: Workers,
        outbound: Outbound,
        commitments: Commitments,
        *,
        tls: ssl.SSLContext | None,
        limits: Limits,
        storage: frozenset[Uid] = frozenset(sopclasses.STORAGE),
    ) -> None:
        self._archive = archive
        self._workers = workers
        self._conversions = conversions
        self._identifying = Workers(IDENTIFYING)
        self._outbound = outbound
        self._commitments = commitments
        self._tls = tls
        self._limits = limits
        self._storage = storage
        self._door = Door.DIMSE_PLAINTEXT if tls is None else Door.DIMSE
        self._sessions: dict[ServerAssociation, Session] = {}
        self._cuts = 0
        self._acceptor: Acceptor | None = None

    async def open(self, host: str, port: int) -> tuple[str, int]:
        """Listen; gives the address, with the port that the system chose for 0."""
        self._acceptor = await serve(host, port, self._decide, tls=self._tls, limits=self._limits)
        return self._acceptor.address

    def use(self, tls: ssl.SSLContext) -> None:
        """Make the handshakes to come with this context; nothing happens to a door without TLS."""
        if self._acceptor is not None and self._tls is not None:
            self._tls = tls
            self._acceptor.use(tls)

    async def close(self) -> None:
        """Stop listening and cut what is live."""
        if self._acceptor is not None:
            await self._acceptor.close()
        self._identifying.close()

    async def cut_outdated(self) -> None:
        """Abort every association whose peer is no longer who it was."""
        if self._acceptor is None:
            return
        self._cuts += 1
        for association in list(self._acceptor.associations):
            session = self._sessions.get(association)
            if session is not None and not await self._still_current(session):
                association.abort()

    async def _still_current(self, session: Session) -> bool:
        """Whether the session's peer is who it was; one that cannot be looked up is not."""
        try:
            return await self._identifying.run(session.is_current)
        except (LeadglassError, OSError) as error:
            logs.fault("dimse revocation", error)
            return False

    async def _decide(self, request: AssociateRequest, peer: PeerInfo) -> Accept | Reject:
        credentials: Credentials
        cuts = self._cuts
        user = _user_token(request.user.identity)
        if self._door is Door.DIMSE_PLAINTEXT:
            credentials = PlaintextPeer(request.calling, peer.address, user)
        elif peer.certificate is not None:
            credentials = PeerCertificate(peer.certificate, request.calling, peer.address, peer.chain, user)
        else:
            return Reject.CALLING_TITLE_NOT_RECOGNIZED
        try:
            session = await self._identifying.run(partial(self._archive.enter, self._door, credentials, peer.address))
        except UserNotIdentified:
            return Reject.USER_IDENTITY_REFUSED
        except NotIdentified:
            return Reject.CALLING_TITLE_NOT_RECOGNIZED
        if request.called != self._archive.aet:
            session.refused(Refusal.CALLED_TITLE)
            return Reject.CALLED_TITLE_NOT_RECOGNIZED
        asked = user is not None and request.user.identity is not None and request.user.identity.response_requested
        negotiated = negotiate(request, partial(offer, session, self._storage))
        if _was_denied(request, negotiated, self._storage):
            session.refused(Refusal.SERVICE)
        # That there is a response is the response: what it holds is for tickets and assertions (PS3.7 Table D.3-15).
        return Accept(negotiated, partial(self._serve, session, cuts), b"" if asked else None)

    async def _serve(self, session: Session, cuts: int, association: ServerAssociation) -> None:
        """Answer what comes; `cuts` is how often associations had been cut when the session's peer was identified."""
        self._sessions[association] = session
        if cuts != self._cuts and not await self._still_current(session):
            # He was shut out while he was let in: whoever cut the others did not see this one yet.
            association.abort()
        try:
            async for message in association:
                await self._answer(session, association, message)
        finally:
            self._sessions.pop(association, None)

    async def _answer(self, session: Session, association: ServerAssociation, message: Message) -> None:
        try:
            threads = self._workers, self._conversions
            call = Call(session, association, message, *threads, self._archive.aet, self._storage, self._outbound)
            if not await _serve_call(call, self._commitments):
                session.refused(Refusal.NOT_UNDERSTOOD)
                await association.refuse(message, Status.UNRECOGNIZED_OPERATION)
        except LeadglassError as error:
            if association.failure is not None:
                # There is nobody left to tell: the association itself says so when the next message is asked for.
                return
            if status_of(error) is Status.PROCESSING_FAILURE:
                logs.fault("dimse", error)
            if isinstance(error, BadInput) and not isinstance(message.command, StoreRequest):
                # A store that came to nothing is in the trail already, as a store.
                session.refused(Refusal.NOT_UNDERSTOOD)
            await association.refuse(message, status_of(error))
        await asyncio.sleep(0)
