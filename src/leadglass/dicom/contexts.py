"""Presentation contexts: what a requestor proposes, what an acceptor makes of it, what both then hold (PS3.8 7.1.1.13, PS3.7 D.3.3.4)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from leadglass.dicom import extended
from leadglass.dicom.extended import QueryOptions, RetrieveOptions
from leadglass.dicom.pdu import MAX_CONTEXTS, AssociateAccept, AssociateRequest, ContextOutcome, ContextResult, ProposedContext, check_title
from leadglass.dicom.uid import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, Uid
from leadglass.dicom.user_information import AsyncWindow, ExtendedNegotiation, RoleSelection, UserIdentity, UserInformation
from leadglass.errors import BadPdu

IMPLICIT_LITTLE_ENDIAN = Uid("1.2.840.10008.1.2")
EXPLICIT_LITTLE_ENDIAN = Uid("1.2.840.10008.1.2.1")

DEFAULT_MAX_PDU = 128 * 1024
"""dcmtk sends no longer ones; with 16 kB a 525 kB object costs eight times the PDUs (bench/engine_sink.py)."""


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context; the roles are those of the association's requestor."""

    id: int
    abstract_syntax: Uid
    transfer_syntax: Uid
    requestor_is_scu: bool = True
    requestor_is_scp: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """What an acceptor is willing to do for one abstract syntax.

    Of the transfer syntaxes that the requestor proposes, the first in its own order is taken, or, where `by_our_order`, the first in ours.
    """

    transfer_syntaxes: Sequence[str] | frozenset[str]
    as_scp: bool = True
    as_scu: bool = False
    by_our_order: bool = False
    stores: bool = False
    """It is a Storage SOP class: extended negotiation for it is that of PS3.4 B.3.1.4."""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """An acceptor's answer to all that was proposed."""

    results: tuple[ContextResult, ...]
    contexts: tuple[Context, ...]
    roles: tuple[RoleSelection, ...]
    extended: tuple[ExtendedNegotiation, ...] = ()
    async_window: AsyncWindow | None = None

    def information(self, sop_class: Uid) -> bytes:
        """The application information that was agreed for a SOP class; empty where nothing was negotiated."""
        return extended.find_information(self.extended, sop_class)

    def query_options(self, sop_class: Uid) -> QueryOptions:
        """What was agreed for C-FIND on this association."""
        return QueryOptions.decode(self.information(sop_class))

    def retrieve_options(self, sop_class: Uid) -> RetrieveOptions:
        """What was agreed for C-MOVE or C-GET on this association."""
        return RetrieveOptions.decode(self.information(sop_class))


ONE_AT_A_TIME = AsyncWindow(1, 1)
"""Requests are answered in the order in which they come. With more outstanding, a C-GET's sub-operations would wait for answers that
lie behind data sets which nobody reads before it ends."""


def negotiate(request: AssociateRequest, offer_for: Callable[[Uid], Offer | None]) -> Negotiated:
    """Answer each proposed context by what `offer_for` says of its abstract syntax; None is "not supported".

    Without role selection the requestor is SCU (PS3.7 D.3.3.4). A context in which neither role is left is rejected by the user.
    """
    proposed_roles = {role.sop_class: role for role in request.user.roles}
    results: list[ContextResult] = []
    contexts: list[Context] = []
    served: dict[Uid, Offer] = {}
    roles: dict[Uid, RoleSelection] = {}
    for proposed in request.contexts:
        offer = offer_for(proposed.abstract_syntax)
        if offer is None:
            results.append(ContextResult(proposed.id, ContextOutcome.ABSTRACT_SYNTAX_NOT_SUPPORTED))
            continue
        asked = proposed_roles.get(proposed.abstract_syntax)
        scu = offer.as_scp and (asked is None or asked.scu)
        scp = offer.as_scu and asked is not None and asked.scp
        if asked is not None:
            roles[proposed.abstract_syntax] = RoleSelection(proposed.abstract_syntax, scu=scu, scp=scp)
        if not scu and not scp:
            results.append(ContextResult(proposed.id, ContextOutcome.USER_REJECTION))
            continue
        syntax = _choose(proposed, offer)
        if syntax is None:
            results.append(ContextResult(proposed.id, ContextOutcome.TRANSFER_SYNTAXES_NOT_SUPPORTED))
            continue
        results.append(ContextResult(proposed.id, ContextOutcome.ACCEPTANCE, syntax))
        if scu:
            served[proposed.abstract_syntax] = offer
        contexts.append(Context(proposed.id, proposed.abstract_syntax, syntax, requestor_is_scu=scu, requestor_is_scp=scp))
    answers = (
        extended.answer(asked_for, stores=served[asked_for.sop_class].stores)
        for asked_for in {each.sop_class: each for each in request.user.extended}.values()
        if asked_for.sop_class in served
    )
    return Negotiated(
        tuple(results),
        tuple(contexts),
        tuple(roles.values()),
        tuple(each for each in answers if each is not None),
        None if request.user.async_window is None else ONE_AT_A_TIME,
    )


def _choose(proposed: ProposedContext, offer: Offer) -> Uid | None:
    if offer.by_our_order:
        wanted = set(proposed.transfer_syntaxes)
        return next((Uid(each) for each in offer.transfer_syntaxes if each in wanted), None)
    return next((each for each in proposed.transfer_syntaxes if each in offer.transfer_syntaxes), None)


def propose(
    calling: str,
    called: str,
    contexts: Iterable[tuple[str, Sequence[str]]],
    *,
    roles: Iterable[RoleSelection] = (),
    identity: UserIdentity | None = None,
    max_pdu: int = DEFAULT_MAX_PDU,
) -> AssociateRequest:
    """The request of a requestor of ours: (abstract syntax, transfer syntaxes) get the ids 1, 3, 5 ... in the order given.

    BadPdu for a title that is none, or more than 128 contexts.
    """
    wanted = list(contexts)
    if len(wanted) > MAX_CONTEXTS:
        raise BadPdu(f"{len(wanted)} presentation contexts: an association has room for {MAX_CONTEXTS}; propose the rest on another")
    return AssociateRequest(
        called=check_title(called),
        calling=check_title(calling),
        contexts=tuple(
            ProposedContext(number, Uid(abstract), tuple(Uid(each) for each in syntaxes))
            for number, (abstract, syntaxes) in zip(range(1, 256, 2), wanted, strict=False)
        ),
        user=UserInformation(
            maximum_length=max_pdu,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version_name=IMPLEMENTATION_VERSION_NAME,
            roles=tuple(roles),
            identity=identity,
        ),
    )


def agreed(request: AssociateRequest, accept: AssociateAccept) -> Mapping[int, Context]:
    """What a requestor holds after the acceptor's answer, by context id; an answer to what was not proposed is passed over."""
    proposed = {each.id: each for each in request.contexts}
    answered_roles = {role.sop_class: role for role in accept.user.roles}
    held: dict[int, Context] = {}
    for result in accept.contexts:
        context = proposed.get(result.id)
        if context is None or result.result != ContextOutcome.ACCEPTANCE or result.transfer_syntax not in context.transfer_syntaxes:
            continue
        role = answered_roles.get(context.abstract_syntax)
        scu, scp = (True, False) if role is None else (role.scu, role.scp)
        held[result.id] = Context(result.id, context.abstract_syntax, result.transfer_syntax, requestor_is_scu=scu, requestor_is_scp=scp)
    return held
