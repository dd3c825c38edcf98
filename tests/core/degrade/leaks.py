"""A world of callers and one server, to find out whether anybody ever gets what is not theirs.

The server writes into every body who asked, for what, and the number of the answer. What a caller may be given is known
here by other means than the cache's: a list of all answers, with what was said about each, and who changed what.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.core.degrade.asking import Cache, Request

MAX_AGE = 300.0
CANARY = "XsecretX"


@dataclass(frozen=True)
class Caller:
    """Who asks, and how the request shows it."""

    name: str
    fields: tuple[tuple[str, str], ...] = ()
    userinfo: str = ""
    identity: str | int = 0


CALLERS = [
    Caller("nobody"),
    Caller("bearer 1", (("Authorization", f"Bearer {CANARY}1"),)),
    Caller("bearer 2", (("authorization", f"Bearer {CANARY}2"),)),
    Caller("cookie 1", (("Cookie", f"session={CANARY}1"),)),
    Caller("cookie 2", (("Cookie", f"session={CANARY}2"),)),
    Caller("key 1", (("x-api-key", CANARY + "1"),)),
    Caller("key 2", (("X-Api-Key", CANARY + "2"),)),
    Caller("proxy 1", (("Proxy-Authorization", CANARY + "1"),)),
    Caller("proxy 2", (("Proxy-Authorization", CANARY + "2"),)),
    Caller("tenant 1", (("Authorization", "Bearer shared"), ("X-Tenant", "1"))),
    Caller("tenant 2", (("Authorization", "Bearer shared"), ("X-Tenant", "2"))),
    Caller("user 1", userinfo=f"user1:{CANARY}@"),
    Caller("user 2", userinfo=f"user2:{CANARY}@"),
    Caller("certificate 1", identity="/etc/1.pem"),
    Caller("certificate 2", identity="/etc/2.pem"),
    Caller("transport 1", identity=1),
    Caller("transport 2", identity=2),
]
ORIGINS = {
    "https://a.test": ["https://a.test", "https://A.test:443", "HTTPS://a.test."],
    "https://a.test:444": ["https://a.test:444"],
    "http://a.test": ["http://a.test:80"],
    "https://b.test": ["https://b.test"],
}
PATHS = ["/", "/p", "/p?q=1", "/p?q=2"]
ACCEPTS = ["*/*", "text/html"]
LANGUAGES = ["", "de"]
BODIES = [b"", b"", b"", b'{"q": 1}', b'{"q": 2}']
CONTROLS = ["", "", "", "max-age=60", "max-age=60, stale-if-error=30", "must-revalidate, max-age=60", "private",
            "no-cache", "no-store", "public, no-store"]  # fmt: skip
VARIES = ["", "", "Accept, Authorization", "Origin, Accept-Encoding", "X-Request-Id", "*"]
STATUSES = [200] * 12 + [203, 301, 404, 403, 302, 206, 400]
PERSONAL = {"Set-Cookie": "session=new"}


@dataclass(frozen=True)
class Question:
    """Everything the server's answer depends on."""

    caller: Caller
    method: str
    origin: str
    path: str
    accept: str
    language: str
    body: bytes

    def text(self, number: int) -> bytes:
        parts = (self.caller.name, self.method, self.origin, self.path, self.accept, self.language, self.body)
        return f"{number}|{'|'.join(map(str, parts))}".encode()


@dataclass(frozen=True)
class Given:
    """One answer of the server, as the world remembers it."""

    question: Question
    at: float
    may_be_kept: bool
    lifetime: float
    grace: float


class World:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.cache = Cache(max_age=MAX_AGE, max_entries=200, methods=["GET", "POST"])
        self.given: list[Given] = []
        self.untrue: dict[tuple[Caller, str, str], int] = {}
        """(caller, origin, path) → answers numbered below are no longer true, or no longer theirs."""
        self.replaced: dict[Question, int] = {}
        self.seen: Counter[str] = Counter()

    def request(self, question: Question) -> Request:
        chance = self.chance
        origin = chance.choice(ORIGINS[question.origin])
        scheme, _, host = origin.partition("://")
        fields = [("Accept", question.accept), ("X-Request-Id", str(chance.random())), *question.caller.fields]
        if question.language:
            fields.append(("Accept-Language", question.language))
        chance.shuffle(fields)
        return Request(question.method, f"{scheme}://{question.caller.userinfo}{host}{question.path}", fields)

    def run(self, requests: int) -> None:
        """Some callers ask for some things for a while, then others for others: so that they meet."""
        chance = self.chance
        for n in range(requests):
            if n % 200 == 0:
                callers, bodies = chance.sample(CALLERS, 3), chance.sample(BODIES, 2)
                origins, paths = chance.sample([*ORIGINS], 2), chance.sample(PATHS, 2)
                accepts, languages = (
                    chance.sample(ACCEPTS, chance.choice([1, 2])),
                    chance.sample(LANGUAGES, chance.choice([1, 2])),
                )
                methods = ["GET"] * chance.choice([4, 8]) + chance.sample(["POST", "PUT"], 1)
            self.cache.now += chance.expovariate(1)
            question = Question(*map(chance.choice, (callers, methods, origins, paths, accepts, languages, bodies)))
            if chance.random() < 0.5:
                self.fails(question)
            else:
                self.answers(question)

    def answers(self, question: Question) -> None:
        choose = self.chance.choice
        number = len(self.given)
        status, control, vary = choose(STATUSES), choose(CONTROLS), choose(VARIES)
        fields = {"Cache-Control": control, "Vary": vary, **(PERSONAL if self.chance.random() < 0.1 else {})}
        refuses = self.chance.random() < 0.1
        asked = {"Cache-Control": "no-store"} if refuses else {}
        request = self.request(question)
        request.headers += asked.items()
        lifetime = 60.0 if "max-age=60" in control else 0.0
        grace = 0.0 if "must-revalidate" in control else 30.0 if "stale-if-error" in control else MAX_AGE
        good = (
            status in (200, 203, 301)
            and "no-" not in control
            and vary not in ("*", "X-Request-Id")
            and "Set-Cookie" not in fields
        )
        self.given.append(Given(question, self.cache.now, good and not refuses, lifetime, grace))
        place = (question.caller, question.origin, question.path)
        if question.method == "PUT":
            if status < 400:
                self.untrue[place] = number
        elif not refuses and status != 206:
            if status in (403, 404) and question.method == "GET":
                self.untrue[place] = number
            self.replaced[question] = number
        fields = {name: value for name, value in fields.items() if value}
        self.cache.answered(
            request, status, fields, question.text(number), asked=question.body, identity=question.caller.identity
        )

    def fails(self, question: Question) -> None:
        answer = self.cache.found(self.request(question), asked=question.body, identity=question.caller.identity)
        if answer is None:
            self.seen["nothing"] += 1
            return
        number = int(answer.content.partition(b"|")[0])
        assert answer.content == question.text(number), f"{question} was given {answer.content!r}"
        given = self.given[number]
        age = self.cache.now - given.at
        assert given.may_be_kept, f"{given} was to be forgotten"
        assert age < MAX_AGE, f"{given} is {age} s old"
        assert age - given.lifetime <= given.grace, f"{given} is {age} s old, and may not be stale any more"
        place = (question.caller, question.origin, question.path)
        assert number > self.untrue.get(place, -1), f"{given} is no longer true"
        assert number >= self.replaced.get(question, -1), f"{given} was answered otherwise since"
        self.seen["given"] += 1

    def leftovers(self) -> str:
        store: Any = self.cache.state.store
        return repr(list(store._records.items()))
