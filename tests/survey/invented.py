"""A survey of a size and a mixture as in the field, made without asking anybody: for tests of the reports.

Every system is judged by `judge` from invented doors, so that findings, levels and sums are those that the survey would give.
"""

import datetime as dt
import random
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from leadglass.survey import products
from leadglass.survey.addresses import RefusedTarget, System
from leadglass.survey.observations import (
    Certificate,
    ClientCertificate,
    Dimse,
    Ending,
    ExposureLevel,
    Field,
    KeyKind,
    Observation,
    Protocol,
    QueryAnswer,
    RecordCounts,
    Rejection,
    Tls,
    TlsVersion,
    Transport,
    Viewer,
    Web,
    WebApi,
    WebProduct,
    Write,
)
from leadglass.survey.results import Result, Results, judge
from leadglass.survey.scope import ExposureLimit, Scope, Target, parse_scope
from tests.survey.harness import scope_text

_TOWNS = ("Åre", "Brno", "Conakry", "Düren", "Évora", "Fès", "Gävle", "Huế", "İzmir", "Jaén", "Kōbe", "Łódź", "Mâcon", "Niš", "Ōsaka")
_COUNTRIES = (
    *(
        "US",
        "TR",
        "BR",
        "IN",
        "ZA",
        "IR",
        "CN",
        "IT",
        "RU",
        "TH",
        "DE",
        "FR",
        "ES",
        "MX",
        "AR",
        "CO",
        "EC",
        "KR",
        "JP",
        "AU",
        "CA",
        "GB",
        "PL",
        "UA",
        "EG",
        "PK",
    ),
    *(
        "ID",
        "VN",
        "PH",
        "MY",
        "SA",
        "AE",
        "IL",
        "GR",
        "PT",
        "RO",
        "HU",
        "CZ",
        "SK",
        "CH",
        "AT",
        "BE",
        "NL",
        "SE",
        "FI",
        "NO",
        "DK",
        "PE",
        "CL",
        "VE",
        "MA",
        "KE",
    ),
)
_KINDS = ("University Hospital", "Clinic", "Imaging Centre", "Children's Hospital", "Radiology")


def scope(*, public: dict[str, object] | None = None, **limits: object) -> Scope:
    """A scope that says how far the survey went; its one target is not looked at."""
    authority = {"owner": "Ministry of Health (invented)", "authorised_by": "its CISO", "valid_until": dt.date(2027, 3, 31)}
    target = {"name": "a", "host": "127.0.0.1", "dimse_ports": [104]}
    return parse_scope(scope_text([target], authority=authority, limits=limits, public=public).encode())


def system(number: int, country: str, site: str) -> System:
    """Number `number` of at most 65,536."""
    name = f"{_TOWNS[number % len(_TOWNS)]} {_KINDS[number % len(_KINDS)]} {number}"
    address = f"10.{20 + number // 65536}.{number // 256 % 256}.{number % 256}"
    target = Target(name=name, host=address, dimse_ports=(104, 2762), web_ports=(443, 8042), country=country, site=site)
    return System(target=target, address=ip_address(address), level=ExposureLimit.RETRIEVE, from_range=False)


def dimse(level: ExposureLevel, **changes: object) -> Dimse:
    values: dict[str, Any] = {
        "port": 104,
        "protocol": Protocol.DIMSE,
        "level": level,
        "write": Write.NOT_TRIED,
        "transport": Transport.PLAIN,
        "ending": Ending.DONE,
    }
    return Dimse(**(values | changes))


def web(level: ExposureLevel, **changes: object) -> Web:
    values: dict[str, Any] = {
        "port": 8042,
        "protocol": Protocol.DICOMWEB,
        "level": level,
        "transport": Transport.PLAIN,
        "ending": Ending.DONE,
    }
    return Web(**(values | changes))


