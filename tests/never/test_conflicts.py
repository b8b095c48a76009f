"""No verb about conflicts says a value, or that there is something, to whom the policy does not allow it."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.archives import COMMAND, ArchiveUnderTest, copy_of, leadglass
from tests.never.canary import CANARY, CANARY_UID, VISIBLE, VISIBLE_UID, Patient, found_in
from tests.never.house import encoded, hidden, visible
from tests.never.planted import CONFLICT_LEAKS

ROOT = Path(__file__).parents[2]
POLICY = """
[[rule]]
users = ["anna"]
may = ["get", "settle"]
studies = "every"

[[rule]]
users = ["bert"]
may = ["get", "settle"]
[[rule.where]]
attribute = "Modality"
values = ["CT"]
quantifier = "all"

[[rule]]
users = ["carl"]
may = ["settle"]
studies = "every"

[[rule]]
users = ["carl"]
may = ["get"]
[[rule.where]]
attribute = "Modality"
values = ["CT"]

[[rule]]
users = ["dora"]
may = ["get", "find", "store"]
studies = "every"

[[rule]]
roles = ["administrator"]
may = ["administer"]

[[rule]]
local = true
may = ["administer", "read-trail", "store"]
studies = "every"

[[rule]]
local = true
may = ["settle"]
[[rule.where]]
attribute = "Modality"
values = ["CT"]
"""
WHO = ("local", "anna", "bert", "carl", "dora", "adam")


@dataclass(frozen=True)
class Disputed:
    """Two serving archives, alike but for the canary's conflicts; tokens by whose they are; ids of the canary's conflicts."""

    holding: ArchiveUnderTest
    lacking: ArchiveUnderTest
    tokens: dict[str, Path]
    hidden: tuple[str, ...]


def objects() -> tuple[list[bytes], list[bytes]]:
    """With the canary, and without: a visible conflict; hidden ones of the same instance and of another patient in the canary's study."""
    shown = [encoded(visible(1, 1, 1)), encoded(visible(1, 1, 1, StudyDescription="CHANGED"))]
    secret = [
        encoded(hidden(1, 1, 1)),
        encoded(hidden(1, 1, 1, PixelData=bytes(64 * 64))),
        encoded(hidden(1, 1, 2, PatientID="QX-7313-ZK-2")),
        # Itself a CT that anybody here may settle; what it would replace is not.
        encoded(visible(2, 1, 1, SOPInstanceUID=f"{CANARY_UID}.1.1.1")),
        encoded(visible(3, 1, 1, StudyInstanceUID=f"{CANARY_UID}.1")),
    ]
    return shown + secret, shown


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> tuple[ArchiveUnderTest, dict[str, Path]]:
    archive = ArchiveUnderTest.found(tmp_path_factory.mktemp("disputed") / "archive")
    (archive.home / "policy.toml").write_text(POLICY)
    tokens = {}
    with archive.serving():
        for name in WHO[1:]:
            tokens[name] = archive.home.with_name(f"token-{name}")
            tokens[name].write_text(archive.token(name, "administrator" if name == "adam" else "clinician", "find,get,store,settle") + "\n")
    return archive, tokens


def disputed(founded: tuple[ArchiveUnderTest, dict[str, Path]], folder: Path, *program: str | Path) -> Iterator[Disputed]:
    archive, tokens = founded
    folder.mkdir()
    (folder / "planted").write_text("")
    made = []
    for name, whole in zip(("holding", "lacking"), objects(), strict=True):
        copied = copy_of(archive, folder / name)
        files = [folder / f"{name}-{number}.dcm" for number in range(len(whole))]
        for path, content in zip(files, whole, strict=True):
            path.write_bytes(content)
            leadglass("import", copied.home, path, code=None)
        copied.start(program=program or (COMMAND,), environment={"PLANTED": str(folder / "planted"), "PYTHONPATH": str(ROOT)})
        made.append(copied)
    try:
        listed = leadglass("conflicts", "list", made[0].home, "--token-file", tokens["anna"]).stdout
        ids = tuple(line.split()[0] for line in listed.splitlines() if CANARY_UID in line)
        assert len(ids) == 4
        yield Disputed(made[0], made[1], tokens, ids)
    finally:
        for each in made:
            each.stop()


