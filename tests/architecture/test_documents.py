"""What the documents show is run, and what they name exists."""

import re
import shlex
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser
from typer.testing import CliRunner

from leadglass.cli import app
from tests.architecture.tree import ROOT, project_files

DOCUMENTS = [path for path in project_files() if path.suffix == ".md"]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`leadglass (?![^`\n]+ v\d+`)([^`\n]+)`(?!`)")
"""Not the names of formats on disk, which begin with the same word and end in a version."""
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_python_examples_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sybil = Sybil(parsers=[PythonCodeBlockParser()])
    for path in DOCUMENTS:
        for example in sybil.parse(path).examples():
            example.evaluate()


def shown_commands(text: str) -> list[str]:
    """The calls of leadglass in a document: in its text, and in its blocks after a prompt in `console`, else at the start of a line."""
    return [f"leadglass {call}" for call in INLINE.findall(BLOCK.sub("", text))] + [
        line.removeprefix("$ ").partition(" #")[0]
        for block in BLOCK.finditer(text)
        if block["language"] in {"console", "sh", "bash"}
        for line in block["body"].replace("\\\n", " ").splitlines()
        if re.match(r"(\$ )?leadglass ", line)
    ]


def unknown_words(words: list[str]) -> list[str]:
    """What of the `words` after `leadglass` its help does not know: a verb, or an option of the verb."""
    if words[0].startswith("-"):
        words = ["", *words]
    verbs = [word for word in words[:1] if word]
    told = CliRunner().invoke(app, [*verbs, "--help"])
    if told.exit_code == 0 and "Commands:" in told.output and verbs and len(words) > 1:
        verbs = words[:2]
        told = CliRunner().invoke(app, [*verbs, "--help"])
    if told.exit_code != 0:
        return verbs[-1:]
    known = set(re.findall(r"--[a-z-]+", told.output))
    return [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_a_command_that_is_shown_exists(path: Path) -> None:
    shown = shown_commands(path.read_text())
    assert [(line, unknown) for line in shown if (unknown := unknown_words(shlex.split(line)[1:]))] == []


def test_a_command_that_does_not_exist_is_seen() -> None:
    assert shown_commands("```console\n$ leadglass sreve HOME # why\nready\n```\n") == ["leadglass sreve HOME"]
    assert shown_commands("Run `leadglass sreve HOME`, not `other`.\n```text\n`leadglass in a block`\n```\n") == ["leadglass sreve HOME"]
    assert unknown_words(["sreve", "HOME"]) == ["sreve"]
    assert unknown_words(["peer", "ad", "HOME"]) == ["ad"]
    assert unknown_words(["serve", "HOME", "--opne"]) == ["--opne"]
    assert unknown_words(["serve", "--web=127.0.0.1:0", "HOME"]) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_a_link_leads_somewhere_and_a_target_of_make_exists(path: Path) -> None:
    text = path.read_text()
    assert [link for link in LINK.findall(text) if not (path.parent / link).exists()] == []
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= TARGETS


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    records = {path.name for path in folder.glob("*.md")} - {"README.md"}
    assert records == set(LINK.findall((folder / "README.md").read_text())) - {"../../ARCHITECTURE.md"}
