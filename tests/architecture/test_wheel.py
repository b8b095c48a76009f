"""The wheel, with the runtime list and nothing else, starts."""

import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.architecture.test_dependencies import pins
from tests.architecture.tree import ROOT, SOURCE, project_files

BUILD_ONLY = {"hatchling", "pathspec", "pluggy", "trove-classifiers", "packaging"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what is under version control."""
    folder = tmp_path_factory.mktemp("wheel")
    for path in project_files():
        copy = folder / "tree" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", folder, folder / "tree"], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path) -> Path:
    """A site-packages folder with the wheel and the packages of the runtime list, linked from the environment of the tests."""
    folder = wheel.parent / "site"
    folder.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    for name in pins(ROOT / "requirements/runtime.txt").keys() - BUILD_ONLY:
        installed = distribution(name)
        for top in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(installed.locate_file(top))))
    return folder


def run(site: Path, code: str) -> subprocess.CompletedProcess[str]:
    start = f"import sys; sys.path.insert(0, {str(site)!r}); {code}"
    return subprocess.run([sys.executable, "-I", "-S", "-W", "error", "-c", start], capture_output=True, text=True, check=False)


def test_the_wheel_holds_every_module_and_says_that_it_is_typed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"leadglass/{path.relative_to(SOURCE).as_posix()}" for path in SOURCE.rglob("*.py")} <= names
    assert "leadglass/py.typed" in names
    assert not [name for name in names if not re.match(r"leadglass(-[0-9.]+\.dist-info)?/", name)]


def test_the_command_line_starts(site: Path) -> None:
    done = run(site, "sys.argv = ['leadglass', '--help']; from leadglass.cli import main; main()")
    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout


def test_every_module_can_be_imported(site: Path) -> None:
    names = "(module.name for module in pkgutil.walk_packages(leadglass.__path__, 'leadglass.') if '__main__' not in module.name)"
    done = run(site, f"import pkgutil, importlib, leadglass; list(map(importlib.import_module, {names}))")
    assert done.returncode == 0, done.stderr


def test_what_tests_need_is_not_there(site: Path) -> None:
    assert run(site, "import pytest").returncode != 0
    assert run(site, "import pydicom").returncode == 0