def world(systems: int = 2300, opened: int = 590, countries: int = 52, seed: int = 1, **changes: Any) -> Results:  # noqa: ANN401 - fields of Results
    """`systems` archives in `countries`, `opened` of them open; each country has one at least, the first ones more."""
    chance = random.Random(seed)
    chosen = _COUNTRIES[:countries]
    weights = [1 / (rank + 1) for rank in range(countries)]
    targets: list[Result] = []
    for number in range(systems):
        country = chosen[number] if number < countries else chance.choices(chosen, weights)[0]
        doors = _open_doors(chance) if number * opened % systems < opened else _shut_doors(chance)
        targets.append(judge(system(number, country, f"{_TOWNS[number % len(_TOWNS)]} {number // 4}"), doors))
    values: dict[str, Any] = {
        "scope": scope(level="retrieve"),
        "started": "2026-11-23T13:00:00+00:00",
        "seconds": 57.3,
        "run_id": "abc123",
        "targets": tuple(targets),
        "refused": (RefusedTarget("Clinic outside", "198.51.100.7", "198.51.100.7 is public, and the scope does not allow it"),),
        "addresses_asked": systems,
    }
    return Results(**(values | changes))


def _open_doors(chance: random.Random) -> Sequence[Observation]:
    studies = int(10 ** chance.uniform(0, 4.3))
    counts = RecordCounts(max(1, studies * 7 // 10), studies, studies * chance.randint(20, 300), exact=chance.random() > 0.1)
    level = ExposureLevel.IMAGES if chance.random() < 0.6 else ExposureLevel.RECORDS
    fields = tuple(Field)[: chance.randint(3, len(Field))]
    row = next(number for number, each in enumerate(products.fingerprints()) if each.toolkit == "DCMTK")
    door = dimse(
        level,
        write=Write.OFFERED,
        query=QueryAnswer.ANSWERED,
        records=counts,
        fields=fields,
        fingerprint=row,
        toolkit_version=(3, 6, 7),
    )
    if chance.random() < 0.5:
        return (door,)
    page = web(
        ExposureLevel.RECORDS,
        product=WebProduct.ORTHANC,
        product_version=(1, 10, 1),
        open_apis=(WebApi.QIDO, WebApi.ORTHANC_REST),
        viewers=(Viewer.ORTHANC_EXPLORER,),
    )
    return (door, page)


def _shut_doors(chance: random.Random) -> Sequence[Observation]:
    kind = chance.randrange(5)
    if kind == 0:
        return (dimse(ExposureLevel.CLOSED, transport=None, ending=Ending.NO_ANSWER),)
    if kind == 1:
        return (dimse(ExposureLevel.DICOM, rejection=Rejection(1, 1, 7), write=Write.REFUSED),)
    if kind == 2:
        return (dimse(ExposureLevel.QUERY_OFFERED, write=Write.OFFERED, query=QueryAnswer.FAILED, query_status=0xC000),)
    if kind == 3:
        return (web(ExposureLevel.OPEN_PORT, guarded_apis=(WebApi.QIDO,), port=443, transport=Transport.TLS, tls=_tls(chance)),)
    return (dimse(ExposureLevel.ASSOCIATION, write=Write.REFUSED), dimse(ExposureLevel.OPEN_PORT, port=2762, ending=Ending.TIMEOUT))


def _tls(chance: random.Random) -> Tls:
    certificate = Certificate(
        days_left=chance.randint(-400, 400),
        not_yet_valid=False,
        key=KeyKind.RSA,
        key_bits=chance.choice((1024, 2048, 3072)),
        sha1_signature=False,
        self_signed=True,
        published_key=chance.random() < 0.1,
        trusted=None,
        name_matches=None,
    )
    old = (TlsVersion.TLS_1_0,) if chance.random() < 0.3 else ()
    return Tls(TlsVersion.TLS_1_2, old, weak_suites=bool(old), client_certificate=ClientCertificate.NOT_REQUIRED, certificate=certificate)
