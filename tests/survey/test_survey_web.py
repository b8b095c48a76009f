"""What is looked for on a web port, by small servers that answer as products do: viewers, configurations, listings, origins, interfaces."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.survey.observations import CountedBy, ExposureLevel, RecordCounts, Viewer, Web, WebApi, WebProduct
from leadglass.survey.probes.web import listings
from leadglass.survey.probes.web import ohif as configuration
from leadglass.survey.webclient import Page
from tests import samples
from tests.survey.harness import finding_ids, run_one
from tests.survey.ohif import ohif
from tests.survey.servers import Answer, Asked, answering

OHIF_PAGE = b"<!doctype html><html><head><title>OHIF Viewer</title></head><body><div id=root></div></body></html>"
STUDY = {
    "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
    "0020000E": {"vr": "UI", "Value": ["1.2.3.4"]},
    "00080018": {"vr": "UI", "Value": ["1.2.3.4.5"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Planted^Name"}]},
    "00201208": {"vr": "IS", "Value": [7]},
}


class Site:
    """A web server: paths to (type, body); `everything_else` is what a single-page application gives for any other path."""

    def __init__(self, pages: Mapping[str, tuple[str, bytes]], everything_else: bytes | None = None) -> None:
        self._pages = pages
        self._everything_else = everything_else
        self.headers: dict[str, str] = {}

    def __call__(self, asked: Asked) -> None:
        kind, body = self._pages.get(asked.path.partition("?")[0], ("text/html", self._everything_else or b""))
        status = 200 if asked.path.partition("?")[0] in self._pages or self._everything_else is not None else 404
        asked.answer(body, kind, status, self.headers)


def qido(root: str) -> dict[str, tuple[str, bytes]]:
    """A DICOMweb service of one image under `root`, which hands out its metadata and no pixel."""
    rows = ("application/dicom+json", json.dumps([STUDY]).encode())
    paths = ("studies", "studies/1.2.3/series", "studies/1.2.3/series/1.2.3.4/instances")
    return {f"{root}/{path}": rows for path in (*paths, f"{paths[2]}/1.2.3.4.5/metadata")}


def look(folder: Path, answer: Answer, **limits: object) -> tuple[Web, set[str]]:
    with answering(answer) as listener:
        result = run_one(folder, {"web_ports": [listener.port]}, **limits)
    (door,) = result.doors
    assert isinstance(door, Web)
    assert b"Planted" not in b"".join(path.read_bytes() for path in (folder / "out").iterdir())
    return door, finding_ids(result)


# Viewers


def test_ohif_at_the_root_is_a_viewer_though_it_catches_every_path(tmp_path: Path) -> None:
    door, findings = look(tmp_path, Site({}, OHIF_PAGE))
    assert (door.catch_all, door.viewers, door.product) == (True, (Viewer.OHIF,), WebProduct.OHIF)
    assert (door.level, door.open_apis) == (ExposureLevel.OPEN_PORT, ())
    # It shows nobody: there is no interface behind it.
    assert "viewer-open" not in findings


def test_ohif_as_it_is_published_is_a_viewer_that_shows_nobody(tmp_path: Path) -> None:
    with ohif() as listener:
        result = run_one(tmp_path, {"web_ports": [listener.port]})
    (door,) = result.doors
    assert isinstance(door, Web)
    assert (door.catch_all, door.viewers, door.product) == (True, (Viewer.OHIF,), WebProduct.OHIF)
    assert (door.level, door.open_apis, result.open_viewers) == (ExposureLevel.OPEN_PORT, (), 0)
    # It names public demonstrations, elsewhere; its samples of passwords are in comments.
    assert (door.config_names_service, door.config_holds_credentials) == (True, False)


def test_the_configuration_of_ohif_leads_to_the_service_behind_it_though_it_names_others_first(tmp_path: Path) -> None:
    with answering(Site(qido("/rs"))) as archive, ohif(f"http://127.0.0.1:{archive.port}/rs") as viewer:
        result = run_one(tmp_path, {"web_ports": [viewer.port]}, level="query")
    (door,) = result.doors
    assert isinstance(door, Web)
    assert (door.level, door.open_apis, result.open_viewers) == (ExposureLevel.RECORDS, (WebApi.QIDO,), 1)


def test_its_configuration_leads_to_the_service_behind_it(tmp_path: Path) -> None:
    config = b"window.config = {dataSources: [{configuration: {qidoRoot: '/archive/web', wadoRoot: '/archive/web'}}]};"
    site = Site({"/app-config.js": ("application/javascript", config), **qido("/archive/web")}, OHIF_PAGE)
    door, findings = look(tmp_path, site, level="query")
    assert (door.config_names_service, door.config_holds_credentials) == (True, False)
    assert (door.level, door.open_apis) == (ExposureLevel.RECORDS, (WebApi.QIDO,))
    assert {"records-open", "viewer-open", "viewer-configuration"} <= findings


def test_a_viewer_at_one_port_and_its_archive_at_another_are_one_open_viewer(tmp_path: Path) -> None:
    with answering(Site({}, OHIF_PAGE)) as viewer, answering(Site(qido("/dicom-web"))) as archive:
        result = run_one(tmp_path, {"web_ports": [viewer.port, archive.port]})
    assert result.open_viewers == 1
    assert "viewer-open" in finding_ids(result)


@pytest.mark.parametrize(
    "line",
    [
        b"requestOptions: {auth: 'orthanc:secret'}",
        b'"Authorization": "Basic b3J0aGFuYzpzZWNyZXQ="',
        b"qidoRoot: 'https://orthanc:secret@pacs.example/dicom-web'",
        b"client_secret: 'abcdef'",
    ],
)
def test_a_password_in_a_configuration_is_found_and_not_kept(tmp_path: Path, line: bytes) -> None:
    site = Site({"/ohif/": ("text/html", OHIF_PAGE), "/ohif/app-config.js": ("text/javascript", b"window.config = {" + line + b"}")})
    door, findings = look(tmp_path, site)
    assert door.config_holds_credentials
    assert "viewer-credentials" in findings
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert b"secret" not in written.lower().replace(b"client_secret", b"")


@pytest.mark.parametrize(
    "config",
    [
        b"window.config = {/* requestOptions: {auth: 'orthanc:secret'} */}",
        b"window.config = {\n  // auth: 'orthanc:secret'\n}",
        b"window.config = {authorization: `Bearer ${token}`}",
    ],
)
def test_a_comment_or_a_token_of_the_visitor_is_no_password(config: bytes) -> None:
    assert not configuration.read(config).holds_credentials


@pytest.mark.parametrize("root", [b"https://elsewhere.example/dicom-web", b"//elsewhere/dicom-web", b"/a?b=c", b"/../x y", b"/\xe9"])
def test_a_service_elsewhere_is_named_and_not_asked(root: bytes) -> None:
    read = configuration.read(b"window.config = {qidoRoot: '" + root + b"'}")
    assert read.roots == ()


@given(st.binary(max_size=500))
def test_no_configuration_breaks_the_reading(raw: bytes) -> None:
    assert len(configuration.read(raw).roots) <= configuration.MAX_ROOTS


@pytest.mark.parametrize("piece", [b"/*", b"//", b"auth: '", b"qidoRoot: '", b"https://a:", b"password:\t\t"])
def test_no_configuration_takes_long_to_read(piece: bytes) -> None:
    began = time.process_time()
    configuration.read(piece * (configuration.MAX_CONFIG_BYTES // len(piece)))
    assert time.process_time() - began < 2


# Catch-all pages


def test_a_page_for_browsers_alone_is_a_catch_all(tmp_path: Path) -> None:
    # A development server's fallback: whatever asks for HTML gets the page, which here has every viewer's name in it.
    page = b"<html><title>Portal</title>orthanc explorer 2 ohif dcm4che oviyam weasis stone web viewer</html>"

    def answer(asked: Asked) -> None:
        takes_html = "html" in asked.headers["Accept"] or "*/*" in asked.headers["Accept"]
        asked.answer(page if takes_html else b"", status=200 if takes_html else 404)

    door, _ = look(tmp_path, answer)
    assert (door.viewers, door.catch_all, door.open_apis) == ((), True, ())


# Interfaces


def test_metadata_that_come_without_the_image_are_told(tmp_path: Path) -> None:
    door, _ = look(tmp_path, Site(qido("/dicom-web")))
    assert (door.level, door.metadata) == (ExposureLevel.RECORDS, True)
    assert door.records == RecordCounts(1, 1, 7, exact=False)


def dcm4chee(root: str = "/dcm4chee-arc/aets/HOUSE/rs") -> Site:
    pages = {
        "/dcm4chee-arc/aets": ("application/json", b'[{"dicomAETitle": "HOUSE"}]'),
        f"{root}/studies": ("application/dicom+json", b"[]"),
    }
    counts = {"patients": 12, "studies": 34, "instances": 5600}
    return Site(pages | {f"{root}/{kind}/count": ("application/json", b'{"count":%d}' % number) for kind, number in counts.items()})


def test_dcm4chee_is_counted_by_its_own_counts(tmp_path: Path) -> None:
    with answering(dcm4chee()) as listener:
        result = run_one(tmp_path, {"web_ports": [listener.port]}, level="count")
        assert not [path for path in listener.paths if "offset" in path]
    (door,) = result.doors
    assert isinstance(door, Web)
    assert (door.product, door.counted_by) == (WebProduct.DCM4CHEE, CountedBy.COUNT_ENDPOINT)
    assert door.records == RecordCounts(12, 34, 5600, exact=True)
    (finding, *_) = [each for each in result.findings if each.id == "records-open"]
    assert "dcmAcceptedCallingAETitle" in finding.remedy


def test_what_orthanc_has_counted_is_not_counted_page_by_page(tmp_path: Path) -> None:
    pages = {
        "/system": ("application/json", b'{"ApiVersion": 18, "Version": "1.12.1", "DicomAet": "ORTHANC"}'),
        "/studies": ("application/json", b"[]"),
        "/statistics": ("application/json", b'{"CountPatients": 3, "CountStudies": 4, "CountInstances": "50"}'),
    }
    with answering(Site(pages | qido("/dicom-web"))) as listener:
        result = run_one(tmp_path, {"web_ports": [listener.port]}, level="count")
        assert not [path for path in listener.paths if "offset" in path]
    assert result.records == RecordCounts(3, 4, 50, exact=True)


def test_an_orthanc_whose_status_page_alone_is_shown_is_not_open(tmp_path: Path) -> None:
    """As a proxy does that lets a monitor ask for it, and nothing else through."""
    system = ("application/json", b'{"ApiVersion": 18, "Version": "1.12.1", "DicomAet": "ORTHANC"}')
    door, findings = look(tmp_path, Site({"/orthanc/system": system}))
    assert (door.level, door.open_apis, door.product) == (ExposureLevel.OPEN_PORT, (), WebProduct.ORTHANC)
    assert "product-interface-open" not in findings


def test_dicoogle_answers_anyone_and_counts_without_a_row(tmp_path: Path) -> None:
    def answer(asked: Asked) -> None:
        path, _, query = asked.path.partition("?")
        if path == "/ext/version":
            asked.answer(b'{"version":"2.5.0"}', "text/plain")
        elif path == "/searchDIM" and "depth=none" in query:
            asked.answer(b'{"results": [], "numResults": 21, "elapsedTime": 3}', "application/json")
        elif path == "/search":
            # As SearchServlet counts: every match, also those beyond psize.
            number = 0 if "2.25." in query else 4000
            asked.answer(b'{"results":[],"elapsedTime":1,"numResults":%d}' % number, "application/json")
        else:
            asked.answer(b"", status=404)

    with answering(answer) as listener:
        result = run_one(tmp_path, {"web_ports": [listener.port]}, level="count")
        assert all("psize=" in path for path in listener.paths if "search" in path)
    (door,) = result.doors
    assert isinstance(door, Web)
    assert (door.level, door.open_apis, door.product_version) == (ExposureLevel.RECORDS, (WebApi.DICOOGLE_SEARCH,), (2, 5, 0))
    assert door.records == RecordCounts(21, 21, 4000, exact=False)
    assert {"product-interface-open", "records-open", "advisory-dicoogle"} <= finding_ids(result)


# Origins


@pytest.mark.parametrize(
    ("headers", "findings"),
    [
        ({}, set()),
        ({"Access-Control-Allow-Origin": "https://viewer.example"}, set()),
        ({"Access-Control-Allow-Origin": "*"}, {"any-origin-open"}),
        ({"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true"}, {"any-origin-open"}),
        ({"Access-Control-Allow-Origin": "https://leadglass.invalid"}, {"any-origin-open"}),
        (
            {"Access-Control-Allow-Origin": "https://leadglass.invalid", "Access-Control-Allow-Credentials": "true"},
            {"any-origin-open", "any-origin"},
        ),
    ],
)
def test_an_interface_that_any_page_may_read_is_found(tmp_path: Path, headers: dict[str, str], findings: set[str]) -> None:
    site = Site(qido("/dicom-web"))
    site.headers = headers
    assert look(tmp_path, site, level="query")[1] & {"any-origin", "any-origin-open"} == findings


# Listings


def listed(names: str) -> tuple[str, bytes]:
    return "text/html", f"<html><head><title>Index of /</title></head><body>{names}</body></html>".encode()


def test_a_list_of_images_is_counted_and_one_of_them_begun(tmp_path: Path) -> None:
    image = samples.sample("CT_small.dcm").read_bytes()
    site = Site(
        {
            "/": listed("<a href='notes.txt'>"),
            "/images/": listed('<a href="//elsewhere/x.dcm"></a><a href="a.dcm">a</a><a href="b.DCM">b</a>'),
            "/images/a.dcm": ("x", image),
        }
    )
    door, findings = look(tmp_path, site)
    assert (door.directory_listing, door.listed_images, door.level) == (True, 3, ExposureLevel.IMAGES)
    assert {"directory-listing", "images-listed", "images-open"} <= findings
    door, _ = look(tmp_path, site, level="count")
    assert (door.listed_images, door.level) == (3, ExposureLevel.OPEN_PORT)


def test_a_list_that_names_a_file_elsewhere_is_not_followed(tmp_path: Path) -> None:
    with answering(Site({}), "127.0.0.88") as elsewhere:
        where = f"http://127.0.0.88:{elsewhere.port}/a.dcm"
        door, _ = look(tmp_path, Site({"/": listed(f'<a href="{where}">a</a><a href="//127.0.0.88/b.dcm">')}))
        assert elsewhere.paths == []
    assert (door.listed_images, door.level) == (2, ExposureLevel.OPEN_PORT)


def test_the_links_of_a_list_are_bounded() -> None:
    page = Page(200, "text/html", b'<a href="x.dcm">' * 20_000, whole=True)
    assert len(listings.image_links(page)) == listings.MAX_LINKS
