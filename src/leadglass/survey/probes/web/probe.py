"""The probe of one web port: HTTP or HTTPS found out politely, then each interface that a product is known to have."""

from collections.abc import Sequence
from dataclasses import replace

from leadglass.survey.addresses import System
from leadglass.survey.briefing import Briefing
from leadglass.survey.observations import UNREACHED, ClientCertificate, Ending, ExposureLevel, Field, Protocol, Tls, Transport, Web, WebApi
from leadglass.survey.probes.web import accounts, dcm4chee, dicoogle, listings, ohif, orthanc, qido, stow, viewers
from leadglass.survey.probes.web.found import JSON_TYPES, Found, Visit, nonsense_path
from leadglass.survey.scope import ExposureLimit, Limits
from leadglass.survey.transport import USUAL_TLS_PORTS, examine, stranger_context
from leadglass.survey.webclient import PLAIN_TO_TLS, Page, WebClient

STRANGE_ORIGIN = "https://leadglass.invalid"
"""An origin that no site can have (RFC 2606)."""


class WebProbe:
    """Front page, DICOMweb, the products' own interfaces, viewers, lists of folders.

    Nothing but GET, unless `default_accounts` or `write_probe` asks for more.
    """

    name = "web"
    title = "HTTP (DICOMweb, viewers)"

    def ports(self, system: System) -> Sequence[int]:
        return system.target.web_ports

    def plan(self, system: System, limits: Limits) -> Sequence[str]:
        steps = ["GET /, over HTTP or HTTPS; four TLS greetings where it is HTTPS"]
        if system.level.reaches(ExposureLimit.QUERY):
            roots = ", ".join(qido.ROOTS)
            marks = ", ".join(dict.fromkeys((*(mark.path for mark in viewers.MARKS), *listings.FOLDERS)))
            steps += [
                f"a QIDO-RS search for a random UID under each of {roots}, and where OHIF's app-config.js says; one with a foreign Origin",
                "GET two paths that nothing has; /system, Orthanc's list of studies beyond its end, /dcm4chee-arc/aets",
                f"Dicoogle's /search for a random UID; {marks}",
            ]
        if system.level.reaches(ExposureLimit.COUNT):
            steps.append("the product's count, or a QIDO-RS search page by page (counted, not kept)")
        if system.level.reaches(ExposureLimit.RETRIEVE):
            steps.append("the metadata and the first bytes of one image; the first bytes of one file that a folder's list names")
        if limits.default_accounts and system.may_be_touched:
            steps.append("the one documented account of a recognised product, once")
        if limits.write_probe and system.may_be_touched:
            steps.append("STOW-RS of one marked synthetic object to a service that is open; it stays there (at most one in a system)")
        return steps

    async def run(self, system: System, port: int, briefing: Briefing) -> Web:
        tls: Tls | None = None
        if port in USUAL_TLS_PORTS:
            tls = await _examine(system, port, briefing)
        front = await self._front(system, port, briefing, tls)
        if tls is None and port not in USUAL_TLS_PORTS and _may_be_tls(front):
            tls = await _examine(system, port, briefing)
            front = await self._front(system, port, briefing, tls) if tls else front
        if isinstance(front, Ending):
            return _unspoken(port, front, tls)
        async with _client(system, port, briefing, tls) as client:
            return await _look_around(system, port, briefing, client, front, tls)

    async def _front(self, system: System, port: int, briefing: Briefing, tls: Tls | None) -> Page | Ending:
        if tls is not None and tls.client_certificate is ClientCertificate.REQUIRED:
            return Ending.TLS_FAILED
        async with _client(system, port, briefing, tls) as client:
            return await client.get("/")


async def _examine(system: System, port: int, briefing: Briefing) -> Tls | None:
    return await examine(system, port, briefing.dialer, timeout=briefing.timeout, ca_file=briefing.ca_file)


def _client(system: System, port: int, briefing: Briefing, tls: Tls | None) -> WebClient:
    context = stranger_context() if tls else None
    return WebClient(system, port, briefing.dialer, tls=context, timeout=briefing.timeout, user_agent=briefing.user_agent)


def _may_be_tls(front: Page | Ending) -> bool:
    return front.status in PLAIN_TO_TLS if isinstance(front, Page) else front not in UNREACHED


def _unspoken(port: int, ending: Ending, tls: Tls | None) -> Web:
    # A connection that was refused, or never came about, is closed; any other ending had an open port before it.
    level = ExposureLevel.CLOSED if ending in UNREACHED else ExposureLevel.OPEN_PORT
    transport = None
    if tls is not None:
        transport = Transport.MUTUAL_TLS if tls.client_certificate is ClientCertificate.REQUIRED else Transport.TLS
    return Web(port=port, protocol=Protocol.WEB, level=level, transport=transport, ending=ending, tls=tls)


