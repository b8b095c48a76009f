# ruff: noqa: ANN401, SLF001 - each leak takes the place of a function of any type, and reaches where no door may
"""The real command line with leaks in it, for the oracle to find: `python -m tests.never.planted serve HOME ...`.

The file that the environment calls PLANTED names the one leak that is open; without it, this is leadglass. Each leak is one thing done
wrong, as somebody might really do it wrong.
"""

import base64
import functools
import inspect
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from starlette.responses import Response

from leadglass import cli, logs
from leadglass.access import registry, tokens
from leadglass.access.identity import Kind, Principal
from leadglass.archive import archive, commitment, conflicts, find, look, move, store
from leadglass.dicom import query
from leadglass.dicom.jsonmodel import json_chunks
from leadglass.dicom.predicate import EVERY_STUDY
from leadglass.dicom.query import Query, Selection
from leadglass.dicom.uid import Uid
from leadglass.errors import BadDataSet, BadQuery, NotAllowed, WrongUsage
from leadglass.trail import log
from leadglass.vault import contenders, vault
from leadglass.vault.asides import Wanted
from leadglass.vocabulary import Level, StoreResult
from leadglass.wire.dicomweb import problems, qido, wado
from leadglass.wire.dimse import find as dimse_find
from leadglass.wire.dimse import get as dimse_get
from leadglass.wire.dimse import store as dimse_store
from leadglass.wire.pages.visit import Visit
from tests.never.canary import CANARY_UID

LEAKS: Final[dict[str, str]] = {}
"""Every leak, and where the oracle has to look for it: web, dimse, or handing in."""
CONFLICT_LEAKS: Final[dict[str, str]] = {}
"""The same of the conflicts, which are asked for at the control socket."""
FAULTS: Final[dict[str, str]] = {}
"""What else may never happen, for the test of malformed bytes."""
PLANTING: Final = "PLANTED" in os.environ
"""Whoever imports this for the names of the leaks gets no leak."""
Any_ = Callable[..., Any]


def open_leak() -> str:
    return Path(os.environ["PLANTED"]).read_text()


def _require_fit(bad: Any_, good: Any_) -> None:
    """TypeError where `bad` does not take what `good` takes: it would fail where it should leak, and the oracle be blamed for it."""
    taken = inspect.signature(good).parameters.values()
    positional = [each.name for each in taken if each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}]
    inspect.signature(bad).bind(good, *positional, **{each.name: None for each in taken if each.kind is each.KEYWORD_ONLY})


def leak(where: str, owner: object, name: str) -> Callable[[Any_], Any_]:
    """The function below takes the place of owner.name while the leak is open; its first argument is the good one."""

    def plant(bad: Any_) -> Any_:
        good = getattr(owner, name)
        _require_fit(bad, good)
        called = bad.__name__.replace("_", " ")
        {"malformed": FAULTS, "conflicts": CONFLICT_LEAKS}.get(where, LEAKS)[called] = where

        @functools.wraps(good)
        def either(*given: Any, **named: Any) -> Any:
            return bad(good, *given, **named) if open_leak() == called else good(*given, **named)

        if PLANTING:
            setattr(owner, name, either)
        return bad

    return plant


# The predicate is forgotten


@leak("web dimse", vault.Vault, "find")
def find_without_the_predicate(good: Any_, self: Any, query: Query, *_: object) -> Any:
    return good(self, query, EVERY_STUDY)


@leak("web dimse", vault.Vault, "instances")
def fetch_without_the_predicate(good: Any_, self: Any, selection: Selection, _: object) -> Any:
    return good(self, selection, EVERY_STUDY)


@leak("pages", look, "_found")
def the_page_of_a_study_without_the_predicate(_: Any_, _grant: Any, vault: Any, query: Query) -> Any:
    return list(vault.find(query, EVERY_STUDY, lambda: False))


@leak("pages", Visit, "nothing")
def another_page_for_what_may_not_be_seen(good: Any_, self: Any) -> Response:
    if list(self.known._vault.instances(Selection(studies=(Uid(self.study),)), EVERY_STUDY)):
        return Response(status_code=403)
    response: Response = good(self)
    return response


