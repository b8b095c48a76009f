"""WADO-RS and QIDO-RS side by side: our door and Orthanc's behind nginx, both over TLS, HTTP/1.1."""

import http.client
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

from bench import sides
from bench.figures import Extent, Table, median, ratio
from bench.objects import Identifiers
from bench.sender import send
from bench.sides import WebSide

_IMAGE = 525_000
_STUDY_RUN, _SEARCH_RUN = 1, 2
_ASKED = 50
MULTIPART = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def bench_web(folder: Path, extent: Extent) -> None:
    """A study fetched whole, and studies searched for."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        both = stack.enter_context(sides.web_sides(place))
        for side in both:
            count = extent.study_images
            task = side.receiver.task(size=_IMAGE, associations=1, seconds=600, run=_STUDY_RUN, most=count, per_study=count)
            send(task)
            send(side.receiver.task(size=8_000, associations=1, seconds=600, run=_SEARCH_RUN, most=extent.studies, per_study=1))
        _wado(both, extent)
        _qido(both, extent)


def _wado(both: list[WebSide], extent: Extent) -> None:
    study = Identifiers.of(_STUDY_RUN, 0, extent.study_images).study
    seconds: dict[str, list[float]] = {side.name: [] for side in both}
    cpu: dict[str, list[float]] = {side.name: [] for side in both}
    size = 0
    for _ in range(max(5, extent.rounds)):
        for side in both:
            before = side.cpu()
            took, size = curl(side, f"/studies/{study}")
            seconds[side.name].append(took)
            cpu[side.name].append(1000 * (side.cpu() - before) / extent.study_images)
    if size < extent.study_images * _IMAGE:
        raise RuntimeError("the study did not come whole")
    table = Table(
        f"WADO-RS of a study, {extent.study_images} x 525 kB, curl",
        "",
        "seconds",
        "MB/s",
        "CPU ms/image",
        "ratio to Orthanc",
        "CPU to Orthanc",
    )
    theirs = both[0].name
    for name, runs in seconds.items():
        ratios = ("", "") if name == theirs else (ratio(seconds[theirs], runs), ratio(cpu[name], cpu[theirs]))
        table.add(name, f"{median(runs):.3f}", f"{size / median(runs) / 1e6:.0f}", f"{median(cpu[name]):.2f}", *ratios)
    table.show()


def curl(side: WebSide, path: str) -> tuple[float, int]:
    """Fetch it into nothing: the seconds it took, the bytes that came."""
    command = ["curl", "-sS", "--fail", "--http1.1", "--cacert", str(side.authority), "-o", "/dev/null"]
    command += ["-w", "%{time_total} %{size_download}", "-H", f"Accept: {MULTIPART}", *_bearer(side), f"{side.url}{path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"curl failed: {done.stderr}")
    took, size = done.stdout.split()
    return float(took), int(size)


def _bearer(side: WebSide) -> list[str]:
    return ["-H", f"Authorization: Bearer {side.token}"] if side.token else []


_QUESTIONS: Mapping[str, Callable[[Identifiers], str]] = {
    "PatientID": lambda one: f"PatientID={one.patient_id}",
    # Ten patients each.
    "name prefix": lambda one: f"PatientName={one.patient_name[:13]}*",
    "date range + modality": lambda one: f"StudyDate={one.study_date[:6]}01-{one.study_date[:6]}10&ModalitiesInStudy=CT",
}


def _qido(both: list[WebSide], extent: Extent) -> None:
    asked = [Identifiers.of(_SEARCH_RUN, number * extent.studies // _ASKED, 1) for number in range(_ASKED)]
    for label, question in _QUESTIONS.items():
        table = Table(f"QIDO-RS, studies by {label}, of {extent.studies + 1}", "", "median ms", "p99 ms", "ratio to Orthanc", "matches")
        runs: dict[str, list[float]] = {side.name: [] for side in both}
        matches: dict[str, int] = {}
        for _ in range(extent.rounds):
            for side in both:
                times, matches[side.name] = _ask(side, [f"/studies?{question(one)}" for one in asked])
                runs[side.name] += times
        for name, times in runs.items():
            faster = "" if name == both[0].name else f"{median(runs[both[0].name]) / median(times):.2f}"
            table.add(
                name, f"{1000 * median(times):.2f}", f"{1000 * sorted(times)[len(times) * 99 // 100]:.2f}", faster, str(matches[name])
            )
        table.show()


def _ask(side: WebSide, paths: list[str]) -> tuple[list[float], int]:
    """Ask all of it on one connection: the seconds of each, and how many studies came in all."""
    url = urlsplit(side.url)
    context = ssl.create_default_context(cafile=str(side.authority))
    headers = {"Accept": "application/dicom+json", **({"Authorization": f"Bearer {side.token}"} if side.token else {})}
    times, matches = [], 0
    with closing(http.client.HTTPSConnection(url.hostname or "", url.port, context=context, timeout=60)) as connection:
        for path in paths:
            started = time.perf_counter()
            connection.request("GET", url.path + path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            times.append(time.perf_counter() - started)
            if answer.status not in {200, 204}:
                raise RuntimeError(f"{side.name} answered a search by {answer.status}")
            matches += body.count(b"0020000D")
    # The first request also pays for the connection.
    return times[1:], matches
