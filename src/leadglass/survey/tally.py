"""Counting without keeping: identifiers are hashed under a key of the run as they are read, and the key ends with the run."""

import hashlib
import secrets

from leadglass.survey.observations import RecordCounts
from leadglass.survey.synthetic import PATIENT_ID

DIGEST_BYTES = 12
"""Two of 10 million patients collide with a chance of 1 in 10^15."""


def run_key() -> bytes:
    """A key that no other run has: equal patients of two runs cannot be told to be equal."""
    return secrets.token_bytes(32)


def whole_number(text: str) -> int | None:
    """How many a row says there are (VR IS); None where it does not say, or no number that a count can be."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


class Tally:
    """The patients, studies and instances of one archive as they stream by.

    >>> tally = Tally(b"k" * 32)
    >>> tally.add("", "P1", "1.2", 10), tally.add("", "P1", "1.3", 5), tally.add("", "P1", "1.3", 5)
    (True, True, False)
    >>> tally.counts(exact=True)
    RecordCounts(patients=1, studies=2, instances=15, exact=True)
    """

    def __init__(self, key: bytes) -> None:
        self._keyed = hashlib.blake2b(key=key, digest_size=DIGEST_BYTES)
        self._patients: set[bytes] = set()
        self._studies: set[bytes] = set()
        self._below: set[bytes] = set()
        self._instances = 0

    def add(self, issuer: str, patient_id: str, study: str, instances: int) -> bool:
        """Count one study; False for one that was met before, and for one that a survey stored itself: it is nobody's."""
        if patient_id.startswith(PATIENT_ID):
            return False
        hashed = self._hash("study", study)
        if hashed in self._studies:
            return False
        self._studies.add(hashed)
        self._patients.add(self._hash("patient", issuer, patient_id))
        self._instances += max(0, instances)
        return True

    def is_new(self, kind: str, uid: str) -> bool:
        """Whether this series or image was not met before."""
        hashed = self._hash(kind, uid)
        if hashed in self._below:
            return False
        self._below.add(hashed)
        return True

    def add_instances(self, instances: int) -> None:
        """Count images of a study whose row did not say how many it has."""
        self._instances += max(0, instances)

    @property
    def studies(self) -> int:
        return len(self._studies)

    def counts(self, *, exact: bool) -> RecordCounts | None:
        """What was counted; None where that is nothing and need not be all: at least none says nothing."""
        if not exact and not self._studies:
            return None
        return RecordCounts(patients=len(self._patients), studies=len(self._studies), instances=self._instances, exact=exact)

    def _hash(self, *parts: str) -> bytes:
        # Copied, not made anew: the key is taken in once, not for each of millions of identifiers.
        state = self._keyed.copy()
        for part in parts:
            raw = part.strip().encode("utf-8", "surrogatepass")
            state.update(len(raw).to_bytes(8, "big") + raw)
        return state.digest()