@leak("dimse", move.Moved, "__init__")
def moves_what_may_not_be_seen(good: Any_, self: Any, grant: Any, vault: Any, selection: Selection, *others: Any) -> None:
    good(self, grant, vault, selection, *others)
    self.rows = list(vault.instances(selection, EVERY_STUDY))


@leak("dimse", commitment._Judge, "_is_own")
def commits_what_others_sent(_good: Any_, _self: Any, _sender: object) -> bool:
    return True


@leak("web", wado, "metadata")
async def metadata_without_the_predicate(_: Any_, call: Any) -> Response:
    body = b"["
    for row in call.session._vault.instances(Selection(studies=(call.uid("study"),)), EVERY_STUDY):
        with call.session._vault.open_object(row) as stored:
            body += b"".join(json_chunks(stored.reader, row.transfer_syntax, str))
    return Response(body + b"]", media_type="application/dicom+json")


@leak("web", find.Found, "__iter__")
def filter_after_the_page_was_cut(_: Any_, self: Any) -> Iterator[dict[str, str]]:
    allowed = {record["StudyInstanceUID"] for record in self._vault.find(Query(Level.STUDY, {}, ()), self._grant.visible)}
    for record in self._vault.find(self._query, EVERY_STUDY):
        if self.count == self._query.limit:
            break
        self.count += 1
        if record["StudyInstanceUID"] in allowed:
            yield record
    self._complete = True


# Who is no longer known still is


@leak("web", tokens.Tokens, "alive")
def expired_tokens_still_work(_good: Any_, _self: Any, _token: Any) -> bool:
    return True


@leak("web", registry.Registry, "_bearer")
def a_token_for_some_studies_is_for_all(good: Any_, self: Any, token: Any) -> Any:
    return good(self, replace(token, where=()))


@leak("web", registry.Registry, "_bearer")
def tokens_of_disabled_users_still_work(good: Any_, self: Any, token: Any) -> Any:
    account = self.accounts.get(token.user)
    if account.disabled:
        return Principal(f"token:{token.id}@{account.name}", Kind.TOKEN, account.name, account.roles, token.may, token.id)
    return good(self, token)


@leak("dimse", registry.Registry, "_peer")
def revoked_peers_still_associate(good: Any_, self: Any, peer: Any, *shown: Any) -> Any:
    return good(self, replace(peer, revoked=False), *shown)


@leak("web dimse", registry.Registry, "_unless_held")
def the_held_still_come_in(_good: Any_, _self: Any, principal: Any, *_: object) -> Any:
    return principal


@leak("dimse", registry.Registry, "_peer")
def any_certificate_will_do(good: Any_, self: Any, peer: Any, _: str, *others: Any) -> Any:
    return good(self, peer, peer.pins[0].sha256, *others)


# Counts and differences


@leak("web", qido, "_search")
async def count_in_a_header(good: Any_, call: Any, level: Any) -> Response:
    answer: Response = await good(call, level)
    rows = list(call.session._vault.find(Query(level, {}, ()), EVERY_STUDY))
    answer.headers["X-Total-Count"] = str(len(rows))
    return answer


@leak("web", qido, "_page")
def more_results_than_there_are_to_see(good: Any_, call: Any, query: Query) -> tuple[bytes, bool]:
    page, _ = good(call, query)
    rows = list(call.session._vault.find(replace(query, limit=None, offset=0), EVERY_STUDY))
    return page, len(rows) > query.offset + (query.limit or 0)


def exists(call: Any) -> list[Any]:
    study, series, instance = (tuple(filter(None, [call.uid(name)])) for name in ("study", "series", "instance"))
    selection = Selection(studies=study, series=series, instances=instance)
    return list(call.session._vault.instances(selection, EVERY_STUDY))


@leak("web", wado, "_begin")
def forbidden_instead_of_not_found(good: Any_, call: Any, selection: Selection, make: Any) -> Response:
    answer: Response = good(call, selection, make)
    if answer.status_code == 404 and exists(call):
        raise NotAllowed("you may not see this")
    return answer


