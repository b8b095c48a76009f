"""Signing in: a name, its password and a code of its second factor, all three at once, and one answer whatever was wrong."""

from dataclasses import dataclass

from leadglass.access.clock import Clock
from leadglass.access.grant import SigningIn
from leadglass.access.identity import PasswordAndCode
from leadglass.access.registry import Registry, Stranger, proof_of
from leadglass.access.secret import Secret
from leadglass.access.throttle import Throttle, network_of

OF_A_NAME = (10, 30.0)
"""Tries at once, then one each so many seconds. Whoever tries all the time keeps the person out as well, so it is not slower than this."""
OF_AN_ADDRESS = (30, 10.0)
"""A ward may share one."""
OF_A_CODE = (10, 600.0)
"""Wrong codes after the right password: at three good ones in a million, 144 guesses a day find one in a year with one chance in seven."""


@dataclass(frozen=True)
class SignedIn:
    """A session that was opened: its id, what the browser is to show, how it was proved, and the recovery codes that are left."""

    session: str
    cookie: Secret
    how: str
    left: int


@dataclass(frozen=True)
class TooOften:
    """He has to wait, whoever he is."""

    seconds: int


class SignIn:
    """Lets people in; thread-safe."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._of_names = Throttle(*OF_A_NAME, clock)
        self._of_addresses = Throttle(*OF_AN_ADDRESS, clock)
        self._of_codes = Throttle(*OF_A_CODE, clock)

    def wait(self, name: str, address: str) -> int:
        """Take one try; gives the seconds to wait, 0 if the try may be made. It says the same of a name that nobody has."""
        if seconds := self._of_addresses.take(network_of(address)):
            return seconds
        if seconds := self._of_names.take(name):
            self._of_addresses.give_back(network_of(address))
            return seconds
        return 0

    def prove(self, authority: SigningIn, shown: PasswordAndCode, address: str) -> SignedIn | Stranger:
        """A session for who shows this; a password is guessed at whether or not there is such a person, and takes as long."""
        accounts = self._registry.accounts
        right = accounts.matches(shown.name, shown.password)
        account = accounts.get(shown.name)
        if account is None:
            return Stranger.UNKNOWN_USER
        if not right:
            return Stranger.WRONG_PASSWORD
        known = self._registry.user(shown.name)
        if isinstance(known, Stranger):
            return known
        if account.factor is None:
            return Stranger.NO_SECOND_FACTOR
        if self._of_codes.take(shown.name):
            return Stranger.TOO_MANY_CODES
        used = accounts.use_code(authority, shown.code)
        if used is None:
            return Stranger.WRONG_CODE
        self._of_codes.give_back(shown.name)
        self._of_names.give_back(shown.name)
        self._of_addresses.give_back(network_of(address))
        session, cookie = self._registry.sessions.open(shown.name, proof_of(account))
        return SignedIn(session, cookie, used.how, len(used.factor.recovery))
