"""What the command line can ask of the owner of HOME: one table, run in this process or at the far end of the control socket."""

import base64
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import get_type_hints

from pydantic import ConfigDict, ValidationError, create_model

from leadglass.archive.archive import ConflictKind, NewPeer, NewProof, Provenance, Session
from leadglass.dicom.uid import Uid
from leadglass.errors import BadMessage
from leadglass.vocabulary import Action, Role
from leadglass.wire.control.frames import Json

Rows = Iterable[Json]
Verb = Callable[..., Rows]


def _peer_add(session: Session, *, peer: NewPeer) -> Rows:
    yield session.administration.add_peer(peer)


def _peer_renew(session: Session, *, ae_title: str, proof: NewProof, only: bool) -> Rows:
    yield session.administration.renew_peer(ae_title, proof, only=only)


def _peer_list(session: Session) -> Rows:
    return session.administration.peers()


def _peer_revoke(session: Session, *, ae_title: str) -> Rows:
    session.administration.revoke_peer(ae_title)
    return ()


def _user_add(session: Session, *, name: str, role: Role, password: str | None) -> Rows:
    yield session.administration.add_user(name, role, password)


def _user_list(session: Session) -> Rows:
    return session.administration.users()


def _user_disable(session: Session, *, name: str) -> Rows:
    session.administration.disable_user(name)
    return ()


def _user_password(session: Session, *, name: str, password: str | None) -> Rows:
    yield session.people.set_password(name, password)


def _user_factor(session: Session, *, name: str) -> Rows:
    yield session.people.set_factor(name)


def _user_sign_out(session: Session, *, name: str) -> Rows:
    yield {"sessions": session.people.sign_out(name)}


def _token_create(session: Session, *, user: str, may: list[Action], days: int, where: list[tuple[str, list[str]]]) -> Rows:
    yield {"token": session.administration.create_token(user, may, days, where)}


def _token_list(session: Session) -> Rows:
    return session.administration.tokens()


def _token_revoke(session: Session, *, token: str) -> Rows:
    session.administration.revoke_token(token)
    return ()


def _hold(session: Session, *, name: str) -> Rows:
    yield session.administration.hold(name)


def _release(session: Session, *, name: str) -> Rows:
    yield session.administration.release(name)


def _policy_check(session: Session, *, text: str | None) -> Rows:
    yield {"rules": session.rights.check_policy(text)}


def _policy_apply(session: Session, *, text: str | None) -> Rows:
    yield {"rules": session.rights.apply_policy(text)}


def _policy_explain(session: Session, *, who: str, study: str | None, address: str) -> Rows:
    rights = session.rights
    return rights.explain(who, address) if study is None else rights.explain_study(who, Uid(study), address)


def _user_role(session: Session, *, name: str, roles: list[Role]) -> Rows:
    session.rights.set_roles(name, roles)
    return ()


def _user_attributes(session: Session, *, name: str, attributes: dict[str, list[str]]) -> Rows:
    session.rights.set_attributes(name, attributes)
    return ()


def _check(session: Session, *, sample: float) -> Rows:
    yield session.administration.check(sample)


def _keys_rotate(session: Session) -> Rows:
    yield session.administration.rotate_keys()


def _keys_check(session: Session) -> Rows:
    return ({"problem": problem} for problem in session.administration.check_keys())


def _trail_show(session: Session, *, last: int, who: str | None, study: str | None) -> Rows:
    return session.administration.trail_entries(last=last, who=who, study=study)


def _trail_alerts(session: Session, *, last: int) -> Rows:
    return session.administration.trail_entries(last=last, who=None, study=None, alerts=True)


def _trail_export(session: Session) -> Rows:
    for piece in session.administration.export_trail():
        yield {"path": piece.path, "data": base64.b64encode(piece.data).decode("ascii")}


def _trail_checkpoint(session: Session) -> Rows:
    yield {"checkpoint": session.administration.trail_checkpoint()}


def _trail_verify(session: Session, *, checkpoint: str | None, key: str | None) -> Rows:
    yield session.administration.verify_trail(checkpoint, key)


def _conflicts_list(session: Session, *, token: str | None, kind: ConflictKind | None, study: str | None, settled: bool) -> Rows:
    return _acting(session, token).conflicts.list(kind=kind, study=None if study is None else Uid(study), settled=settled)


def _conflicts_show(session: Session, *, token: str | None, conflict: str) -> Rows:
    return _acting(session, token).conflicts.show(conflict)


def _conflicts_accept(session: Session, *, token: str | None, conflict: str, again: bool) -> Rows:
    yield _acting(session, token).conflicts.accept(conflict, again=again)


def _conflicts_reject(session: Session, *, token: str | None, conflict: str, again: bool) -> Rows:
    yield _acting(session, token).conflicts.reject(conflict, again=again)


def _acting(session: Session, token: str | None) -> Session:
    return session if token is None else session.acting_for(token)


def _name(verb: Verb) -> str:
    return verb.__name__.strip("_").replace("_", "-")


VERBS: dict[str, Verb] = {
    _name(verb): verb
    for verb in (
        _peer_add,
        _peer_renew,
        _peer_list,
        _peer_revoke,
        _user_add,
        _user_role,
        _user_attributes,
        _user_list,
        _user_disable,
        _user_password,
        _user_factor,
        _user_sign_out,
        _token_create,
        _token_list,
        _token_revoke,
        _hold,
        _release,
        _policy_check,
        _policy_apply,
        _policy_explain,
        _conflicts_list,
        _conflicts_show,
        _conflicts_accept,
        _conflicts_reject,
        _check,
        _keys_rotate,
        _keys_check,
        _trail_show,
        _trail_alerts,
        _trail_export,
        _trail_checkpoint,
        _trail_verify,
    )
}


def run(session: Session, name: str, arguments: Json) -> Iterator[Json]:
    """Run the verb `name`; raises `BadMessage` for an unknown verb or arguments that are not its own."""
    verb = VERBS.get(name)
    if verb is None:
        raise BadMessage(f"unknown verb; known: {', '.join(sorted(VERBS))}")
    yield from verb(session, **_checked(verb, arguments))


def _checked(verb: Verb, arguments: Json) -> dict[str, object]:
    hints = get_type_hints(verb)
    fields = {name: (hints[name], ...) for name in list(inspect.signature(verb).parameters)[1:]}
    model = create_model(verb.__name__, __config__=ConfigDict(extra="forbid"), **fields)  # type: ignore[call-overload]
    try:
        parsed = model.model_validate(arguments)
    except ValidationError as error:
        places = ", ".join(".".join(str(part) for part in fault["loc"]) for fault in error.errors(include_input=False))
        raise BadMessage(f"the arguments of {_name(verb)} are wrong: {places}; use the same leadglass on both sides") from None
    return {name: getattr(parsed, name) for name in fields}


def deposit(session: Session, arguments: Json, pieces: Iterator[bytes | None]) -> Iterator[Json]:
    """Take in one object that arrives in pieces; it is kept when the last piece is None."""
    if "transfer_syntax" not in arguments:
        raise BadMessage("a deposit names its transfer syntax")
    transfer_syntax = Uid(str(arguments["transfer_syntax"]))
    incoming = session.deposit(transfer_syntax, Provenance())
    try:
        for piece in pieces:
            if piece is None:
                yield {"result": incoming.commit()}
                return
            incoming.write(piece)
    finally:
        incoming.abandon()
