"""The policy as an administrator meets it: applied from a file, explained, refused, and missing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread

from tests.archives import ArchiveUnderTest, leadglass
from tests.samples import sample

CT_STUDY = str(dcmread(sample("CT_small.dcm"), stop_before_pixels=True).StudyInstanceUID)
MR_STUDY = str(dcmread(sample("MR_small.dcm"), stop_before_pixels=True).StudyInstanceUID)
LOCAL = '[[rule]]\nlocal = true\nmay = ["administer", "read-trail", "store", "settle"]\nstudies = "every"\n'
READERS = '[[rule]]\nroles = ["clinician"]\nmay = ["find", "get"]\nstudies = "every"\n'
NO_CT = '[[rule]]\nname = "no CT"\nusers = ["clara"]\nmay_not = ["get"]\n[[rule.where]]\nattribute = "Modality"\nvalues = ["CT"]\n'


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveUnderTest]:
    archive = ArchiveUnderTest.found(tmp_path_factory.mktemp("policy"))
    archive.take_in([sample("CT_small.dcm"), sample("MR_small.dcm")])
    leadglass("user", "add", archive.home, "clara", "--role", "clinician", "--password-file", archive.home.with_name("password"))
    with archive.serving():
        yield archive


def rows(*words: str | Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(leadglass(*words, "--json").stdout)
    return found


def why(archive: ArchiveUnderTest, action: str, study: str = CT_STUDY) -> tuple[object, object]:
    (row,) = (each for each in rows("policy", "explain", archive.home, "--user", "clara", "--study", study) if each["action"] == action)
    return row["allowed"], row["why"]


def studies(archive: ArchiveUnderTest, token: str) -> httpx.Response:
    return httpx.get(f"{archive.web}/studies", headers={"Authorization": f"Bearer {token}"}, verify=archive.tls_context())


def test_a_file_is_applied_whole_and_explained(archive: ArchiveUnderTest, tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    file.write_text(LOCAL + READERS + NO_CT)
    assert "3 rules" in leadglass("policy", "apply", archive.home, file).stdout
    assert (archive.home / "policy.toml").read_text() == file.read_text()
    assert why(archive, "get") == (False, "rule 3 (no CT) takes it away")
    assert why(archive, "find") == (True, "rule 2 gives it")
    assert why(archive, "store") == (False, "no rule gives it for this study, or there is no such study")
    assert why(archive, "get", "1.2.3") == (True, "rule 2 gives it"), "no condition holds for a study that is not there"
    (applied,) = (each for each in archive.trail() if "rules" in each["detail"])
    assert (applied["outcome"], applied["detail"]["rules"]) == ("done", 3)


def test_a_file_that_cannot_be_applied_changes_nothing(archive: ArchiveUnderTest, tmp_path: Path) -> None:
    before = (archive.home / "policy.toml").read_bytes()
    file = tmp_path / "wrong.toml"
    for text in ("[[rule]\n", "[[rules]]\n", LOCAL.replace("local = true", "locale = true"), "#" * (1 << 20) + LOCAL):
        file.write_text(text)
        for verb in ("check", "apply"):
            refused = leadglass("policy", verb, archive.home, file, code=2)
            assert refused.stderr.startswith("leadglass: ")
            assert "Traceback" not in refused.stderr
        assert (archive.home / "policy.toml").read_bytes() == before


def test_who_is_given_patients_is_told_to_the_auditor(archive: ArchiveUnderTest) -> None:
    before = len(rows("trail", "alerts", archive.home))
    leadglass("user", "add", archive.home, "adam", "--role", "auditor", "--password-file", archive.home.with_name("password"))
    assert len(rows("trail", "alerts", archive.home)) == before, "an auditor sees no patient"
    leadglass("user", "role", archive.home, "adam", "--role", "auditor", "--role", "clinician")
    leadglass("token", "create", archive.home, "--user", "adam", "--may", "find")
    leadglass("user", "attribute", archive.home, "adam", "--set", "modality=CT", "--set", "modality=MR")
    told = [each["detail"] for each in rows("trail", "alerts", archive.home)[before:]]
    assert [(each["verb"], each["to"]) for each in told] == [("user-role", "adam"), ("token-create", "adam"), ("user-attributes", "adam")]
    (adam,) = (each for each in rows("user", "list", archive.home) if each["name"] == "adam")
    assert (adam["role"], adam["attributes"]) == (["auditor", "clinician"], {"modality": 2})


def test_the_last_administrator_stays_one(archive: ArchiveUnderTest) -> None:
    (admin,) = (each["name"] for each in rows("user", "list", archive.home) if each["role"] == ["administrator"])
    refused = leadglass("user", "role", archive.home, admin, "--role", "clinician", code=1)
    assert "last administrator" in refused.stderr
    leadglass("user", "role", archive.home, admin, "--role", "clinician", "--role", "administrator")
    leadglass("user", "role", archive.home, admin, "--role", "administrator")


def test_a_server_without_a_valid_policy_serves_nobody_until_there_is_one(tmp_path: Path) -> None:
    archive = ArchiveUnderTest.found(tmp_path)
    archive.take_in([sample("CT_small.dcm")])
    token = archive.token("clara")
    good = (archive.home / "policy.toml").read_text()
    (archive.home / "policy.toml").write_text("[[rules]]\n")
    assert "known here: rule" in leadglass("check", archive.home, code=2).stderr
    with archive.serving():
        assert studies(archive, token).status_code == 403
        leadglass("import", archive.home, sample("MR_small.dcm"), code=1)
        file = tmp_path / "good.toml"
        file.write_text(good)
        leadglass("policy", "apply", archive.home, file)
        assert len(studies(archive, token).json()) == 1
    assert leadglass("policy", "check", archive.home).stdout.strip() == "policy.toml is valid"


def test_a_token_reaches_the_studies_it_was_made_for_and_no_other(archive: ArchiveUnderTest, tmp_path: Path) -> None:
    file = tmp_path / "all.toml"
    file.write_text(LOCAL + READERS)
    leadglass("policy", "apply", archive.home, file)
    make = ("token", "create", archive.home, "--user", "clara", "--may", "find,get", "--where")
    every = leadglass(*make[:-1]).stdout.strip()
    only_ct = leadglass(*make, "Modality=CT,NM").stdout.strip()
    neither = leadglass(*make, "Modality=CT", "--where", "Modality=MR").stdout.strip()
    assert len(studies(archive, every).json()) == 2
    (found,) = studies(archive, only_ct).json()
    assert found["0020000D"]["Value"] == [CT_STUDY]
    assert studies(archive, neither).status_code == 204
    fetched = [
        httpx.get(f"{archive.web}/studies/{study}/metadata", headers={"Authorization": f"Bearer {only_ct}"}, verify=archive.tls_context())
        for study in (CT_STUDY, MR_STUDY, "1.2.3")
    ]
    assert [each.status_code for each in fetched] == [200, 404, 404]
    assert fetched[1].content == fetched[2].content
    listed = rows("token", "list", archive.home)[-3:]
    assert all(each["last_seen"] for each in listed)
    assert rows("user", "list", archive.home)[1]["last_seen"] == max(each["last_seen"] for each in listed)
    told = [each["studies"] for each in listed]
    assert told == ["every", "any Modality in CT, NM", "any Modality in CT and any Modality in MR"]


def test_conditions_of_a_token_that_mean_nothing_are_refused_and_none_is_told(archive: ArchiveUnderTest) -> None:
    make = ("token", "create", archive.home, "--user", "clara", "--may", "find", "--where")
    before = len(rows("token", "list", archive.home))
    for wrong in ("HALLORAN^MAEVE", "HALLORAN=CT", "PatientID=", "PatientID=HALLORAN,,"):
        assert "HALLORAN^MAEVE" not in leadglass(*make, wrong, code=2).stderr
    assert len(rows("token", "list", archive.home)) == before
    leadglass(*make, "PatientID=HALLORAN-1,HALLORAN-2")
    assert rows("token", "list", archive.home)[-1]["studies"] == "PatientID among 2"
    made = [each["detail"] for each in archive.trail() if each["detail"].get("verb") == "token-create" and each["detail"].get("user")]
    assert made[-1]["conditions"] == 1
    assert "HALLORAN" not in json.dumps(archive.trail())
