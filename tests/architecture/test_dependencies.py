"""What is installed is what was locked, what is imported is declared, and neither says anything of the machine it was made on."""

import ast
import re
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.tree import ROOT, project_files, python_files

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))

MACHINE = re.compile(
    "|".join(
        [
            "/wor" + r"k/(main|notes|shared)\b",
            r"/roo" + r"t/\.",
            "/opt/(py" + "pi|wheels)",
            "/tmp/" + "tool",
            r"pypi\." + "org",
            "files.python" + "hosted",
            r"deb\.deb" + "ian",
            "registry.npm" + "js",
            "--(extra-)?index-" + "url",
            "find-" + "links=",
        ]
    )
)
"""Paths of a developer's machine and hosts of registries; written in pieces, so that this file does not match itself."""


def pins(lock: Path) -> Mapping[str, str]:
    """Name and version of every package of a lock file."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", lock.read_text(), flags=re.MULTILINE))


def declared(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_locked_package_has_a_hash(lock: Path) -> None:
    blocks = re.split(r"^(?=[a-z0-9])", lock.read_text(), flags=re.MULTILINE)[1:]
    assert blocks
    assert [block for block in blocks if "--hash=sha256:" not in block] == []


def test_the_locks_hold_what_is_declared_and_tests_run_against_what_users_get() -> None:
    runtime, dev = pins(ROOT / "requirements/runtime.txt"), pins(ROOT / "requirements/dev.txt")
    groups = PROJECT["dependency-groups"]
    assert declared(PROJECT["project"]["dependencies"]) | declared(groups["build"]) <= set(runtime)
    assert declared(groups["dev"]) <= set(dev)
    assert runtime.items() <= dev.items()


def imported_packages(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"leadglass", "_typeshed"}


def test_what_we_import_we_declare_and_what_we_declare_we_import() -> None:
    """A package that only another one brings may be gone with that one's next version; one that nobody uses is a risk for nothing."""
    bringing = packages_distributions()
    distributions = {name: [each for each in found if not each.endswith("-stubs")] for name, found in bringing.items()}
    imported = {canonicalize_name(distributions[name][0]) for path in python_files() for name in imported_packages(path.read_text())}
    said = declared(PROJECT["project"]["dependencies"])
    assert imported <= said
    # uvicorn imports it by name, for the parser that we choose.
    assert said - imported == {"httptools"}


def test_no_file_names_a_registry_or_a_machine() -> None:
    named = []
    for path in project_files():
        for number, line in enumerate(path.read_bytes().decode(errors="replace").splitlines(), start=1):
            if MACHINE.search(line):
                named.append(f"{path.relative_to(ROOT)}:{number}")
    assert named == []
    assert MACHINE.search("--index-" + "url http://localhost")