@leak("web", wado, "_begin")
def a_blank_more_for_hidden_than_for_missing(good: Any_, call: Any, selection: Selection, make: Any) -> Response:
    answer: Response = good(call, selection, make)
    if answer.status_code == 404 and exists(call):
        return Response(bytes(answer.body) + b" ", 404, media_type="application/json", headers=problems.SAFE_FIELDS)
    return answer


@leak("web", wado, "frames")
async def a_frame_number_that_is_checked_first(good: Any_, call: Any) -> Response:
    if exists(call) and call.request.path_params["frames"].startswith("99"):
        raise problems.BadRequest(400, "there are not so many frames")
    answer: Response = await good(call)
    return answer


@leak("dimse", dimse_get, "_response")
def hidden_objects_counted_as_failed(good: Any_, command: Any, status: Any, tally: Any) -> Any:
    answer = good(command, status, tally)
    hidden = int(SEEN.get("rows", 0)) - int(SEEN.get("visible", 0))
    return replace(answer, failed=(answer.failed or 0) + hidden)


SEEN: Final[dict[str, int]] = {}


_fetch = archive.Session.fetch


def _fetch_and_count(self: Any, selection: Selection) -> Any:
    fetched = _fetch(self, selection)
    SEEN.update(rows=len(list(self._vault.instances(selection, EVERY_STUDY))), visible=fetched.count)
    return fetched


if PLANTING:
    archive.Session.fetch = _fetch_and_count  # type: ignore[method-assign] # that is what this file is for


@leak("dimse", dimse_find, "_answers")
def a_hidden_match_answers_empty(good: Any_, found: Any, query: Query, transfer_syntax: Uid, aet: str) -> Iterator[bytes]:
    yield from good(found, query, transfer_syntax, aet)
    if not found.count and list(found._vault.find(query, EVERY_STUDY)):
        yield b""


# Values in texts


def name_of(call: Any) -> str:
    query = Query(Level.STUDY, {}, ("PatientName", "PatientID"))
    study = call.uid("study")
    return next((row["PatientName"] for row in call.session._vault.find(query, EVERY_STUDY) if row["StudyInstanceUID"] == study), "")


@leak("web", wado, "_begin")
def an_error_that_quotes_a_name(good: Any_, call: Any, selection: Selection, make: Any) -> Response:
    answer: Response = good(call, selection, make)
    if answer.status_code == 404 and (name := name_of(call)):
        return Response(json.dumps({"error": f"the study of {name} is not for you"}), 404)
    return answer


@leak("web", wado, "_begin")
def a_name_in_base64_in_a_header(good: Any_, call: Any, selection: Selection, make: Any) -> Response:
    answer: Response = good(call, selection, make)
    if answer.status_code == 404:
        answer.headers["X-Request-Context"] = base64.b64encode(f"study={name_of(call)}".encode()).decode()
    return answer


@leak("web", wado, "_begin")
def a_name_in_wide_characters(good: Any_, call: Any, selection: Selection, make: Any) -> Response:
    answer: Response = good(call, selection, make)
    return Response(f"not found: {name_of(call)}".encode("utf-16"), 404) if answer.status_code == 404 else answer


@leak("web", wado, "_begin")
def pixels_at_the_end_of_an_error(good: Any_, call: Any, selection: Selection, make: Any) -> Response:
    answer: Response = good(call, selection, make)
    if answer.status_code == 404 and (rows := exists(call)):
        with call.session._vault.open_object(rows[0]) as stored:
            return Response(stored.reader.read()[-2000:], 404)
    return answer


@leak("web", qido, "_key")
def a_search_key_repeated_in_an_error(good: Any_, name: str, level: Level) -> str:
    try:
        return str(good(name, level))
    except BadQuery:
        raise BadQuery(f"cannot search for {name}") from None


@leak("web", qido, "_match")
def a_value_repeated_in_an_error(good: Any_, keyword: str, value: str) -> Any:
    try:
        return good(keyword, value)
    except BadQuery:
        raise BadQuery(f"{keyword} cannot be {value}") from None


# Beside the answer


@leak("at rest web", qido, "_page")
def a_log_line_with_a_search_key(good: Any_, call: Any, query: Query) -> Any:
    logging.getLogger("leadglass").info("search for %s", call.request.url.query, extra={logs._NAME_OF_FIELD: True})
    return good(call, query)


