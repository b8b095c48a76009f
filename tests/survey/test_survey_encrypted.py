"""With --encrypt-to nothing in clear is written: what the folder holds opens with the identity alone, for us and for age."""

import base64
import json
from pathlib import Path

import pyrage
import pytest
from typer.testing import CliRunner, Result

from leadglass.cli import app
from leadglass.errors import ConfigurationError, WrongUsage
from leadglass.survey import journal
from leadglass.survey.folder import Folder, Identities, Seal
from leadglass.survey.merge import merge
from leadglass.survey.observations import Observation
from leadglass.survey.shard import Shard
from tests.survey.harness import scope_text
from tests.survey.playing import Played, play
from tests.survey.test_survey_shards import comparable

IN_CLEAR = (b"North", b"10.2.0.5", b"Lille", b"records", b"survey", b"Hospital", b"security@example.org")
AGE = b"age-encryption.org/v1\n-> X25519 "


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key.txt"
    path.write_text(f"# created: today\n# public key: age1...\n{pyrage.x25519.Identity.generate()}\n")
    return path


def recipient(key: Path) -> str:
    return str(pyrage.x25519.Identity.from_str(key.read_text().splitlines()[2]).to_public())


def clear_text_in(folder: Path) -> list[tuple[str, bytes]]:
    """Where something of the survey stands in clear, in base64 too."""
    found = []
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for word in IN_CLEAR:
            spelled = {word, *(base64.b64encode(b"x" * at + word)[4:-4] for at in (3, 4, 5))}
            found += [(path.name, each) for each in spelled if (each == word or len(each) >= 10) and each in content]
    return found


def opened(path: Path, key: Path) -> bytes:
    """An age file, opened without our code."""
    return bytes(pyrage.decrypt(path.read_bytes(), [pyrage.x25519.Identity.from_str(key.read_text().splitlines()[2])]))


def test_nothing_in_clear_is_written(tmp_path: Path, key: Path) -> None:
    out, clear = tmp_path / "out", tmp_path / "clear"
    during: list[list[tuple[str, bytes]]] = []
    play(out, recipients=[recipient(key)], progress=lambda _: during.append(clear_text_in(out)))
    play(clear)
    assert clear_text_in(clear)
    assert clear_text_in(out) == []
    assert during == [[]] * 33
    assert {path.name for path in out.iterdir()} == {f"{path.name}.age" for path in clear.iterdir()}
    for path in out.iterdir():
        lines = path.read_bytes().splitlines() if path.name == "journal.jsonl.age" else []
        assert all(each.startswith(AGE) for each in ([base64.b64decode(line) for line in lines] or [path.read_bytes()]))
    assert json.loads(opened(out / "results.json.age", key))["totals"] == json.loads((clear / "results.json").read_text())["totals"]
    assert len(opened(out / "report.html.age", key)) == len((clear / "report.html").read_bytes())


def stopped(out: Path, to: list[str]) -> None:
    def answer(system: object) -> Observation:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(out, probe=Played(answer), recipients=to)


def test_an_encrypted_survey_goes_on_with_its_identity_alone(tmp_path: Path, key: Path) -> None:
    out, to = tmp_path / "out", [recipient(key)]
    stopped(out, to)
    with pytest.raises(ConfigurationError, match="--identity"):
        play(out, recipients=to, resume=True)
    with pytest.raises(ConfigurationError, match="with --encrypt-to, as it was begun"):
        play(out, resume=True, identity=key)
    with pytest.raises(ConfigurationError, match="not finished"):
        play(out, recipients=to)
    assert play(out, recipients=to, resume=True, identity=key).addresses_asked == 33
    assert clear_text_in(out) == []
    another = tmp_path / "another.txt"
    another.write_text(str(pyrage.x25519.Identity.generate()))
    with pytest.raises(ConfigurationError, match="does not open with this identity"):
        journal.load(Folder(out, identities=Identities(another)))


def test_encrypted_shards_are_merged_and_stay_encrypted(tmp_path: Path, key: Path) -> None:
    parts, to = [tmp_path / "one", tmp_path / "two"], [recipient(key)]
    for number, part in enumerate(parts, 1):
        play(part, shard=Shard(number, 2), recipients=to)
    with pytest.raises(WrongUsage, match="is encrypted: say to whom"):
        merge(parts, tmp_path / "merged", identities=Identities(key))
    assert not (tmp_path / "merged").exists()
    merge(parts, tmp_path / "merged", seal=Seal(to), identities=Identities(key))
    assert clear_text_in(tmp_path / "merged") == []
    for path in list((tmp_path / "merged").iterdir()):
        path.with_suffix("").write_bytes(opened(path, key))
        path.unlink()
    play(tmp_path / "whole")
    assert comparable(tmp_path / "merged") == comparable(tmp_path / "whole")


@pytest.mark.parametrize("text", ["", "age1nonsense", "AGE-SECRET-KEY-1NONSENSE", "/etc/passwd"])
def test_what_is_no_recipient_or_identity_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(WrongUsage, match="age recipient") as refused:
        Seal([text])
    assert not text or text not in str(refused.value)
    (tmp_path / "key").write_text(text)
    with pytest.raises(WrongUsage, match="holds no age identity"):
        Identities(tmp_path / "key")
    with pytest.raises(WrongUsage, match="cannot be read"):
        Identities(tmp_path / "none")


def test_a_clear_folder_is_not_encrypted_over_nor_the_other_way_round(tmp_path: Path, key: Path) -> None:
    play(tmp_path / "clear")
    play(tmp_path / "sealed", recipients=[recipient(key)])
    with pytest.raises(ConfigurationError, match="not encrypted"):
        play(tmp_path / "clear", recipients=[recipient(key)])
    with pytest.raises(ConfigurationError, match="that is encrypted"):
        play(tmp_path / "sealed")


def test_the_command_line_encrypts_surveys_merges_and_comparisons(tmp_path: Path, key: Path) -> None:
    scope = tmp_path / "scope.toml"
    scope.write_text(scope_text([{"name": "North", "host": "127.0.0.1", "dimse_ports": [1]}]))

    def leadglass(*words: object) -> Result:
        return CliRunner().invoke(app, ["survey", *map(str, words)])

    to, by = ("--encrypt-to", recipient(key)), ("--identity", key)
    told = leadglass(scope, "--out", tmp_path / "a", *to)
    assert told.exit_code == 0, told.output
    assert f"report: {tmp_path / 'a' / 'report.html.age'}" in told.output.replace("\n", "")
    play(tmp_path / "b", recipients=[recipient(key)])
    assert leadglass("merge", tmp_path / "a", "--out", tmp_path / "c", *to, *by).exit_code == 0
    plain = leadglass("compare", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "d", *by)
    assert isinstance(plain.exception, WrongUsage)
    compared = leadglass("compare", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "d", *to, *by)
    assert compared.exit_code == 0, compared.output
    assert {path.name for path in (tmp_path / "d").iterdir()} == {"comparison.json.age", "comparison.html.age"}
    assert clear_text_in(tmp_path / "d") == []
