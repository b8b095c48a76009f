"""Somebody at a browser, played by httpx: cookies are kept as a browser keeps them, forms have the token of the page before."""

import base64
import html
import json
import re
import subprocess
import time
from dataclasses import dataclass, field
from typing import Self

import httpx

from leadglass.access.factors import hotp, step_at
from tests.archives import PASSWORD, ArchiveUnderTest, leadglass

TOKEN = re.compile(r'name="token" value="([0-9a-f]{64})"')


@dataclass
class Person:
    """An account with its second factor."""

    name: str
    secret: str
    recovery: list[str]
    used: int = -1

    @classmethod
    def added(cls, archive: ArchiveUnderTest, name: str, role: str) -> Self:
        leadglass("user", "add", archive.home, name, "--role", role, "--password-file", archive.home.with_name("password"))
        return cls(name, *factor(archive, name))

    def code(self) -> str:
        """The next code that was not used yet: the clock of an authenticator may be one step ahead; else a recovery code."""
        now = step_at(time.time_ns())
        for step in (now, now + 1):
            if step > self.used:
                self.used = step
                return hotp(base64.b32decode(self.secret), step)
        return self.recovery.pop()


def factor(archive: ArchiveUnderTest, name: str) -> tuple[str, list[str]]:
    """Give somebody a second factor by the command; gives its secret and the recovery codes."""
    said = leadglass("user", "factor", archive.home, name).stdout
    (secret,) = re.findall(r"^otpauth://totp/leadglass%20LEADGLASS:\S+\?secret=([A-Z2-7]{32})&", said, re.MULTILINE)
    return secret, re.findall(r"^    ([a-z2-9]{5}(?:-[a-z2-9]{5}){3})$", said, re.MULTILINE)


@dataclass
class Visitor:
    """A browser at the archive's pages."""

    archive: ArchiveUnderTest
    language: str = "en"
    client: httpx.Client = field(init=False)
    token: str = ""

    def __post_init__(self) -> None:
        fields = {"Accept-Language": self.language, "Sec-Fetch-Site": "same-origin"}
        self.client = httpx.Client(base_url=self.archive.words["web"], verify=self.archive.tls_context(), headers=fields, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def get(self, path: str, **fields: str) -> httpx.Response:
        return self._kept(self.client.get(path, headers=fields))

    def post(self, path: str, **form: str) -> httpx.Response:
        """A form with the token of the last page."""
        origin = {"Origin": self.archive.words["web"]}
        return self._kept(self.client.post(path, data={"token": self.token, **form}, headers=origin))

    def follow(self, response: httpx.Response) -> httpx.Response:
        """Where a redirect leads."""
        assert response.status_code == 303, response.text
        return self.get(response.headers["location"])

    def sign_in(self, person: Person, **instead: str) -> httpx.Response:
        self.get("/sign-in")
        return self.post("/sign-in", **{"user": person.name, "password": PASSWORD, "code": instead.get("code") or person.code(), **instead})

    def search(self, **asked: str) -> str:
        """The worklist after a search."""
        self.get("/")
        found = self.follow(self.post("/", **asked))
        assert found.status_code == 200
        return html.unescape(found.text)

    def _kept(self, response: httpx.Response) -> httpx.Response:
        tokens = TOKEN.findall(response.text)
        self.token = tokens[0] if tokens else self.token
        return response


def trail(archive: ArchiveUnderTest, kind: str) -> list[dict[str, object]]:
    said: subprocess.CompletedProcess[str] = leadglass("trail", "show", archive.home, "--json", "--last", "10000")
    return [entry for entry in json.loads(said.stdout) if entry["kind"] == kind]
