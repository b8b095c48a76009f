"""The tree of errors: drawn as it is, and each ends in an exit code."""

import inspect
import re

from leadglass import errors
from leadglass.errors import LeadglassError

CLASSES = {name: each for name, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, LeadglassError)}


def drawn() -> dict[str, str | None]:
    """Each class in the drawing and the one it hangs from."""
    parents: dict[str, str | None] = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^([│├└─ ]*)([A-Z][A-Za-z]+)(?:\s{2,}|$)", line)
        if match and match[2] in CLASSES:
            depth = len(match[1])
            while path and path[-1][0] >= depth:
                path.pop()
            parents[match[2]] = path[-1][1] if path else None
            path.append((depth, match[2]))
    return parents


def test_the_drawing_is_the_tree() -> None:
    real = {
        name: next((base.__name__ for base in each.__bases__ if issubclass(base, LeadglassError)), None) for name, each in CLASSES.items()
    }
    assert drawn() == real


def test_each_ends_in_a_known_exit_code() -> None:
    assert {each.exit_code for each in CLASSES.values()} <= {1, 2, 3}
