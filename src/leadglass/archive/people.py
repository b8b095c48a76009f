"""How people sign in: their passwords, their second factors and their sessions; each call asks the gate for itself."""

from leadglass.access.accounts import generate_password
from leadglass.access.factors import otpauth
from leadglass.access.grant import AdministerGrant
from leadglass.access.identity import Principal
from leadglass.access.secret import Secret
from leadglass.archive.administration import Parts
from leadglass.archive.alerts import alert, seen_by
from leadglass.archive.rows import Row
from leadglass.errors import BadInput, WrongUsage
from leadglass.vocabulary import Door, Outcome


class People:
    """What one caller may change of how people sign in."""

    def __init__(self, parts: Parts, principal: Principal, door: Door, address: str) -> None:
        self._parts = parts
        self._who = (principal, door, address)

    def _admit(self, verb: str, name: str) -> AdministerGrant:
        try:
            return self._parts.gate.admit_administer(*self._who, detail={"verb": verb, "user": name})
        except BadInput:
            # The trail takes no such name, so nobody can have been given it.
            raise WrongUsage("names are ASCII letters, digits and common signs; no user is called otherwise") from None

    def _told(self, verb: str, name: str) -> dict[str, str | int]:
        """Whoever is given another's password and second factor can be him: of somebody who sees patients, that gives access to them."""
        account = self._parts.registry.accounts.get(name)
        return alert(verb, name) if account and seen_by(self._parts.gate.policy, account.roles) else {}

    def _require(self, name: str) -> None:
        account = self._parts.registry.accounts.get(name)
        if account is None or account.disabled:
            raise WrongUsage(f"there is no user {name} who could sign in; `leadglass user list` shows them")

    def set_password(self, name: str, password: str | None) -> Row:
        """Give a person another password, which ends his sessions; without one it is made and given back, once."""
        with self._admit("user-password", name) as grant:
            self._require(name)
            chosen = Secret(password) if password is not None else generate_password()
            self._parts.registry.accounts.set_password(grant, name, chosen)
            grant.settle(Outcome.DONE, count=1, detail=self._told("user-password", name))
            return {"password": chosen.reveal()} if password is None else {}

    def set_factor(self, name: str) -> Row:
        """Give a person a new second factor, which ends his sessions: its otpauth URI and its recovery codes, once."""
        with self._admit("user-factor", name) as grant:
            self._require(name)
            secret, codes = self._parts.registry.accounts.set_factor(grant, name)
            grant.settle(Outcome.DONE, count=1, detail=self._told("user-factor", name))
            return {"uri": otpauth(f"leadglass {self._parts.aet}", name, secret), "recovery_codes": [code.reveal() for code in codes]}

    def sign_out(self, name: str) -> int:
        """End every session of a person; gives how many there were."""
        with self._admit("user-sign-out", name) as grant:
            if self._parts.registry.accounts.get(name) is None:
                raise WrongUsage(f"there is no user {name}; `leadglass user list` shows them")
            count = self._parts.registry.sessions.end(lambda session: session.name == name)
            grant.settle(Outcome.DONE, count=count)
            return count