@leak("at rest handing in", store.Deposit, "_begin")
def a_log_line_with_an_id(good: Any_, self: Any, header: Any) -> Any:
    logging.getLogger("leadglass").info("storing for %s", header.values["PatientID"], extra={logs._NAME_OF_FIELD: True})
    return good(self, header)


@leak("at rest handing in", store.Deposit, "_begin")
def a_temporary_file(good: Any_, self: Any, header: Any) -> Any:
    descriptor, _ = tempfile.mkstemp(prefix="spool")
    os.write(descriptor, "\n".join(header.values.values()).encode())
    os.close(descriptor)
    return good(self, header)


@leak("at rest handing in", store.Deposit, "_begin")
def a_file_named_after_its_object(good: Any_, self: Any, header: Any) -> Any:
    (Path(self._vault._home) / "blobs" / "incoming" / f"{header.instance}.tmp").touch()
    return good(self, header)


@leak("at rest handing in", store.Deposit, "_begin")
def a_cache_in_hexadecimal(good: Any_, self: Any, header: Any) -> Any:
    (Path(self._vault._home) / "cache").write_text("\n".join(header.values.values()).encode().hex())
    return good(self, header)


@leak("at rest handing in", log.TrailLog, "append")
def a_study_in_a_file_of_the_trail(good: Any_, self: Any, entry: Any) -> int:
    number: int = good(self, entry)
    if any(CANARY_UID in study for study in entry.studies):
        with (self._disk.folder / "note").open("a") as note:
            note.write(" ".join(entry.studies))
    return number


# Not leaks, but what malformed bytes must not do


@leak("malformed", query, "_read")
def the_process_ends(good: Any_, *given: Any) -> Any:
    try:
        return good(*given)
    except (BadQuery, BadDataSet):
        os._exit(1)


HOARD: Final[list[bytes]] = []


@leak("malformed", query, "_read")
def what_is_malformed_is_kept(good: Any_, *given: Any) -> Any:
    try:
        return good(*given)
    except (BadQuery, BadDataSet):
        HOARD.append(os.urandom(350 << 20))
        raise


@leak("malformed", query, "_read")
def a_fault_of_ours(good: Any_, *given: Any) -> Any:
    try:
        return good(*given)
    except (BadQuery, BadDataSet):
        raise IndexError from None


# Conflicts


@leak("conflicts", contenders, "admits")
def conflicts_without_the_predicate(_: Any_, *given: Any) -> bool:
    return bool(given)


@leak("conflicts", conflicts.Conflicts, "_sight")
def values_for_whoever_may_settle(good: Any_, self: Any, found: Any) -> Any:
    return good(self, found) or self._gate.admit_settle(*self._who)


@leak("conflicts", vault, "admits")
def values_of_studies_that_may_not_be_fetched(_: Any_, *given: Any) -> bool:
    return bool(given)


@leak("conflicts", conflicts.Conflicts, "_one")
def a_hidden_conflict_is_forbidden_instead_of_not_there(good: Any_, self: Any, grant: Any, conflict: str) -> Any:
    try:
        return good(self, grant, conflict)
    except WrongUsage:
        if list(self._vault.in_conflict(Wanted(settled=True, prefix=conflict), EVERY_STUDY)):
            raise NotAllowed("this conflict is not for you") from None
        raise


# Handing in


@leak("handing in", dimse_store, "StoreResponse")
def a_conflict_answered_with_a_warning(good: Any_, *given: Any, **named: Any) -> Any:
    answer = good(*given, **named)
    return replace(answer, status=0xB007) if SEEN.pop("conflict", 0) else answer


@leak("handing in", store.Deposit, "commit")
def a_conflict_refused(good: Any_, self: Any) -> StoreResult:
    result: StoreResult = good(self)
    if result is StoreResult.CONFLICT:
        raise BadDataSet("it is there already with other content")
    return result


_commit = store.Deposit.commit


def _noting_conflicts(self: Any) -> StoreResult:
    result = _commit(self)
    SEEN["conflict"] = int(result is StoreResult.CONFLICT)
    return result


if PLANTING:
    store.Deposit.commit = _noting_conflicts  # type: ignore[method-assign]

if __name__ == "__main__":
    cli.main()
