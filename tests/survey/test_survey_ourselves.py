"""The survey of our own archive finds nothing, on every run."""

import subprocess
import sys
from pathlib import Path

from leadglass.survey.observations import Dimse, ExposureLevel, Transport, Web, WebApi, Write
from tests import peers, samples
from tests.survey.harness import run_one

LEADGLASS = [sys.executable, "-m", "leadglass"]


def test_a_stranger_gets_nothing_from_us(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (tmp_path / "password").write_text("a long enough password")
    founding = ["init", home, "--password-file", tmp_path / "password", "--root-key", tmp_path / "root.key"]
    subprocess.run([*LEADGLASS, *map(str, founding)], check=True, capture_output=True, timeout=60)
    subprocess.run([*LEADGLASS, "import", str(home), str(samples.sample("CT_small.dcm"))], check=True, capture_output=True, timeout=60)
    dimse, web = peers.free_port(), peers.free_port()
    serving = [*LEADGLASS, "serve", str(home), "--dimse", f"127.0.0.1:{dimse}", "--web", f"127.0.0.1:{web}"]
    with peers.started(serving, [dimse, web], tmp_path / "serve.log"):
        authority = str(home / "tls" / "ca.cert.pem")
        result = run_one(tmp_path, {"dimse_ports": [dimse], "web_ports": [web]}, ca_file=authority)
    assert result.findings == ()
    assert (result.level, result.write, result.transport) == (ExposureLevel.OPEN_PORT, Write.REFUSED, Transport.MUTUAL_TLS)
    assert (result.records, result.fields, result.open_viewers) == (None, (), 0)
    for door in result.doors:
        assert door.tls is not None
        assert (door.tls.old_versions, door.tls.weak_suites) == ((), False)
        assert door.tls.certificate is not None
        assert (door.tls.certificate.trusted, door.tls.certificate.name_matches) == (True, True)
    (page,) = [door for door in result.doors if isinstance(door, Web)]
    assert (page.level, page.guarded_apis) == (ExposureLevel.OPEN_PORT, (WebApi.QIDO,))
    assert [door.port for door in result.doors if isinstance(door, Dimse)] == [dimse]
