"""Text that must not be printed: passwords, tokens, private keys."""

import hmac


class Secret:
    """Holds a secret and gives it out only by `reveal`; every other way of printing it shows nothing.

    >>> Secret("correct horse")
    Secret(…)
    >>> f"{Secret('correct horse')}"
    'Secret(…)'
    """

    __slots__ = ("_value",)

    def __init__(self, value: str | bytes) -> None:
        self._value = value.encode() if isinstance(value, str) else value

    def reveal(self) -> str:
        return self._value.decode()

    def reveal_bytes(self) -> bytes:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        raise TypeError("a secret is not a key of anything")

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")
