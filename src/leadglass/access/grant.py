"""Grants: the proof that the gate admitted a request. An operation takes one, only the gate makes one, each is settled once."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Self, TypeAlias

from leadglass.access.identity import Principal
from leadglass.dicom.predicate import StudyPredicate
from leadglass.errors import BadInput, NoRoom, Refused
from leadglass.vocabulary import Action, Door, Outcome

Detail: TypeAlias = Mapping[str, str | int]
NOTHING: Detail = {}

_REFUSED = (Refused, BadInput, NoRoom)


class _OnlyTheGateMakes(type):
    """A class that cannot be called: `SomeGrant(...)` is a TypeError, at run time as for the type checker's reader."""

    def __call__(cls, *_args: object, **_kwargs: object) -> Any:  # noqa: ANN401
        raise TypeError(f"{cls.__name__} is made by the gate alone: ask Gate.admit_...")


class Grant(metaclass=_OnlyTheGateMakes):
    """One admitted request of one principal; a context manager that records the outcome however the block ends."""

    action: ClassVar[Action]
    intent_first: ClassVar[bool] = True
    """Whether the intent is durable before the operation starts. Not where nothing leaves the archive before the outcome is durable."""
    outcome_when_left: ClassVar[Outcome] = Outcome.FAILED
    """What is recorded when the block ends without an exception and without `settle`: saying nothing is not success."""

    def __init__(
        self, principal: Principal, door: Door, address: str, visible: StudyPredicate, intent: int, record: "Record", abandon: "Abandon"
    ) -> None:
        self.principal = principal
        self.door = door
        self.address = address
        self.visible = visible
        """Which studies this request may be about; every look-up under the grant is restricted to it."""
        self.intent = intent
        """The sequence number of its intent in the trail."""
        self._record = record
        self._abandon = abandon
        self._lock = threading.Lock()
        self._settled = False

    @classmethod
    def _issue(
        cls, principal: Principal, door: Door, address: str, visible: StudyPredicate, intent: int, record: "Record", abandon: "Abandon"
    ) -> Self:
        grant: Self = type.__call__(cls, principal, door, address, visible, intent, record, abandon)
        return grant

    @property
    def settled(self) -> bool:
        return self._settled

    def settle(self, outcome: Outcome, *, studies: Iterable[str] = (), count: int = 0, detail: Detail = NOTHING) -> None:
        """Record how the request ended; durable on return, so acknowledge after it.

        Raises RuntimeError the second time, and `TrailUnwritable` when it could not be made durable: then nothing may be acknowledged.
        """
        self._settle(outcome, studies, count, detail).make_durable()

    def begin_settling(
        self, outcome: Outcome, *, studies: Iterable[str] = (), count: int = 0, detail: Detail = NOTHING
    ) -> Callable[[], None]:
        """As `settle`, but return while it is being written; the call given back waits for the end of that.

        Acknowledge only after that. If what was recorded does not come true, `withdraw` it.
        """
        queued = self._settle(outcome, studies, count, detail)
        queued.begin()
        return queued.make_durable

    def withdraw(self, outcome: Outcome) -> None:
        """Record how a request really ended whose outcome was begun to be settled; durable on return, errors as `settle`."""
        self._record(self, outcome, (), 0, {"withdrawn": 1}).make_durable()

    def _settle(self, outcome: Outcome, studies: Iterable[str], count: int, detail: Detail) -> "Queued":
        with self._lock:
            if self._settled:
                raise RuntimeError("a grant is settled once")
            queued = self._record(self, outcome, tuple(studies), count, detail)
            self._settled = True
        return queued

    def announce(self, studies: Iterable[str]) -> None:
        """Record which studies it is about, before the first byte of them leaves; durable on return."""
        self.require_open()
        self._record(self, None, tuple(studies), 0, NOTHING).make_durable()

    def require_open(self) -> None:
        """Raise RuntimeError when this grant was settled: what it allowed is over."""
        if self._settled:
            raise RuntimeError("this grant was settled: ask the gate for a new one")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._settled:
            return
        if kind is None:
            self.settle(self.outcome_when_left)
        elif not issubclass(kind, Exception):
            # GeneratorExit, KeyboardInterrupt, a cancelled asyncio task: nothing failed, somebody stopped it.
            self.settle(Outcome.CANCELLED)
        elif issubclass(kind, _REFUSED):
            self.settle(Outcome.REFUSED)
        else:
            self.settle(Outcome.FAILED)

    def __del__(self) -> None:
        # A collector may run inside the trail's own lock: leave a note, the gate's next call records it.
        if not getattr(self, "_settled", True):
            self._abandon(self.intent, self.principal.id, self.door, self.address, self.action)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.principal.id}, intent={self.intent}, settled={self._settled})"


@dataclass(frozen=True, slots=True)
class Queued:
    """The entries of an outcome, queued."""

    begin: Callable[[], None]
    """Lets them be written while the caller does something else."""
    make_durable: Callable[[], None]
    """Returns when they are; raises `TrailUnwritable`."""


Record: TypeAlias = Callable[[Grant, Outcome | None, tuple[str, ...], int, Detail], Queued]
"""Queues the entries of an outcome, or of studies that are announced."""
Abandon: TypeAlias = Callable[[int, str, Door, str, Action], None]


class EchoGrant(Grant):
    """To be told that we are here."""

    action = Action.ECHO
    intent_first = False
    outcome_when_left = Outcome.DONE


class StoreGrant(Grant):
    """To hand in one object, if `visible` admits its study."""

    action = Action.STORE
    intent_first = False


class FindGrant(Grant):
    """To search among the studies that `visible` admits."""

    action = Action.FIND


class GetGrant(Grant):
    """To be given objects of the studies that `visible` admits."""

    action = Action.GET


class SettleGrant(Grant):
    """To be told of conflicts in the studies that `visible` admits, without their values, and to settle them."""

    action = Action.SETTLE


class MoveGrant(Grant):
    """To have objects of the studies that `visible` admits sent to a known destination."""

    action = Action.MOVE


class CommitmentGrant(Grant):
    """To be told of objects that they are kept safely: of those that one has handed in, and of those in studies that `visible` admits."""

    action = Action.STORE


class AdministerGrant(Grant):
    """To change people, peers, tokens, keys or the policy."""

    action = Action.ADMINISTER


class TrailGrant(Grant):
    """To read the trail."""

    action = Action.READ_TRAIL


class SigningIn(metaclass=_OnlyTheGateMakes):
    """That somebody proves now who he is: uses up a code of that account, and changes nothing else. No grant: it admits to nothing."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def _issue(cls, name: str) -> Self:
        made: Self = type.__call__(cls, name)
        return made

    def require(self, name: str) -> None:
        """Raise TypeError unless it is about this account."""
        if name != self.name:
            raise TypeError("whoever signs in changes his own account alone")
