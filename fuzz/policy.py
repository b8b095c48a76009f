"""policy.toml as somebody may write it."""

from leadglass.access.identity import Kind, Principal
from leadglass.access.policy import DEFAULT_POLICY, Asking, decide, parse_policy
from leadglass.errors import ConfigurationError
from leadglass.vocabulary import Action

_NOBODY = Principal("peer:NOBODY", Kind.PEER, "NOBODY")


def target(data: bytes) -> None:
    """A text is a policy or refused; whoever has no right of his own gets at most an echo out of any policy."""
    try:
        policy = parse_policy(data.decode("utf-8", "replace"))
    except ConfigurationError:
        return
    for action in Action:
        if action is not Action.ECHO and decide(policy, _NOBODY, action, Asking()) is not None:
            raise AssertionError(action)


def seeds() -> list[bytes]:
    """The default, and one with conditions."""
    where = '[[rule]]\nusers = ["a"]\nmay = ["find"]\n[[rule.where]]\nattribute = "Modality"\nvalues = ["CT"]\nquantifier = "all"\n'
    return [DEFAULT_POLICY.encode(), where.encode(), b"", b'[[rule]]\nlocal = true\nmay = ["echo"]\n']
