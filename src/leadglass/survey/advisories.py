"""Advisories: the packaged table with what the user has added to it, and which of them may concern a version.

`leadglass survey advisories update` reads CSAF 2.0 files, as CISA publishes them (github.com/cisagov/CSAF, icsma-*.json). They come from
the network: everything in them is bounded, and only numbers and identifiers of known shape are kept. A match means "possibly affected".
"""

import csv
import functools
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from leadglass.durable import replace_file
from leadglass.errors import BadInput, ConfigurationError
from leadglass.home import user_data_folder
from leadglass.survey.observations import VersionNumber
from leadglass.survey.products import packaged_rows

MAX_FILE_BYTES = 16 << 20
"""The largest of CISA's is 1 MB."""
MAX_DEPTH = 12
MAX_LEAVES = 20_000
MAX_ROWS = 20_000
MAX_IDS = 12
"""Of one row: the advisory names them all."""

COLUMNS = ("product", "since", "below", "through", "ids", "cvss", "advisory", "source")
Json: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Advisory:
    """One row: a range of versions of a product that are possibly affected; without bounds, every version."""

    product: str
    since: VersionNumber | None
    below: VersionNumber | None
    through: VersionNumber | None
    ids: str
    cvss: str
    advisory: str

    def may_concern(self, version: VersionNumber) -> bool:
        """Whether a version is in the range; one is not above a bound that has fewer components and begins alike."""
        if self.since is not None and version < self.since:
            return False
        return version < self.below if self.below is not None else self.through is None or version[: len(self.through)] <= self.through


def user_table() -> Path:
    """Where `update` puts what it has read; a survey of the same user finds it there."""
    return user_data_folder() / "advisories.csv"


def advisories() -> Sequence[Advisory]:
    """The packaged table and the user's; of an advisory that is in both, the user's newer rows alone. Raises `ConfigurationError`."""
    path = user_table()
    try:
        changed = path.stat().st_mtime_ns
    except FileNotFoundError:
        return _packaged()
    added = _added(path, changed)
    newer = {(each.product, each.advisory) for each in added}
    return (*added, *(each for each in _packaged() if (each.product, each.advisory) not in newer))


def possible_advisories(product: str, version: VersionNumber | None) -> tuple[Advisory, ...]:
    """The advisories whose range holds this version: possibly affected, since distributions back-port fixes."""
    if version is None:
        return ()
    return tuple(each for each in advisories() if each.product == product and each.may_concern(version))


@functools.cache
def _packaged() -> Sequence[Advisory]:
    return tuple(_advisory(row) for row in packaged_rows("advisories.csv"))


@functools.lru_cache(maxsize=4)
def _added(path: Path, changed: int) -> Sequence[Advisory]:  # noqa: ARG001 - a table that changed is read anew
    return tuple(_advisory(row) for row in _read_table(path))


def _read_table(path: Path) -> list[dict[str, str]]:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ConfigurationError(
            f"{path} is larger than {MAX_FILE_BYTES} bytes: remove it, and run `leadglass survey advisories update` again"
        )
    try:
        rows = csv.DictReader(io.StringIO(path.read_text("utf-8"), newline=""), restval="")
        if tuple(rows.fieldnames or ()) != COLUMNS:
            raise ValueError
        return list(rows)
    except (ValueError, csv.Error):
        raise ConfigurationError(
            f"{path} is not a table of advisories: remove it, and run `leadglass survey advisories update` again"
        ) from None


def _advisory(row: Mapping[str, str]) -> Advisory:
    since, below, through = (_dotted(row[bound]) for bound in ("since", "below", "through"))
    return Advisory(row["product"], since, below, through, row["ids"], row["cvss"], row["advisory"])


# CSAF

_NAMES: Mapping[str, frozenset[str]] = {
    product: frozenset(names)
    for product, names in {
        "Orthanc": ("orthanc",),
        "DCMTK": ("dcmtk", "offis dcmtk"),
        "dcm4chee-arc": ("dcm4chee", "dcm4chee arc", "dcm4chee arc light", "dcm4chee archive"),
        "dcm4che": ("dcm4che",),
        "Dicoogle": ("dicoogle",),
        "OHIF": ("ohif",),
        "MedDream": ("meddream", "softneta meddream"),
        "Oviyam": ("oviyam",),
        "Weasis PACS connector": ("weasis connector",),
        "pynetdicom": ("pynetdicom",),
        "fo-dicom": ("fo dicom",),
        "GDCM": ("gdcm", "grassroots gdcm", "grassroots"),
        "MergeCOM-3": ("merge", "mergecom 3", "merge c c"),
        "RadiAnt": ("radiant", "medixant radiant"),
        "Conquest": ("conquest",),
        "ClearCanvas": ("clearcanvas",),
        "Imebra": ("imebra",),
        "OsiriX or Horos": ("osirix", "osirix md", "horos"),
        "Agfa IMPAX": ("impax", "agfa impax"),
        "Agfa Enterprise Imaging": ("agfa enterprise imaging",),
    }.items()
}
"""What a survey can recognise, by the names that vendors and CISA give it, without the words of `_GENERAL`."""

