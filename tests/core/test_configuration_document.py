"""docs/configuration.md and the file that `init` writes say all there is to set, and what they show can be set."""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from leadglass.access.policy import DEFAULT_POLICY, parse_policy
from leadglass.assemble.founding import Founding, settings_text
from leadglass.config import Settings, parse_settings
from leadglass.errors import ConfigurationError
from leadglass.home import Home

SETTINGS, POLICY = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text().split("\n## policy.toml\n")
NOT_SET = "not set"


def blocks(text: str) -> list[str]:
    return re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def defaults() -> dict[str, object]:
    """Every key of leadglass.toml with its default."""
    return {
        f"{section}.{key}": value
        for section, model in Settings()
        if isinstance(model, BaseModel)
        for key, value in model.model_dump().items()
    }


def test_every_setting_is_described_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+\.\w+)` \| (.+?) \| (.+) \|$", SETTINGS, re.MULTILINE)
    described = {key: None if told == NOT_SET else tomllib.loads(f"value = {told.strip('`')}")["value"] for key, told, _ in rows}
    assert described == defaults()
    assert len(rows) == len(described) > 10


def test_the_settings_shown_can_be_set() -> None:
    assert [parse_settings(text).archive.aet for text in blocks(SETTINGS)] == ["PACS_NORTH"]


@pytest.mark.parametrize("unsafe", [False, True])
def test_init_writes_every_setting_and_as_it_is(unsafe: bool, tmp_path: Path) -> None:
    root_key = tmp_path / "root.key"
    text = settings_text(Founding(Home(tmp_path / "home"), unsafe_key_beside_data=unsafe), root_key)
    whole = tomllib.loads(re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE))
    said = {f"{section}.{key}": value for section, keys in whole.items() for key, value in keys.items()}
    chosen = {
        "keys.root_key": str(root_key),
        "keys.unsafe_key_beside_data": unsafe,
        "dimse.unsafe_plaintext_listen": "127.0.0.1:104",
        "dimse.max_associations_per_peer": 32,
        "dimse.additional_storage_classes": ["1.2.3.4"],
    }
    assert said == defaults() | chosen
    in_force = {
        f"{section}.{key}" for section, keys in parse_settings(text) if isinstance(keys, BaseModel) for key in keys.model_fields_set
    }
    assert in_force >= {"archive.aet", "keys.root_key", "dimse.listen", "web.listen"}
    assert parse_settings(text).weakened() == (Settings.model_validate({"keys": {"unsafe_key_beside_data": unsafe}}).weakened())


@pytest.mark.parametrize("table", ["rule", "rule.where"])
def test_every_key_of_a_rule_is_described(table: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_policy(
            '[[rule]]\nlocal = true\nmay = ["administer"]\n'
            + (f'[[{table}]]\nattribute = "Modality"\nvalues = ["CT"]\n' * (table != "rule"))
            + "unknown = 1\n"
        )
    known = str(refused.value).split("known here: ")[1].split(", ")
    heading = {"rule": "key of a rule", "rule.where": "key of `[[rule.where]]`"}[table]
    described = POLICY.split(f"| {heading} |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", described, re.MULTILINE) == known


def test_every_attribute_of_a_condition_is_listed() -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_policy('[[rule]]\nlocal = true\nmay = ["find"]\n[[rule.where]]\nattribute = "Unknown"\nvalues = ["CT"]\n')
    known = set(str(refused.value).split("take one of ")[1].split(", "))
    assert set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^- of a .*$", POLICY, re.MULTILINE)))) == known


def test_the_policies_shown_can_be_applied() -> None:
    assert [len(parse_policy(text).rules) for text in blocks(POLICY)] == [2, 4, 3]
    assert set(re.findall(r"^(?:# {5})?(\w+) = ", DEFAULT_POLICY, re.MULTILINE)) >= {
        "roles",
        "peers",
        "local",
        "may",
        "studies",
        "attribute",
    }
