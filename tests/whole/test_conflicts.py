"""Conflicts from end to end: real images, the command line, every door, the trail, and who may see what."""

import io
import json
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests import samples
from tests.archives import ArchiveUnderTest, leadglass
from tests.dicomweb.client import AS_STORED, Client, parts_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")  # real files hold values that PS3.5 does not allow

NAME, OTHER_NAME = "CompressedSamples^CT1", "Zwirbelding^Xaverine"


def conflicts(archive: ArchiveUnderTest, *options: str | Path) -> list[dict[str, Any]]:
    return list(json.loads(leadglass("conflicts", "list", archive.home, "--json", *options).stdout))


def shown(archive: ArchiveUnderTest, conflict: str, *options: str | Path) -> list[dict[str, Any]]:
    return list(json.loads(leadglass("conflicts", "show", archive.home, conflict, "--json", *options).stdout))


def settle(archive: ArchiveUnderTest, verb: str, *words: str, code: int = 0) -> str:
    done = leadglass("conflicts", verb, archive.home, *words, code=code)
    return done.stdout + done.stderr


def version(folder: Path, name: str, **values: str) -> Path:
    """CT_small with other values."""
    found = pydicom.dcmread(samples.sample("CT_small.dcm"))
    for keyword, value in values.items():
        setattr(found, keyword, value)
    path = folder / f"{name}.dcm"
    found.save_as(path)
    return path


def token_file(archive: ArchiveUnderTest, user: str, role: str, may: str) -> Path:
    path = archive.home.with_name(f"token-{user}")
    path.write_text(archive.token(user, role, may) + "\n")
    return path


@pytest.fixture
def disputed(archive: ArchiveUnderTest, tmp_path: Path) -> ArchiveUnderTest:
    """One CT, and the same instance under another patient name."""
    archive.take_in([samples.sample("CT_small.dcm"), version(tmp_path, "other", PatientName=OTHER_NAME)])
    return archive


