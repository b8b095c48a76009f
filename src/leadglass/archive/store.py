"""Store: one object on its way in, judged while it streams, kept only when it is whole."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from leadglass.access.grant import StoreGrant
from leadglass.archive.commitment import Receipts
from leadglass.dicom.header import Header
from leadglass.dicom.uid import Uid
from leadglass.dicom.validate import Validator
from leadglass.errors import BadDataSet, BadInput, NoRoom, NotAllowed
from leadglass.vault.deposit import Deposit as Incoming
from leadglass.vault.vault import Vault
from leadglass.vocabulary import Outcome, StoreResult


@dataclass(frozen=True)
class Limits:
    """Bounds on what is taken in."""

    max_object_bytes: int


@dataclass(frozen=True)
class Provenance:
    """What the sender said about the object before its first byte; None where the door cannot know it."""

    sop_class: Uid | None = None
    sop_instance: Uid | None = None
    study: Uid | None = None
    implementation_class: str | None = None
    implementation_version: str | None = None


class Deposit:
    """One object being taken in: `write` pieces, then `commit` or `abandon`.

    `write` and `commit` raise `BadDataSet`, `NotAllowed` and `NoRoom`; after any of them the deposit is over and nothing of it was kept.
    """

    def __init__(
        self, grant: StoreGrant, vault: Vault, transfer_syntax: Uid, provenance: Provenance, limits: Limits, receipts: Receipts
    ) -> None:
        self._grant = grant
        self._vault = vault
        self._transfer_syntax = transfer_syntax
        self._provenance = provenance
        self._receipts = receipts
        self._validator = Validator(transfer_syntax, max_bytes=limits.max_object_bytes)
        self._before_header = bytearray()
        self._incoming: Incoming | None = None
        self._make_outcome_durable: Callable[[], None] | None = None
        self._over = False

    @property
    def header(self) -> Header | None:
        """What the object says of itself, once so much of it has come."""
        return self._validator.header

    def write(self, data: bytes | memoryview) -> None:
        """Take the next piece of the data set, of any size."""
        try:
            self._validator.feed(data)
            if self._incoming is not None:
                self._incoming.write(data)
                return
            if self._validator.header is None:
                self._before_header += data
            else:
                self._begin(self._validator.header).write(data)
        except BaseException as error:
            self._give_up(error)
            raise

    def commit(self) -> StoreResult:
        """End the object: durable, indexed and in the trail when this returns; `already-there` and `conflict` are success too."""
        try:
            header = self._validator.finish()
            incoming = self._incoming or self._begin(header)
            result = incoming.commit(partial(self._announce, header.study))
        except BaseException as error:
            self._give_up(error)
            raise
        self._over = True
        self._receipts.note(self._grant.principal.id, header.instance, result)
        assert self._make_outcome_durable is not None  # noqa: S101 - commit announced it
        self._make_outcome_durable()
        return result

    def abandon(self) -> None:
        """Keep nothing; without effect once the deposit is over."""
        if not self._over:
            self._end(Outcome.CANCELLED)

    def _begin(self, header: Header) -> Incoming:
        """Judge the header before a byte is kept, then open the blob with what came of it before."""
        declared = self._provenance
        if declared.sop_instance is not None and declared.sop_instance != header.instance:
            raise BadDataSet("the data set's SOP Instance UID is not the one that was announced; send each object under its own UID")
        if declared.sop_class is not None and declared.sop_class != header.sop_class:
            raise BadDataSet("the data set's SOP Class UID is not the one that was announced; send each object under its own class")
        if declared.study is not None and declared.study != header.study:
            raise BadDataSet("the data set belongs to another study than the one named in the request")
        if not self._grant.visible.admits(header.values):
            raise NotAllowed("the policy does not let this principal store into such a study; see `leadglass policy explain`")
        sender = {"principal": self._grant.principal.id}
        if declared.implementation_class is not None:
            sender["implementation_class"] = declared.implementation_class
        if declared.implementation_version is not None:
            sender["implementation_version"] = declared.implementation_version
        self._incoming = self._vault.deposit(header, self._transfer_syntax, self._grant.visible, route=self._grant.door, sender=sender)
        if self._before_header:
            self._incoming.write(bytes(self._before_header))
            self._before_header.clear()
        return self._incoming

    def _announce(self, study: Uid, result: StoreResult) -> None:
        """Let the outcome be written while the object is: both are durable before the acknowledgement, and one flush's time is enough."""
        self._make_outcome_durable = self._grant.begin_settling(Outcome.DONE, studies=[study], count=1, detail={"result": result})

    def _give_up(self, error: BaseException) -> None:
        self._end(Outcome.REFUSED if isinstance(error, BadInput | NotAllowed | NoRoom) else Outcome.FAILED)

    def _end(self, outcome: Outcome) -> None:
        if self._over:
            return
        self._over = True
        if self._incoming is not None:
            self._incoming.abandon()
        if self._make_outcome_durable is not None:
            self._grant.withdraw(outcome)
            return
        header = self._validator.header
        self._grant.settle(outcome, studies=[header.study] if header is not None else [])
