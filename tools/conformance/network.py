"""Association, timers and limits, and the security of the transport: what the code's own constants and defaults say."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from typing import Final

from leadglass.assemble.serving import limits_of
from leadglass.config import Settings
from leadglass.dicom.pdu import APPLICATION_CONTEXT, MAX_CONTEXTS
from leadglass.dicom.uid import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from leadglass.net import tls
from leadglass.net.acceptor import Reject
from leadglass.net.limits import Limits
from tools.conformance.markdown import code, table, words


def identification() -> str:
    """Who we are on the wire."""
    settings = Settings()
    return table(
        ("", ""),
        [
            ("Application Entity Title", f"{code(settings.archive.aet)} (`archive.aet`)"),
            ("Implementation Class UID", code(IMPLEMENTATION_CLASS_UID)),
            ("Implementation Version Name", code(IMPLEMENTATION_VERSION_NAME)),
            ("DICOM over TLS", f"{code(settings.dimse.listen)} (`dimse.listen`)"),
            (
                "DICOM without TLS",
                "no listener" if settings.dimse.unsafe_plaintext_listen is None else settings.dimse.unsafe_plaintext_listen,
            ),
            ("DICOMweb over TLS", f"{code(settings.web.listen)} (`web.listen`)"),
        ],
    )


def association_parameters() -> str:
    """The table that PS3.2 asks for of each application entity."""
    limits = limits_of(Settings())
    return table(
        ("Parameter", "Value"),
        [
            ("Application Context Name", code(APPLICATION_CONTEXT)),
            ("Implementation Class UID", code(IMPLEMENTATION_CLASS_UID)),
            ("Implementation Version Name", code(IMPLEMENTATION_VERSION_NAME)),
            ("Maximum PDU length received", f"{limits.max_pdu} bytes"),
            ("Maximum PDU length sent", "what the peer says it receives"),
            ("Presentation contexts in one association", MAX_CONTEXTS),
            ("ARTIM timeout", f"{limits.artim_seconds:g} s"),
            ("Association inactivity timeout", f"{limits.idle_seconds:g} s"),
            ("Simultaneous associations", limits.max_associations),
            ("Simultaneous associations from one address", limits.max_associations_per_address),
        ],
    )


def limits() -> str:
    """Every bound on what a peer can make us hold or wait for, with the setting that it comes from."""
    in_force, told = limits_of(Settings()), dict(_documented(Limits))
    rows = [
        (words(each.name), _shown(getattr(in_force, each.name)), code(_setting(each.name)) if _setting(each.name) else "", told[each.name])
        for each in fields(Limits)
    ]
    return table(("Bound", "Default", "Setting", ""), rows)


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else "none of its own" if value is None else str(value)


@cache
def _setting(name: str) -> str:
    """The setting of `dimse` that moves this limit: found by moving each of them."""
    for key, field in Settings().dimse.__class__.model_fields.items():
        if field.annotation not in (int, float, int | None):
            continue
        moved = Settings.model_validate({"dimse": {key: 77}})
        if getattr(limits_of(moved), name) == 77 != getattr(limits_of(Settings()), name):
            return f"dimse.{key}"
    return ""


def _documented(kind: type) -> Iterator[tuple[str, str]]:
    """Each field of a class with what stands under it in the source."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101 # a type for the checker
    body = definition.body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            said = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            yield node.target.id, " ".join(str(said).split())


_RESULT: Final = {1: "rejected-permanent", 2: "rejected-transient"}
_SOURCE: Final = {1: "service user", 2: "service provider (ACSE)", 3: "service provider (presentation)"}


def rejections() -> str:
    """The reasons for which an association is rejected."""
    rows = []
    for each in Reject:
        result, source, reason = each.to_bytes(3, "big")
        rows.append((f"{result}: {_RESULT[result]}", f"{source}: {_SOURCE[source]}", f"{reason}: {words(each.name)}"))
    return table(("Result", "Source", "Reason"), rows)


def tls_profile() -> str:
    """The versions and suites of the listeners, from the contexts they are made with."""
    # A listener's and a requestor's are made alike but for their certificates.
    context = tls.client_context(trusted_servers="")
    suites: dict[str, list[str]] = {}
    for each in context.get_ciphers():
        suites.setdefault(str(each["protocol"]), []).append(code(each["name"]))
    rows = [(version.replace("v", " "), ", ".join(names)) for version, names in sorted(suites.items(), reverse=True)]
    return table(("Version", "Suites, as OpenSSL names them, in our order of preference"), rows)
