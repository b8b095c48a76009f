"""Every hostile server at once: the survey ends, says what each is, fills no memory, and carries nothing of theirs into the reports."""

import time
from contextlib import ExitStack
from pathlib import Path

import psutil

from leadglass.survey.observations import Ending, Web
from leadglass.survey.results import Results
from tests.survey import hostile
from tests.survey.harness import run
from tests.survey.hostile import INJECTION, pdu
from tests.survey.servers import Answer, Talk, answering, hang_up, talking

DICOM: dict[str, Talk] = {
    "a PDU of 4 GiB": lambda link: link.sendall(b"\x02\x00\xff\xff\xff\xff"),
    "a PDU of 2 GiB, filled": hostile.pdu_bomb,
    "a byte now and then": hostile.trickle,
    "hangs up": hang_up,
    "contexts of nobody's": hostile.many_contexts,
    "PDUs that do not fit": hostile.abort_storm,
    "an empty acceptance": lambda link: link.sendall(pdu(2, b"")),
    "babbles": hostile.babbles,
    "matches without end": hostile.never_stops,
    "talks after the release": hostile.answers_after_the_release,
    "answers another question": hostile.answers_another_question,
    "injects": hostile.injects_dicom,
}
ENDLESS_TLS: dict[str, Talk] = {"a handshake without end": hostile.handshake_flood}
WEB: dict[str, Answer] = {
    "a body without end": hostile.endless_body,
    "a slow body": hostile.slow_body,
    "headers without end": hostile.endless_headers,
    "deep JSON": hostile.deep,
    "wide JSON": hostile.wide,
    "compressed unasked": hostile.gzip_bomb,
    "tiny chunks": hostile.tiny_chunks,
    "a maze of redirects": hostile.redirect_maze,
    "absurd numbers": hostile.absurd_numbers,
    "injects": hostile.injects_web,
}


def besieged(folder: Path) -> Results:
    """A survey of all of them, each at an address of its own."""
    targets: list[dict[str, object]] = []
    with ExitStack() as undo:
        for number, (name, talk) in enumerate((DICOM | ENDLESS_TLS).items()):
            listener = undo.enter_context(talking(talk, f"127.4.{number}.1"))
            ports = "web_ports" if name in ENDLESS_TLS else "dimse_ports"
            targets.append({"name": name, "host": listener.host, ports: [listener.port]})
        for number, (name, answer) in enumerate(WEB.items()):
            web = undo.enter_context(answering(answer, f"127.5.{number}.1"))
            targets.append({"name": name, "host": web.host, "web_ports": [web.port]})
        return run(folder, *targets, level="retrieve", timeout_seconds=0.3, max_matches=500)


def test_no_server_stops_fills_or_fools_the_survey(tmp_path: Path) -> None:
    began = time.monotonic()
    before = psutil.Process().memory_info().rss
    results = besieged(tmp_path)
    assert time.monotonic() - began < 60
    assert psutil.Process().memory_info().rss - before < 200 << 20
    # "our own fault" would be there.
    assert results.refused == ()
    assert len(results.targets) == len(DICOM) + len(ENDLESS_TLS) + len(WEB)
    levels = {result.name: str(result.level) for result in results.targets if result.host.startswith("127.4.")}
    records = {name for name, level in levels.items() if level in {"records", "images"}}
    assert records == {"matches without end", "talks after the release", "injects"}
    opened = {result.name for result in results.targets if result.host.startswith("127.5.") and result.level.is_open}
    assert opened == {"injects"}
    endings = {result.name: result.doors[0].ending for result in results.targets}
    assert endings["a slow body"] is Ending.TIMEOUT
    # At their bounds, not at the end of our patience.
    assert endings["headers without end"] is Ending.NOT_THIS_PROTOCOL
    assert endings["a body without end"] is Ending.DONE
    for result in results.targets:
        if result.name in {"a PDU of 4 GiB", "a PDU of 2 GiB, filled", "an empty acceptance", "a byte now and then"}:
            assert str(result.level) in {"open-port", "dicom"}
        counted = result.records
        assert counted is None or 0 <= counted.studies <= 500
    maze = next(result.doors[0] for result in results.targets if result.name == "a maze of redirects")
    assert isinstance(maze, Web)
    assert not maze.open_apis
    for path in (tmp_path / "out").iterdir():
        text = path.read_text(encoding="utf-8")
        for part in (INJECTION, INJECTION[:16], INJECTION[13:29], "HYPERLINK", "alert(1)", "Injected"):
            assert part not in text, (path.name, part)
