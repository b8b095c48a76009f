"""The walls between the packages stand, and would be seen to fall."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, SOURCE

CONTRACTS = (ROOT / ".importlinter").read_text()


def lint_imports(source: Path, configuration: Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [Path(sys.executable).parent / "lint-imports", "--no-cache", "--no-logo", "--config", configuration]
    # The folder of the module that is run comes first on its path: a copy is checked instead of what is installed.
    environment = {"PYTHONPATH": str(source), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=source, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def test_every_contract_is_kept() -> None:
    done = lint_imports(SOURCE.parent, ROOT / ".importlinter")
    assert done.returncode == 0, done.stdout
    assert f"{CONTRACTS.count('type = ')} kept, 0 broken" in done.stdout


def test_no_contract_is_commented_out_or_has_an_exception() -> None:
    assert "# leadglass" not in CONTRACTS
    assert "ignore_imports" not in CONTRACTS


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("survey/planted.py", "import leadglass.vault", "The survey knows nothing of the archive it may be pointed at"),
        ("wire/dimse/planted.py", "import leadglass.vault", "Only the archive opens the vault"),
        ("wire/dimse/planted.py", "import leadglass.access.gate", "Only the archive asks the gate"),
        ("wire/dimse/planted.py", "import leadglass.archive.fetch", "An operation is reached through the archive, never past the gate"),
        ("wire/dimse/planted.py", "import leadglass.wire.dicomweb", "A door does not know another door"),
        ("trail/planted.py", "import leadglass.net", "Only doors, the survey and those who set them up reach the network"),
        ("seal/planted.py", "import socket", "Inside, all is synchronous and without sockets"),
        ("access/planted.py", "import apsw", "SQL is spoken in the vault alone"),
        ("vault/planted.py", "import sqlite3", "Nothing is written by an SQLite that cannot encrypt"),
        ("dicom/planted.py", "import pynetdicom", "What tests compare us with is not what we are made of"),
        ("dicom/planted.py", "import leadglass.config", "No cycles"),
        ("dicom/planted.py", "import leadglass.seal", "Imports only go down, and every module has its floor"),
        ("utils.py", "", "Imports only go down, and every module has its floor"),
    ],
)
def test_a_fallen_wall_is_seen(tmp_path: Path, file: str, line: str, broken: str) -> None:
    copy = tmp_path / "leadglass"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / file).write_text(f"{line}\n")
    if broken == "No cycles":
        (copy / "config.py").write_text("import leadglass.dicom\n")
    done = lint_imports(tmp_path, ROOT / ".importlinter")
    assert done.returncode == 1, done.stdout
    assert f"{broken} BROKEN" in done.stdout