async def _look_around(system: System, port: int, briefing: Briefing, client: WebClient, front: Page, tls: Tls | None) -> Web:
    seen = Web(
        port=port,
        protocol=Protocol.WEB,
        level=ExposureLevel.OPEN_PORT,
        transport=Transport.TLS if tls else Transport.PLAIN,
        ending=Ending.DONE,
        product=viewers.product_of(front),
        directory_listing=listings.is_listing(front),
        tls=tls,
    )
    if system.level.reaches(ExposureLimit.QUERY):
        nonsense = await client.get(nonsense_path(), accept=JSON_TYPES)
        visit = Visit(client, briefing, system.level, nonsense, await client.get(nonsense_path(), accept="text/html"))
        seen = replace(seen, catch_all=visit.answers_everything or visit.is_catch_all(front))
        seen = await _ask(visit, seen, front, may_touch=system.may_be_touched)
    return replace(seen, redirect_refused=client.redirect_refused)


async def _ask(visit: Visit, seen: Web, front: Page, *, may_touch: bool) -> Web:
    """Every interface and page that a product is known to have."""
    pages = await viewers.look(visit, front)
    configuration = await ohif.look(visit, pages)
    found = [each for each in [await orthanc.look(visit), await dcm4chee.look(visit), await dicoogle.look(visit)] if each is not None]
    visit = replace(visit, counted=next((each.records for each in found if each.records and each.records.exact), None))
    if not any(each.api is WebApi.QIDO for each in found):
        found += [each for each in [await qido.look(visit, tuple(dict.fromkeys((*configuration.roots, *qido.ROOTS))))] if each is not None]
    listed = await listings.look(visit, front)
    seen = replace(
        seen,
        viewers=tuple(each.viewer for each in pages),
        directory_listing=listed.found,
        listed_images=listed.images,
        config_names_service=configuration.names_service,
        config_holds_credentials=configuration.holds_credentials,
    )
    seen = _with(seen, found)
    if listed.hands_out_images:
        seen = replace(seen, level=ExposureLevel.IMAGES)
    for each in found:
        if each.path:
            seen = await _with_origins(visit.client, each.path, seen)
    if visit.briefing.default_accounts and may_touch:
        sign_in = next((each.path for each in found if each.product is seen.product and not each.is_open), "")
        seen = replace(seen, default_account=await accounts.look(visit.client, seen.product, sign_in))
    # Last, so that what is counted here is without it.
    if visit.briefing.write_probe and may_touch and (service := next((each.service for each in found if each.service), None)) is not None:
        stored = await stow.look(visit, service)
        seen = replace(seen, write=stored.write, stow_status=stored.status, synthetic_object=stored.number)
    return seen


async def _with_origins(client: WebClient, path: str, seen: Web) -> Web:
    """Whether an interface lets a page of any other origin read its answers (Fetch standard, CORS protocol)."""
    page = await client.get(path, accept=JSON_TYPES, headers=(("Origin", STRANGE_ORIGIN),))
    if isinstance(page, Ending) or page.allow_origin not in {"*", STRANGE_ORIGIN}:
        return seen
    # With "*" a browser sends no sign-in, whatever the other header says.
    with_credentials = page.allow_origin == STRANGE_ORIGIN and page.allow_credentials
    return replace(seen, any_origin=True, any_origin_with_credentials=seen.any_origin_with_credentials or with_credentials)


def _with(seen: Web, found: Sequence[Found]) -> Web:
    """What was seen on the front page together with what each interface came to."""
    open_ones = [each for each in found if each.is_open]
    guarded = tuple(dict.fromkeys(each.api for each in found if each.api and not each.is_open))
    level = seen.level
    if open_ones:
        level = ExposureLevel.IMAGES if any(each.hands_out_images for each in open_ones) else ExposureLevel.RECORDS
    counted = [each for each in open_ones if each.records is not None]
    fullest = max(counted, key=lambda each: (each.records.studies, each.records.exact) if each.records else (0, False), default=Found())
    fields = {field for each in open_ones for field in each.fields}
    return replace(
        seen,
        level=level,
        protocol=Protocol.DICOMWEB if any(each.api for each in found) else Protocol.WEB,
        product=next((each.product for each in found if each.product), seen.product),
        product_version=next((each.version for each in found if each.version), None),
        open_apis=tuple(dict.fromkeys(each.api for each in open_ones if each.api)),
        guarded_apis=guarded,
        metadata=any(each.metadata for each in open_ones),
        records=fullest.records,
        counted_by=fullest.counted_by,
        fields=tuple(each for each in Field if each in fields),
    )
