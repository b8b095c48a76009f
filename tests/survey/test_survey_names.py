"""Names are looked up side by side, each within its time: a resolver that is silent about one holds up none of the others."""

import asyncio
import socket
import threading
import time
from collections.abc import Sequence

import pytest

from leadglass.survey import names
from leadglass.survey.addresses import systems_of
from leadglass.survey.names import AT_ONCE, look_up, resolve_by_system
from tests.survey.test_survey_scope import scope_of


class Resolver:
    """Silent about names that begin with "dead"; remembers what it was asked, and how many names at once."""

    def __init__(self, pause: float = 0.001) -> None:
        self.pause = pause
        self.asked: list[str] = []
        self.now = self.most = 0

    async def __call__(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(3600 if name.startswith("dead") else self.pause)
        finally:
            self.now -= 1
        return ("10.0.0.1",)


def test_a_dead_name_holds_up_no_other() -> None:
    resolver = Resolver()
    listed = ["dead.example", *(f"a{number}.example" for number in range(500)), "dead-too.example"]
    began = time.monotonic()
    found = asyncio.run(look_up(listed, resolver, seconds=0.3))
    assert time.monotonic() - began < 2
    assert list(found) == listed
    assert [name for name, addresses in found.items() if addresses is None] == ["dead.example", "dead-too.example"]
    assert resolver.most == AT_ONCE


def test_each_name_is_looked_up_once() -> None:
    resolver = Resolver()
    asyncio.run(look_up(["a.example", "b.example", "a.example"], resolver))
    assert sorted(resolver.asked) == ["a.example", "b.example"]


def test_a_dead_resolver_is_not_asked_for_every_name_of_a_long_list() -> None:
    resolver = Resolver()
    began = time.monotonic()
    found = asyncio.run(look_up([f"dead{number}.example" for number in range(5_000)], resolver, seconds=0.2))
    assert time.monotonic() - began < 2
    assert set(found.values()) == {None}
    assert len(resolver.asked) < 2 * AT_ONCE


def test_many_dead_names_of_a_resolver_that_lives_are_all_asked_for() -> None:
    resolver = Resolver(pause=0.0)
    listed = [f"{'dead' if number < 200 else 'a'}{number}.example" for number in range(300)]
    found = asyncio.run(look_up(listed, resolver, seconds=0.05))
    assert len(resolver.asked) == 300
    assert sum(addresses is not None for addresses in found.values()) == 100


def test_a_name_without_an_answer_is_refused_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names.look_up, "__kwdefaults__", {"seconds": 0.05})
    scope = scope_of({"host": "dead.example"}, {"host": "pacs.example"}, {"host": "10.0.0.9"})
    systems, refused = asyncio.run(systems_of(scope, Resolver()))
    assert [str(system.address) for system in systems] == ["10.0.0.1", "10.0.0.9"]
    assert [each.host for each in refused] == ["dead.example"]
    assert "no answer came within" in refused[0].why
    assert "--resume" in refused[0].why


def test_a_look_up_that_hangs_in_the_library_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing ends a call of the C library: neither the other names wait for it, nor the end of the process."""
    release = threading.Event()

    def hanging(name: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        if name.startswith("dead"):
            release.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    began = time.monotonic()
    found = asyncio.run(look_up([*(f"dead{number}" for number in range(20)), "b", "c"], resolve_by_system, seconds=0.3))
    assert time.monotonic() - began < 5
    assert (found["b"], found["c"], found["dead0"]) == (("10.0.0.7",), ("10.0.0.7",), None)
    hung = [thread for thread in threading.enumerate() if thread.name == "look-up"]
    assert len(hung) == 20
    assert all(thread.daemon for thread in hung)
    release.set()
    for thread in hung:
        thread.join(5)


def test_the_host_knows_itself_and_not_what_cannot_be() -> None:
    assert "127.0.0.1" in asyncio.run(resolve_by_system("localhost"))
    assert asyncio.run(resolve_by_system("a" * 70 + ".invalid")) == ()
