"""The document: prose by hand, and between marks what a function of `BLOCKS` gives."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from tools.conformance import negotiation, network, query, services, web

DOCUMENT = Path(__file__).parents[2] / "docs" / "conformance.md"

BLOCKS: Mapping[str, Callable[[], str]] = {
    "identification": network.identification,
    "overview": services.overview,
    "web overview": web.overview,
    "presentation contexts": services.presentation_contexts,
    "association parameters": network.association_parameters,
    "limits": network.limits,
    "rejections": network.rejections,
    "extended negotiation": negotiation.extended_negotiation,
    "query keys": query.keys,
    "matching": query.matching,
    "character sets": query.character_sets,
    "statuses": services.statuses,
    "failures": services.failures,
    "web resources": web.resources,
    "frame types": web.frame_types,
    "tls": network.tls_profile,
    "storage classes": services.storage_classes,
    "transfer syntaxes": services.transfer_syntaxes,
}
_MARKED = re.compile(r"(<!-- from the code: (?P<name>[a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


class UnknownBlockError(ValueError):
    """The document marks a block that no function makes, or a function makes one that the document does not have."""


def regenerated(text: str) -> str:
    """`text` with every marked block as the code gives it."""
    named = [match["name"] for match in _MARKED.finditer(text)]
    if sorted(named) != sorted(BLOCKS):
        raise UnknownBlockError(f"marked in the document: {sorted(named)}; made from the code: {sorted(BLOCKS)}")
    return _MARKED.sub(lambda match: f"{match[1]}{BLOCKS[match['name']]()}\n{match[3]}", text)
