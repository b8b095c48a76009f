"""A file is read in one sitting and a function on one screen."""

import ast
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, SOURCE, python_files

FILE_LINES = 400
FUNCTION_LINES = 60


def long_functions(source: str) -> list[str]:
    return [
        f"{node.name} ({length} lines)"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]


@pytest.mark.parametrize("path", python_files(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_source_file_is_short_and_so_are_its_functions(path: Path) -> None:
    source = path.read_text()
    assert source.count("\n") <= FILE_LINES, f"{path.relative_to(ROOT)}: part it"
    assert long_functions(source) == []


def test_a_long_function_is_seen() -> None:
    assert long_functions("async def long():\n" + "    x = 1\n" * FUNCTION_LINES) == [f"long ({FUNCTION_LINES + 1} lines)"]
    assert long_functions("def short():\n" + "    x = 1\n" * (FUNCTION_LINES - 1)) == []
