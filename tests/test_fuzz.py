"""A short look with every fuzz target, the inputs that once were crashes, and that the runner does find a crash."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz import run

MUTATIONS = 300


@pytest.mark.parametrize("name", run.names())
def test_a_target_refuses_or_takes_what_it_is_given(name: str) -> None:
    module = run.load(name)
    seeds = [*module.seeds(), *run.regressions(name)]
    assert module.seeds()
    # A whole conversation takes milliseconds: such a target says how many are enough here.
    mutations = getattr(module, "MUTATIONS", MUTATIONS)
    for _, data in zip(range(len(seeds) + mutations), run.mutated(seeds, random.Random(1)), strict=False):
        run.attempt(module.target, data)


@pytest.mark.parametrize(("body", "code"), [("if data[:2] == b'ab': raise IndexError", 1), ("data", 0)])
def test_the_runner_finds_what_a_target_may_not_raise(tmp_path: Path, body: str, code: int) -> None:
    folder = tmp_path / "fuzz"
    folder.mkdir()
    shutil.copy(run.__file__, folder / "run.py")
    (folder / "planted.py").write_text(f"def target(data):\n    {body}\n\ndef seeds():\n    return [b'aa', b'b']\n")
    done = subprocess.run(
        [sys.executable, folder / "run.py", "--seconds", "3"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == code, done.stdout
    saved = list((folder / "crashes").rglob("*"))
    assert any(path.is_file() for path in saved) == bool(code)
