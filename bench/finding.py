"""C-FIND at ten million instances, and what storing costs beside so many; Orthanc at 20,000 studies beside it."""

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from bench import sides
from bench.figures import Extent, Table, median
from bench.memory import Watch
from bench.objects import Identifiers
from bench.sender import send
from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, propose
from leadglass.dicom.matching import parse_match
from leadglass.dicom.predicate import EVERY_STUDY, Condition, StudyPredicate
from leadglass.dicom.query import IdentifierWriter, Query
from leadglass.dicom.sopclasses import STUDY_ROOT_FIND
from leadglass.net import tls
from leadglass.net.requestor import ClientAssociation, connect, tcp
from leadglass.vault.index import Index
from leadglass.vocabulary import Level
from tests import synthetic
from tests.archives import ArchiveUnderTest
from tests.certificates import Identity
from tests.peers import OPENED, DimseAddress, orthanc
from tests.synthetic import IMAGES, STUDIES_A_DAY, Study

_ASKED: Final = 300
_ORTHANC_RUN, _STORING_RUN = 3, 40
_RETURNED: Final = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ModalitiesInStudy",
    "PatientName",
    "PatientID",
    "StudyDescription",
    "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
)
_Keys = Mapping[str, str]

_QUESTIONS: Mapping[str, Callable[[Study], _Keys]] = {
    "PatientID": lambda one: {"PatientID": one.patient_id},
    "name prefix": lambda one: {"PatientName": f"{one.surname}*"},
    "date range + modality": lambda one: {"StudyDate": f"{one.date}-{one.date}", "ModalitiesInStudy": "XA"},
}
_ORTHANC_QUESTIONS: Mapping[str, Callable[[Identifiers], _Keys]] = {
    "PatientID": lambda one: {"PatientID": one.patient_id},
    "name prefix": lambda one: {"PatientName": f"{one.patient_name[:13]}*"},
    # Of 20,000 studies over 10,000 days: about as many matches as the others have.
    "date range + modality": lambda one: {"StudyDate": f"{one.study_date[:6]}01-{one.study_date[:6]}07", "ModalitiesInStudy": "CT"},
}


def _condition(keyword: str, *values: str) -> StudyPredicate:
    return StudyPredicate(((Condition(keyword, frozenset(values)),),))


_POLICIES: Mapping[str, StudyPredicate] = {
    "every study": EVERY_STUDY,
    "modality MR (15%)": _condition("Modality", "MR"),
    "modality CT or PT (29%)": _condition("Modality", "CT", "PT"),
    "institution (0.4%)": _condition("InstitutionName", "Rural Practice"),
}