def test_every_real_conflict_is_listed_shown_and_settled(archive: ArchiveUnderTest) -> None:
    taken = archive.take_in(samples.objects())
    count = len(taken["conflicts"])
    assert count > 15
    with archive.serving():
        assert f"{count} conflicts are open" in archive.log()
        listed = conflicts(archive)
        assert len(listed) == count == len({each["id"] for each in listed})
        for each in listed:
            rows = shown(archive, each["id"])
            assert [row["what"] for row in rows[:3]] == ["conflict", "side", "side"]
            # Something differs: an element, or the pixels.
            assert rows[-1]["differences"] or any(row["what"] == "pixels" and not row["equal"] for row in rows)
            assert not {"first", "other"} & rows[-1].keys()
        half = [each["id"] for each in listed[: count // 2]]
        assert settle(archive, "reject", *half).count("rejected ") == len(half)
        for each in listed[count // 2 :]:
            settle(archive, "accept", each["id"])
        assert conflicts(archive) == []
    everything = conflicts(archive, "--settled")
    assert {each["state"] for each in everything} == {"accepted", "rejected", "replaced"}
    before = leadglass("check", archive.home).stdout
    assert "open conflicts" not in before
    leadglass("index", "rebuild", archive.home)
    assert conflicts(archive, "--settled") == everything
    assert leadglass("check", archive.home).stdout.split(" trail")[0].rsplit(",", 1)[0] == before.split(" trail")[0].rsplit(",", 1)[0]


def served_names(client: Client) -> tuple[list[str], list[str]]:
    """Patient names, as QIDO-RS says them and as WADO-RS serves them."""
    studies = client.get("/studies?includefield=00100010", "application/dicom+json").json()
    names = [study["00100010"]["Value"][0]["Alphabetic"] for study in studies]
    images = []
    for study in studies:
        whole = client.get(f"/studies/{study['0020000D']['Value'][0]}", AS_STORED)
        images += [str(pydicom.dcmread(io.BytesIO(content)).PatientName) for _, content in parts_of(whole)]
    return names, images


def test_what_is_accepted_is_served_at_once_by_the_web(disputed: ArchiveUnderTest) -> None:
    client_token = disputed.token("anna")
    with disputed.serving():
        client = Client(disputed, client_token)
        assert served_names(client) == ([NAME], [NAME])
        (each,) = conflicts(disputed)
        assert "is served in the place of the one before" in settle(disputed, "accept", each["id"])
        assert served_names(client) == ([OTHER_NAME], [OTHER_NAME])
        assert "was accepted before and is served" in settle(disputed, "accept", each["id"], code=1)
        assert "was accepted before and is served" in settle(disputed, "reject", each["id"], code=1)
        (first,) = (one for one in conflicts(disputed, "--settled") if one["state"] == "replaced")
        assert "settled already (replaced); `--again` settles it anew" in settle(disputed, "accept", first["id"], code=1)
        settle(disputed, "accept", first["id"], "--again")
        assert served_names(client) == ([NAME], [NAME])


def test_values_are_for_whoever_may_get_the_study(disputed: ArchiveUnderTest) -> None:
    """The local user, who administers, sees that the name differs; a clinician sees the names."""
    (each,) = conflicts(disputed)
    blind = leadglass("conflicts", "show", disputed.home, each["id"]).stdout
    assert "00100010 PatientName: value" in blind
    assert "Zwirbelding" not in blind
    assert "CompressedSamples" not in blind
    clinician = token_file(disputed, "anna", "clinician", "get,settle")
    for serving in (False, True):
        if serving:
            disputed.start()
        try:
            rows = shown(disputed, each["id"], "--token-file", clinician)
        finally:
            if serving:
                disputed.stop()
        (name,) = (row for row in rows if row["what"] == "difference")
        assert (name["keywords"], name["first"], name["other"]) == ("PatientName", NAME, OTHER_NAME)
        (pixels,) = (row for row in rows if row["what"] == "pixels")
        assert (pixels["equal"], pixels["differing_frames"], pixels["first"]["rows"]) == (True, 0, 128)


@pytest.mark.parametrize(
    ("user", "role", "may"),
    [
        ("tessa", "technologist", "find,get,settle"),
        ("adam", "administrator", "find,get,settle"),
        ("udo", "auditor", "settle"),
        ("fred", "clinician", "find"),
    ],
)
def test_who_may_not_settle_is_told_nothing(disputed: ArchiveUnderTest, user: str, role: str, may: str) -> None:
    (each,) = conflicts(disputed)
    token = token_file(disputed, user, role, may)
    for verb, words in (("list", ()), ("show", (each["id"],)), ("accept", (each["id"],)), ("reject", (each["id"],))):
        done = leadglass("conflicts", verb, disputed.home, *words, "--token-file", token, code=1)
        assert done.stdout == ""
        assert f"@{user} may not settle" in done.stderr
    assert len(conflicts(disputed)) == 1


def test_who_may_settle_and_not_get_sees_no_value(disputed: ArchiveUnderTest) -> None:
    (each,) = conflicts(disputed)
    token = token_file(disputed, "anna", "clinician", "settle")
    done = leadglass("conflicts", "show", disputed.home, each["id"], "--token-file", token).stdout
    assert "PatientName" in done
    assert "Zwirbelding" not in done


def test_a_token_that_is_none_is_turned_away(disputed: ArchiveUnderTest, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("lg_nothing\n")
    assert leadglass("conflicts", "list", disputed.home, "--token-file", wrong, code=1).stderr == "leadglass: not identified\n"
    wrong.write_text("\n")
    leadglass("conflicts", "list", disputed.home, "--token-file", wrong, code=2)


def test_every_verdict_is_in_the_trail_with_its_study_before_it_is_done(disputed: ArchiveUnderTest) -> None:
    (each,) = conflicts(disputed)
    settle(disputed, "accept", each["id"])
    settle(disputed, "reject", each["id"], code=1)
    entries = [entry for entry in disputed.trail() if entry["action"] == "settle"]
    told = [(entry["kind"], entry["outcome"], entry["detail"].get("verb"), entry["studies"]) for entry in entries]
    study = [each["study"]]
    assert told[-8:] == [
        ("intent", None, "conflicts-look", []),
        ("outcome", "done", None, study),
        ("intent", None, "conflicts-accept", study),
        ("outcome", "done", None, study),
        ("intent", None, "conflicts-look", []),
        ("outcome", "done", None, study),
        ("intent", None, "conflicts-reject", study),
        ("outcome", "refused", None, []),
    ]
    assert {entry["who"] for entry in entries} == {f"local:{_uid()}"}
    assert entries[-6]["detail"]["conflict"] == each["id"]
    assert entries[-5]["detail"]["result"] == "accepted"


def _uid() -> int:
    import os  # noqa: PLC0415 - used here alone

    return os.geteuid()


def test_lists_are_narrowed_by_kind_and_study(disputed: ArchiveUnderTest, tmp_path: Path) -> None:
    stranger = version(tmp_path, "stranger", PatientID="SOMEBODY", SOPInstanceUID="1.2.3.4.5")
    disputed.take_in([stranger])
    assert {each["kind"] for each in conflicts(disputed)} == {"same-instance", "other-patient"}
    (other,) = conflicts(disputed, "--kind", "other-patient")
    assert other["instance"] == "1.2.3.4.5"
    assert conflicts(disputed, "--study", "1.2.3") == []
    assert len(conflicts(disputed, "--study", other["study"])) == 2
    refusal = settle(disputed, "accept", other["id"], code=1)
    assert "two patients are never merged" in refusal
    assert "SOMEBODY" not in refusal
    leadglass("conflicts", "list", disputed.home, "--kind", "odd", code=2)


@pytest.mark.parametrize("conflict", ["000000000000", "zz", "", "*", "../../x", "0" * 33, "é" * 12])
def test_an_id_that_is_none_is_refused(disputed: ArchiveUnderTest, conflict: str) -> None:
    for verb in ("show", "accept", "reject"):
        assert "no conflict" in leadglass("conflicts", verb, disputed.home, conflict, code=2).stderr


def test_check_says_how_many_are_open(disputed: ArchiveUnderTest) -> None:
    done = leadglass("check", disputed.home)
    assert f"open conflicts: 1; `leadglass conflicts list {disputed.home}` shows them" in done.stdout
    assert json.loads(leadglass("check", disputed.home, "--json").stdout)["open_conflicts"] == 1
    (each,) = conflicts(disputed)
    settle(disputed, "reject", each["id"])
    assert "open conflicts" not in leadglass("check", disputed.home).stdout
