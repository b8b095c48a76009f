"""What the DIMSE door offers, found by asking it for everything; and the statuses of its answers."""

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Final, cast

from pydicom._uid_dict import UID_dictionary

from leadglass import errors
from leadglass.archive.archive import Session
from leadglass.dicom import sopclasses
from leadglass.dicom.contexts import Offer
from leadglass.dicom.status import Status, kind_of
from leadglass.dicom.syntax import is_native
from leadglass.dicom.uid import Uid
from leadglass.pixels.images import is_decodable
from leadglass.vocabulary import Action, Door
from leadglass.wire.dimse import commitment, door, echo, find, get, move, store
from leadglass.wire.dimse.statuses import STATUS_OF
from tools.conformance.markdown import code, table, words


@dataclass(frozen=True)
class _Caller:
    """Somebody who has these rights and no other."""

    rights: frozenset[Action]
    door: Door = Door.DIMSE

    @property
    def caller(self) -> "_Caller":
        """Itself: as a session has it, the caller knows the door."""
        return self

    def may(self, action: Action) -> bool:
        return action in self.rights


def _offer(uid: str, rights: frozenset[Action]) -> Offer | None:
    return door.offer(cast("Session", _Caller(rights)), frozenset(sopclasses.STORAGE), Uid(uid))


def offer_to_all(abstract_syntax: Uid) -> Offer | None:
    """What is offered to somebody who may do everything."""
    return _offer(abstract_syntax, frozenset(Action))


@dataclass(frozen=True)
class Offered:
    """A SOP class that can be negotiated, with the rights that each role of ours takes."""

    uid: str
    name: str
    offer: Offer
    as_scp: tuple[Action, ...]
    as_scu: tuple[Action, ...]


@cache
def offered() -> tuple[Offered, ...]:
    """Every SOP class of PS3.6 that the door offers to somebody who may do everything."""
    found = []
    for uid, (_, kind, *_) in UID_dictionary.items():
        offer = _offer(uid, frozenset(Action)) if kind in {"SOP Class", "Meta SOP Class"} else None
        if offer is None:
            continue
        alone = {action: _offer(uid, frozenset({action})) for action in Action}
        as_scp = tuple(action for action, given in alone.items() if given is not None and given.as_scp)
        as_scu = tuple(action for action, given in alone.items() if given is not None and given.as_scu)
        found.append(Offered(uid, named(uid), offer, as_scp, as_scu))
    return tuple(found)


def _storage() -> list[Offered]:
    return [each for each in offered() if each.uid in sopclasses.STORAGE]


def _others() -> list[Offered]:
    return [each for each in offered() if each.uid not in sopclasses.STORAGE]


def _syntaxes(offer: Offer) -> str:
    names = sorted(named(uid) for uid in offer.transfer_syntaxes)
    return "all of annex B" if len(names) > 3 else ", ".join(names)


def _rights(actions: tuple[Action, ...]) -> str:
    return " or ".join(code(action) for action in actions)


def overview() -> str:
    """SOP classes by role, those of storage in one row."""
    (syntaxes,) = {_syntaxes(each.offer) for each in _storage()}
    rows = [(each.name, "Yes" if each.as_scu else "No", "Yes" if each.as_scp else "No") for each in _others()]
    rows.append(
        (
            f"Storage: the {len(_storage())} SOP classes of annex A, {syntaxes.replace('all of', 'in the transfer syntaxes of')}",
            "Yes",
            "Yes",
        )
    )
    return table(("SOP class", "User of service (SCU)", "Provider of service (SCP)"), rows)


def presentation_contexts() -> str:
    """What is accepted, in which transfer syntaxes and roles, and what right of the peer each takes."""
    rows = [(each.name, code(each.uid), _syntaxes(each.offer), "SCP" if each.as_scp else "SCU", _rights(each.as_scp)) for each in _others()]
    (scp,) = {each.as_scp for each in _storage()}
    (scu,) = {each.as_scu for each in _storage()}
    (syntaxes,) = {_syntaxes(each.offer) for each in _storage()}
    rows.append(("Each storage SOP class", "annex A", syntaxes, "SCP", _rights(scp)))
    rows.append(("Each storage SOP class", "annex A", syntaxes, "SCU, by role selection", _rights(scu)))
    return table(("Abstract syntax", "UID", "Transfer syntaxes", "Our role", "Right of the peer"), rows)


def storage_classes() -> str:
    """Every storage SOP class that can be negotiated."""
    return table(("SOP class", "UID"), [(each.name, code(each.uid)) for each in _storage()])


def transfer_syntaxes() -> str:
    """Every transfer syntax in which an object is taken."""
    (taken,) = {frozenset(map(str, each.offer.transfer_syntaxes)) for each in _storage()}
    return table(
        ("Transfer syntax", "UID", "Converted to little endian"),
        [(named(uid), code(uid), _converted(Uid(uid))) for uid in sorted(taken, key=_numbers)],
    )