def bench_find(folder: Path, extent: Extent) -> None:
    """Both sides over DIMSE, then the index alone within policies that narrow, then storing."""
    table = Table("C-FIND, all matches of a question received", "", "studies", "instances", "median ms", "p99 ms", "matches")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        _ask_orthanc(place / "orthanc", extent.found_studies // 50, table)
        archive = ArchiveUnderTest.found(place / "ours")
        days = extent.found_studies // STUDIES_A_DAY
        rates: dict[int, list[float]] = {}
        held = 0
        with archive.serving():
            tls_peer = sides.find_and_store_peer(archive)
        # The first block, of which the others are copies, is there from the start.
        for part in (1, days // 10, days):
            with synthetic.index_of(archive) as index:
                seconds = synthetic.fill(index, part, held)
            print(f"\n{(part - held) * STUDIES_A_DAY * IMAGES} instances more, written in {seconds:.0f} s", flush=True)
            held = part
            rates[part * STUDIES_A_DAY * IMAGES] = _storing(archive, tls_peer, extent)
        with archive.serving():
            watch = Watch(sides.our_process(archive))
            with watch.watching():
                asyncio.run(_ask_ours(archive, tls_peer, held, table))
            table.show()
            print(f"  PSS of the server meanwhile: at most {watch.peak / 1e6:.0f} MB", flush=True)
        with synthetic.index_of(archive) as index:
            _policies(index, held)
        _ingest(rates)


def _chosen(days: int) -> Iterator[Study]:
    chance = random.Random(1)
    for _ in range(_ASKED):
        yield Study(chance.randrange(days), chance.randrange(STUDIES_A_DAY))


def _identifier(keys: _Keys) -> bytes:
    names = tuple(dict.fromkeys((*_RETURNED, *keys)))
    return IdentifierWriter(Query(Level.STUDY, {}, names), EXPLICIT_LITTLE_ENDIAN).write(keys)


async def _ask(association: ClientAssociation, questions: list[_Keys]) -> tuple[list[float], int]:
    """The seconds from each question to its last response, and the matches of all."""
    context = association.context(STUDY_ROOT_FIND)
    times, matches = [], 0
    for keys in questions:
        identifier = _identifier(keys)
        started = time.perf_counter()
        async for response, _ in association.find(context, identifier):
            matches += response.status in {0xFF00, 0xFF01}
        times.append(time.perf_counter() - started)
    return times[1:], matches


def _row(table: Table, name: str, studies: int, instances: int, times: list[float], matches: int) -> None:
    p99 = 1000 * sorted(times)[len(times) * 99 // 100]
    table.add(name, str(studies), str(instances), f"{1000 * median(times):.2f}", f"{p99:.2f}", f"{matches / (len(times) + 1):.1f}")


@asynccontextmanager
async def _associated(address: DimseAddress, identity: Identity | None) -> AsyncIterator[ClientAssociation]:
    context = None
    if identity is not None:
        trusted = identity.authority.read_text()
        context = tls.client_context(trusted_servers=trusted, identity=tls.Identity(identity.certificate, identity.key))
    proposal = propose(sides.PEER, address.aet, [(STUDY_ROOT_FIND, [EXPLICIT_LITTLE_ENDIAN])])
    async with connect(tcp(address.host, address.port, tls=context), proposal) as association:
        yield association


async def _ask_ours(archive: ArchiveUnderTest, identity: Identity, days: int, table: Table) -> None:
    async with _associated(archive.dimse, identity) as association:
        for label, question in _QUESTIONS.items():
            times, matches = await _ask(association, [question(one) for one in _chosen(days)])
            _row(table, f"leadglass, TLS: {label}", days * STUDIES_A_DAY, days * STUDIES_A_DAY * IMAGES, times, matches)


def _ask_orthanc(folder: Path, studies: int, table: Table) -> None:
    with orthanc(folder, OPENED) as other:
        receiver = sides.Receiver(sides.ORTHANC, other.dicom, other.process)
        send(receiver.task(size=8_000, associations=2, seconds=3600, run=_ORTHANC_RUN, most=studies, per_study=1))

        async def asked() -> None:
            async with _associated(other.dicom, None) as association:
                for label, question in _ORTHANC_QUESTIONS.items():
                    ones = [Identifiers.of(_ORTHANC_RUN, number * studies // _ASKED, 1) for number in range(_ASKED)]
                    times, matches = await _ask(association, [question(one) for one in ones])
                    _row(table, f"Orthanc: {label}", studies, studies, times, matches)

        asyncio.run(asked())


def _policies(index: Index, days: int) -> None:
    table = Table("The index alone, within policies", "", "policy", "median ms", "p99 ms", "matches")
    asked: Mapping[str, Callable[[Study], _Keys]] = {**_QUESTIONS, "nothing, the first 101": lambda _: {}}
    for policy, predicate in _POLICIES.items():
        for label, question in asked.items():
            times, matches = [], 0
            for one in _chosen(days):
                keys = {keyword: parse_match(keyword, text) for keyword, text in question(one).items()}
                started = time.perf_counter()
                found = list(index.find(Query(Level.STUDY, keys, _RETURNED, limit=None if keys else 101), predicate))
                times.append(time.perf_counter() - started)
                matches += len(found)
            p99 = 1000 * sorted(times)[len(times) * 99 // 100]
            table.add(label, policy, f"{1000 * median(times):.2f}", f"{p99:.2f}", f"{matches / len(times):.1f}")
    table.show()


def _storing(archive: ArchiveUnderTest, identity: Identity, extent: Extent) -> list[float]:
    """Objects a second of one association over TLS, with what the index holds now."""
    rates = []
    with archive.serving():
        receiver = sides.Receiver(sides.OURS, archive.dimse, sides.our_process(archive), tls=identity)
        for _ in range(extent.rounds):
            run = _STORING_RUN + int(time.time()) % 10**9
            rates.append(send(receiver.task(size=8_000, associations=1, seconds=extent.seconds, run=run, most=10**6)).rate)
    return rates


def _ingest(rates: Mapping[int, list[float]]) -> None:
    table = Table("C-STORE of 8 kB over TLS, one association", "instances indexed", "objects/s", "to an empty index")
    empty = median(rates[min(rates)])
    for instances, runs in rates.items():
        table.add(str(instances), f"{median(runs):.0f}", f"{median(runs) / empty:.2f}")
    table.show()
