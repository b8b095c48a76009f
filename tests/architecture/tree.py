"""Where the project's files are, for the tests that read them."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "leadglass"


def project_files() -> list[Path]:
    """Every file that is, or is about to be, under version control; without a repository, every file that is not hidden."""
    if not (ROOT / ".git").exists():
        return sorted(path for path in ROOT.rglob("*") if path.is_file() and not _beside_the_project(path.relative_to(ROOT)))
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return sorted(path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file())


def _beside_the_project(path: Path) -> bool:
    return path.suffix == ".pyc" or any(part.startswith(".") for part in path.parts[:-1])


def python_files(folder: Path = SOURCE) -> list[Path]:
    """Every Python file under `folder`."""
    return sorted(folder.rglob("*.py"))