def _converted(uid: Uid) -> str:
    return "yes" if is_native(uid) else "yes, decoded" if is_decodable(uid) else "no"


def named(uid: str) -> str:
    """The name of a UID in PS3.6."""
    if uid in sopclasses.NEWER_TRANSFER_SYNTAXES:
        return sopclasses.NEWER_TRANSFER_SYNTAXES[uid]
    name, _, _, retired, _ = UID_dictionary[uid]
    return name.removesuffix(" (Retired)") + (" (retired)" if retired else "")


def _numbers(uid: str) -> list[int]:
    return [int(part) for part in uid.split(".")]


# Statuses

SERVICES: Final[Mapping[str, ModuleType]] = {
    "C-ECHO": echo,
    "C-STORE": store,
    "C-FIND": find,
    "C-GET": get,
    "C-MOVE": move,
    "N-ACTION": commitment,
}

_RETRIEVED: Final[Mapping[Status, str]] = {
    Status.PENDING: "sub-operations go on; with their counts",
    Status.SUCCESS: "every object was sent, or nothing was found",
    Status.SUBOPERATIONS_FAILED: "some objects could not be sent, or were taken with a warning; with the list of those that failed",
    Status.CANNOT_PERFORM_SUBOPERATIONS: "not one object could be sent; with the list",
    Status.CANCELLED: "ended by C-CANCEL; with the counts, and the list of what failed before",
}

MEANING: Final[Mapping[str, Mapping[Status, str]]] = {
    "C-ECHO": {Status.SUCCESS: "we are here"},
    "C-STORE": {Status.SUCCESS: "the object is durable; or it was there already; or it is kept aside as a conflict with what is there"},
    "C-FIND": {
        Status.PENDING: "a match; every key asked for is supported",
        Status.PENDING_WITHOUT_OPTIONAL_KEYS: "a match; some optional key asked for is not supported, and was not matched",
        Status.SUCCESS: "no more matches",
        Status.CANCELLED: "ended by C-CANCEL",
    },
    "C-GET": _RETRIEVED,
    "C-MOVE": _RETRIEVED,
    "N-ACTION": {
        Status.SUCCESS: "the request is durable; the result follows in an N-EVENT-REPORT",
        Status.NO_SUCH_SOP_INSTANCE: "not the well-known instance",
        Status.NO_SUCH_ACTION: "not action type 1",
    },
}
"""When each service answers so. What the code names and this does not, or the other way round, is refused by `statuses`."""


class MeaningMissingError(ValueError):
    """The code and `MEANING` do not name the same statuses."""


_OF_ERRORS: Final = "leadglass.wire.dimse.statuses"
"""The statuses in it are those of `failures`."""


def _modules(module: ModuleType) -> Iterator[ModuleType]:
    """The module, and those of the door that it builds on."""
    yield module
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("leadglass.wire.dimse."):
            below = inspect.getmodule(getattr(module, node.names[0].name))
            if below is not None and below.__name__ not in {module.__name__, _OF_ERRORS}:
                yield from _modules(below)


def _named_in(module: ModuleType) -> set[Status]:
    return {
        Status[node.attr]
        for each in _modules(module)
        for node in ast.walk(ast.parse(inspect.getsource(each)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Status"
    }


def statuses_of(service: str) -> set[Status]:
    """What a service names itself, read from its source."""
    return _named_in(SERVICES[service])


def statuses_table() -> Iterator[tuple[str, str, str, str]]:
    """The rows of `statuses`."""
    for service in SERVICES:
        if statuses_of(service) != set(MEANING[service]):
            differs = ", ".join(sorted(each.name for each in statuses_of(service) ^ set(MEANING[service])))
            raise MeaningMissingError(f"{service}: tools/conformance/services.py and the code differ about {differs}")
        for status, meaning in MEANING[service].items():
            yield service, code(f"{status:04X}H"), kind_of(status).value, meaning


def statuses() -> str:
    """The statuses that each service answers with by itself."""
    return table(("Service", "Status", "Kind", "When"), statuses_table())


_BRANCH = re.compile(r"^[│ ]*[├└]── (\w+) +(?:exit \d: )?(.+)$", re.MULTILINE)
_ANY: Final = "whatever else fails on our side"


def failures() -> str:
    """What any service answers where it cannot be done: the table of errors in wire/dimse/statuses.py, in the words of errors.py."""
    told = dict(_BRANCH.findall(errors.__doc__ or ""))
    by_status: dict[Status, list[str]] = {}
    for kind, status in STATUS_OF.items():
        by_status.setdefault(status, []).append(
            told.get(kind.__name__, _ANY if kind is errors.LeadglassError else words(_spaced(kind.__name__)))
        )
    by_status.setdefault(Status.UNRECOGNIZED_OPERATION, []).append("the command is not one of a service in whose context it came")
    return table(
        ("Status", "Meaning", "When"),
        [(code(f"{status:04X}H"), words(status.name), "; or ".join(when)) for status, when in sorted(by_status.items())],
    )


def _spaced(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name)
