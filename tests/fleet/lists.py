"""Lists of archives: which there are, where, and how many studies each has."""

import csv
import io
import random
import socket
from collections.abc import Sequence
from contextlib import closing

from tests.fleet import Archive, Behaviour

PORT = 11112
PER_NEIGHBOURHOOD = 10
"""Archives in one /24."""
_REJECTIONS = ((1, 1, 7), (1, 1, 3), (1, 1, 2), (2, 3, 1), (2, 3, 2), (1, 1, 1))
_SHUT = (Behaviour.CLOSED, Behaviour.OPEN_PORT, Behaviour.REJECTING, Behaviour.ASSOCIATING, Behaviour.QUERY_OFFERED)


def addresses(count: int) -> list[str]:
    """So many loopback addresses, in a /16 at which nothing listens yet."""
    for second in random.sample(range(16, 250), 20):
        with closing(socket.socket()) as probe:
            try:
                probe.bind((f"127.{second}.0.1", PORT))
            except OSError:
                continue
        return [f"127.{second}.{number // PER_NEIGHBOURHOOD}.{number % PER_NEIGHBOURHOOD + 1}" for number in range(count)]
    raise RuntimeError("no loopback network is free")


def sizes(count: int, studies: int, most: int, seed: int) -> list[int]:
    """`count` numbers from 1 to `most` that make up `studies`: many small ones, few large ones, as archives are."""
    draw = random.Random(seed)
    weights = [draw.lognormvariate(0, 1.6) for _ in range(count)]
    scale = studies / sum(weights)
    found = [min(most, max(1, round(weight * scale))) for weight in weights]
    found[0], found[1] = 1, most
    while (missing := studies - sum(found)) != 0:
        for place in range(2, count):
            step = max(1, abs(missing) // count)
            found[place] = min(most, max(1, found[place] + (step if missing > 0 else -step)))
            if sum(found) == studies:
                break
            missing = studies - sum(found)
    return found


def mixed(count: int, studies: int, most: int, seed: int = 4) -> list[Archive]:
    """A tenth dead or silent, a quarter open with 1 to `most` studies, the others shut in one way or another."""
    tenth, quarter = round(count / 10), round(count / 4)
    kinds = [(Behaviour.DEAD, Behaviour.SILENT)[number % 2] for number in range(tenth)]
    kinds += [(Behaviour.RECORDS, Behaviour.IMAGES)[number % 2] for number in range(quarter)]
    kinds += [_SHUT[number % len(_SHUT)] for number in range(count - len(kinds))]
    held = iter(sizes(quarter, studies, most, seed))
    archives = [(kind, next(held) if kind.is_open else 0) for kind in kinds]
    random.Random(seed).shuffle(archives)
    return [
        Archive(f"Archive {number:04}", address, PORT, kind, size, rejection=_REJECTIONS[number % len(_REJECTIONS)])
        for number, ((kind, size), address) in enumerate(zip(archives, addresses(count), strict=True))
    ]


def targets(archives: Sequence[Archive]) -> str:
    """The targets.csv of a scope that names these archives."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(("name", "host", "dimse_ports", "web_ports", "country", "site"))
    for each in archives:
        rows.writerow((each.name, each.address, each.port, each.web.port if each.web else "", each.country, ""))
    return text.getvalue()