_GENERAL = frozenset({"server", "pacs", "premium", "dicom", "viewer", "viewers", "library", "toolkit", "software", "the", "project"})


@dataclass(frozen=True, slots=True)
class Update:
    """What reading CSAF files came to."""

    table: Path
    added: int
    """Rows of products that a survey recognises, new or changed."""
    unchanged: int
    others: int
    """Products of these files that a survey cannot recognise, so that no row would ever match."""
    unread: tuple[str, ...]
    """Version ranges of known products that could not be read, by advisory: look at them yourself."""
    refused: tuple[tuple[Path, str], ...]
    """Files that are none of CSAF, and why."""


def update(files: Iterable[Path], table: Path) -> Update:
    """Read CSAF files into `table`, beside what it holds; an advisory that is read again replaces its rows.

    Nothing is written unless something was read. Raises `ConfigurationError` where the table itself is damaged.
    """
    kept: dict[tuple[str, ...], Mapping[str, str]] = {_key(row): row for row in _read_table(table)} if table.exists() else {}
    before = dict(kept)
    others = 0
    unread: list[str] = []
    refused: list[tuple[Path, str]] = []
    for file in files:
        try:
            read = read_csaf(_bytes_of(file))
        except BadInput as error:
            refused.append((file, str(error)))
            continue
        again = {(row["product"], row["advisory"]) for row in read.rows}
        kept = {key: row for key, row in kept.items() if (row["product"], row["advisory"]) not in again}
        kept |= {_key(row): row for row in read.rows}
        others += read.others
        unread += read.unread
    if len(kept) > MAX_ROWS:
        raise BadInput(f"{len(kept)} rows are more than a table holds ({MAX_ROWS}): read fewer files")
    changed = sum(before.get(key) != row for key, row in kept.items())
    if kept != before:
        table.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(table, _written(kept[key] for key in sorted(kept)))
    return Update(table, changed, len(kept) - changed, others, tuple(unread), tuple(refused))


