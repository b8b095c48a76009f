"""The demo: it tells the whole story, ends by itself, and leaves nothing behind."""

import re
import tempfile
from pathlib import Path

import pytest

from leadglass.demo.exposed import unsafe_exposed_archive
from leadglass.demo.images import files, images
from leadglass.survey.run import survey
from tests.archives import leadglass


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    scratch = tmp_path_factory.mktemp("demo-temporary")
    done = leadglass("demo", "--once", timeout=180, environment={"TMPDIR": str(scratch)})
    assert list(scratch.iterdir()) == []
    return done.stdout


def row(told: str, name: str) -> tuple[str, str]:
    """Ours and the other's, in one row of the table."""
    (line,) = re.findall(rf"^{name}\s{{2,}}(\S+)\s{{2,}}(.+)$", told, re.MULTILINE)
    return line[0], line[1].strip()


def test_a_stranger_gets_nothing_from_ours_and_everything_from_the_other(told: str) -> None:
    assert row(told, "a stranger reaches") == ("open-port", "images")
    for name in ("patients", "studies", "images"):
        ours, theirs = row(told, name)
        assert ours == "none"
        assert int(theirs.replace(",", "")) > 10
    assert row(told, "findings")[0] == "none"


def test_every_kind_of_file_is_accounted_for(told: str) -> None:
    sent, accepted = map(int, re.findall(r"sent (\d+) images by C-STORE over TLS: (\d+) accepted", told)[0])
    stored, there, conflicts, refused = map(int, re.findall(r"(\d+) stored, (\d+) already there, (\d+) conflicts, (\d+) refused", told)[0])
    assert sent == accepted
    assert sent + stored + there + conflicts + refused == len(files())
    assert len(re.findall(r"^  refused   ", told, re.MULTILINE)) == refused
    assert len(re.findall(r"^  conflict  ", told, re.MULTILINE)) == conflicts > 0


def test_a_clinician_works_and_the_trail_says_so(told: str) -> None:
    assert "QIDO-RS without a token: 401" in told
    assert re.search(r"WADO-RS as anna: 200, [\d,]{5,} bytes of multipart/related", told)
    assert re.search(r"token:\S+@anna dicomweb get outcome done count=1", told)
    assert re.search(r"trail verified: \d+ entries, every byte as it was signed", told)


def test_where_orthanc_is_missing_our_own_exposed_archive_takes_its_place(tmp_path: Path) -> None:
    valid = list(images(files()))
    with unsafe_exposed_archive(valid) as wild, tempfile.NamedTemporaryFile("w", suffix=".toml") as scope:
        scope.write(f"""
[authority]
owner = "test"
authorised_by = "test"
contact = "test@localhost"
valid_until = 2099-12-31
[limits]
level = "retrieve"
[[target]]
name = "exposed"
host = "127.0.0.1"
dimse_ports = [{wild.dimse_port}]
web_ports = []
""")
        scope.flush()
        (result,) = survey(Path(scope.name), tmp_path / "out").targets
    assert result.level == "images"
    assert result.records is not None
    assert result.records.instances == len({image.sop_instance for image in valid})
    # Ten of the images name no patient: how many patients those are, nobody can say.
    assert not result.records.exact