@pytest.fixture(scope="module")
def pair(founded: tuple[ArchiveUnderTest, dict[str, Path]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disputed]:
    yield from disputed(founded, tmp_path_factory.mktemp("pair") / "twins")


def asked(pair: Disputed, archive: ArchiveUnderTest, who: str, *, briefly: bool = False) -> dict[str, str]:
    """Everything that this one can ask, with the ids of the hidden conflicts, whole and in part."""
    options = () if who == "local" else ("--token-file", pair.tokens[who])
    questions: list[tuple[str, ...]] = [("list", "--settled", "--json")]
    if not briefly:
        questions += [("list",), ("list", "--study", f"{CANARY_UID}.1"), ("list", "--kind", "other-patient")]
    for conflict in pair.hidden:
        questions += [("show", conflict, "--json")] if briefly else [("show", conflict), ("show", conflict[:6])]
    # Where it may be settled, that is what a verdict says, and it ends what can be asked.
    if who not in {"anna", "carl"} and not briefly:
        questions += [(verb, conflict) for verb in ("accept", "reject") for conflict in pair.hidden]
        questions += [("accept", pair.hidden[0], "--again")]
    answers = {}
    for verb, *words in questions:
        done = leadglass("conflicts", verb, archive.home, *words, *options, code=None)
        answers[" ".join((who, verb, *words))] = done.stdout + done.stderr
    return answers


NEITHER = (CANARY, VISIBLE)
FORBIDDEN: dict[str, tuple[Patient, ...]] = {
    "anna": (),
    "bert": (CANARY,),
    "carl": NEITHER,
    "local": NEITHER,
    "dora": NEITHER,
    "adam": NEITHER,
}
TOLD = {"anna": {CANARY_UID, VISIBLE_UID}, "bert": {VISIBLE_UID}, "carl": {CANARY_UID, VISIBLE_UID}, "local": {VISIBLE_UID}}
"""UIDs of what they may settle."""
BLIND = ("bert", "local", "dora", "adam")
"""To whom the twins must be one."""


def leaked(pair: Disputed, who: str, answers: dict[str, str]) -> list[str]:
    return [
        f"{question}: {sorted(what)}"
        for question, answer in answers.items()
        if (what := found_in(answer.encode(), FORBIDDEN[who]) - TOLD.get(who, set()))
    ]


def alike(answer: str, archive: ArchiveUnderTest) -> str:
    """An answer without what is random: the visible conflict's id, and times."""
    answer = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "TIME", answer.replace(str(archive.home), "HOME"))
    return re.sub(r'"id": ?"[0-9a-f]{12}"|^[0-9a-f]{12} ', "ID", answer, flags=re.MULTILINE)


def differences(pair: Disputed, who: str, holding: dict[str, str], *, briefly: bool = False) -> list[str]:
    if who not in BLIND:
        return []
    lacking = asked(pair, pair.lacking, who, briefly=briefly)
    return [question for question, answer in holding.items() if alike(answer, pair.holding) != alike(lacking[question], pair.lacking)]


@pytest.mark.parametrize("who", WHO)
def test_nobody_is_told_what_is_not_his_to_know(pair: Disputed, who: str) -> None:
    answers = asked(pair, pair.holding, who)
    assert leaked(pair, who, answers) == []
    assert differences(pair, who, answers) == []


def test_what_may_be_known_is_told_by_the_same_search(pair: Disputed) -> None:
    everything = "".join(asked(pair, pair.holding, "anna").values()).encode()
    assert {"Quastenflosser", "Xaverine", "Offenbarer", CANARY_UID} <= found_in(everything, (CANARY, VISIBLE))
    for who, uids in TOLD.items():
        assert uids <= found_in("".join(asked(pair, pair.holding, who).values()).encode(), (CANARY, VISIBLE))


def test_neither_log_nor_trail_says_a_value(pair: Disputed) -> None:
    for name in WHO:
        asked(pair, pair.holding, name, briefly=True)
    assert found_in(pair.holding.log().encode(), (CANARY, VISIBLE)) == set()
    told = leadglass("trail", "show", pair.holding.home, "--last", "10000", "--json").stdout
    assert found_in(told.encode(), (CANARY, VISIBLE)) <= {CANARY_UID, VISIBLE_UID}


@pytest.fixture(scope="module")
def leaking(founded: tuple[ArchiveUnderTest, dict[str, Path]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disputed]:
    yield from disputed(founded, tmp_path_factory.mktemp("leaking") / "twins", sys.executable, "-m", "tests.never.planted")


@pytest.mark.parametrize("leak", CONFLICT_LEAKS)
def test_the_oracle_finds_the_leak(leaking: Disputed, leak: str) -> None:
    planted = leaking.holding.home.parents[1] / "planted"
    planted.write_text(leak)
    found: list[str] = []
    try:
        for who in ("bert", "carl"):
            answers = asked(leaking, leaking.holding, who, briefly=True)
            found += leaked(leaking, who, answers) + differences(leaking, who, answers, briefly=True)
    finally:
        planted.write_text("")
    assert found