def _key(row: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(row[column] for column in ("product", "advisory", "since", "below", "through"))


def _written(rows: Iterable[Mapping[str, str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _bytes_of(file: Path) -> bytes:
    with file.open("rb") as stream:
        raw = stream.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise BadInput(f"larger than {MAX_FILE_BYTES} bytes")
    return raw


@dataclass(frozen=True, slots=True)
class ReadAdvisory:
    """What one CSAF file says of products that a survey recognises."""

    rows: tuple[Mapping[str, str], ...]
    others: int
    unread: tuple[str, ...]


def read_csaf(raw: bytes) -> ReadAdvisory:
    """One advisory (CSAF 2.0); raises `BadInput` for what is none."""
    try:
        document: Json = json.loads(raw)
    except (ValueError, RecursionError):
        raise BadInput("not JSON") from None
    head = _table(_table(document).get("document"))
    name = _table(head.get("tracking")).get("id")
    if (
        not str(head.get("category", "")).startswith("csaf_")
        or not isinstance(name, str)
        or not re.fullmatch(r"[A-Za-z0-9._-]{3,60}", name)
    ):
        raise BadInput("not a CSAF advisory: document.category or document.tracking.id is missing")
    flaws = [_flaw(each) for each in _list(_table(document).get("vulnerabilities"))]
    rows: list[Mapping[str, str]] = []
    others: set[str] = set()
    unread: list[str] = []
    for leaf in _leaves(_table(document).get("product_tree")):
        product = _known(leaf.product)
        if product is None:
            others.add(leaf.product)
            continue
        affected = [flaw for flaw in flaws if leaf.number in flaw.products]
        if not affected:
            continue
        bounds = read_range(leaf.version, exact=leaf.exact)
        if bounds is None:
            unread.append(name)
            continue
        ids = list(dict.fromkeys(flaw.name for flaw in affected if flaw.name))
        named = ";".join(ids[:MAX_IDS]) + (f" and {len(ids) - MAX_IDS} more" if len(ids) > MAX_IDS else "")
        score = max(flaw.score for flaw in affected)
        shown = {bound: ".".join(map(str, number)) if number else "" for bound, number in zip(COLUMNS[1:4], bounds, strict=True)}
        rows.append(
            {"product": product, **shown, "ids": named, "cvss": f"{score:.1f}" if score else "", "advisory": name, "source": "CSAF"}
        )
    return ReadAdvisory(tuple(rows), len(others), tuple(unread))


def _table(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> Sequence[Json]:
    return value[:MAX_LEAVES] if isinstance(value, list) else []


@dataclass(frozen=True, slots=True)
class _Leaf:
    """One product with its versions, as the tree of products has it."""

    product: str
    version: str
    exact: bool
    number: str


def _leaves(tree: Json) -> Iterator[_Leaf]:
    waiting: list[tuple[Json, str, int]] = [(branch, "", 0) for branch in _list(_table(tree).get("branches"))]
    for _ in range(MAX_LEAVES):
        if not waiting:
            return
        branch, product, depth = waiting.pop()
        branch = _table(branch)
        name = str(branch.get("name", ""))[:200]
        category = branch.get("category")
        product = name if category == "product_name" else product
        number = _table(branch.get("product")).get("product_id")
        if isinstance(number, str):
            versioned = category in {"product_version", "product_version_range"}
            yield _Leaf(product, name if versioned else "vers:all/*", category == "product_version", number)
        if depth < MAX_DEPTH:
            waiting += [(each, product, depth + 1) for each in _list(branch.get("branches"))]


@dataclass(frozen=True, slots=True)
class _Flaw:
    name: str
    score: float
    products: frozenset[str]


def _flaw(value: Json) -> _Flaw:
    table = _table(value)
    cve = table.get("cve")
    status = _table(table.get("product_status"))
    listed = [number for kind in ("known_affected", "first_affected", "last_affected") for number in _list(status.get(kind))]
    scores = [
        score
        for each in _list(table.get("scores"))
        for kind in ("cvss_v3", "cvss_v4")
        if isinstance(score := _table(_table(each).get(kind)).get("baseScore"), int | float) and 0 <= score <= 10
    ]
    is_cve = isinstance(cve, str) and re.fullmatch(r"CVE-\d{4}-\d{4,7}", cve, re.ASCII)
    return _Flaw(str(cve) if is_cve else "", float(max(scores, default=0)), frozenset(each for each in listed if isinstance(each, str)))


def _known(product: str) -> str | None:
    """The product of ours that a name means; None for any other, however near.

    >>> _known("MedDream PACS Premium"), _known("Osimis WebViewer"), _known("Orthanc Web Viewer")
    ('MedDream', None, None)
    """
    words = [word for word in re.findall(r"[a-z0-9]+", product.lower()) if word not in _GENERAL]
    return next((ours for ours, names in _NAMES.items() if " ".join(words) in names), None)


Bounds: TypeAlias = tuple[VersionNumber | None, VersionNumber | None, VersionNumber | None]

_CONSTRAINT = re.compile(r"(>=|<=|<|>|=)?\s*[vV]?(\d[\d.xX*]{0,40})(?:[-_ +][\w.-]{0,40})?", re.ASCII)


def read_range(text: str, *, exact: bool) -> Bounds | None:
    """The bounds (since, below, through) of a CSAF version or range; None where it cannot be read with certainty.

    >>> read_range("vers:intdot/>=1.0.0|<3.0.4", exact=False), read_range("<= 12.2.x.x", exact=False)
    (((1, 0, 0), (3, 0, 4), None), (None, None, (12, 2)))
    >>> read_range("3.2.2", exact=True), read_range("vers:all/*", exact=False), read_range("shipped in 2017", exact=False)
    (((3, 2, 2), None, (3, 2, 2)), (None, None, None), None)
    """
    text = re.sub(r"^vers:[a-z]{1,20}/", "", text.strip()[:200])
    if text in {"*", "all", "all versions", "All versions"}:
        return None, None, None
    since = below = through = None
    for part in re.split(r"\s*[|,]\s*", text):
        match = _CONSTRAINT.fullmatch(part)
        number = _dotted(re.split(r"\.?[xX*]", match[2])[0]) if match else None
        if match is None or number is None:
            return None
        match match[1] or ("=" if exact else ""):
            case ">=" | ">":
                since = number
            case "<":
                below = number
            case "<=":
                through = number
            case "=" if since is through is None:
                since = through = number
            case _:
                return None
    return since, below, through


def _dotted(text: str) -> VersionNumber | None:
    """A version as numbers; unlike a device's own word for it, digits without a dot are one number.

    >>> _dotted("1.12.10"), _dotted("2023"), _dotted("")
    ((1, 12, 10), (2023,), None)
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9}){0,7})\.?", text, re.ASCII)
    return tuple(int(part) for part in match[1].split(".")) if match else None
