"""Nobody is ever given another's answer, nor one that is too old, untrue, or was not to be remembered.

Asked a million times, instead of 20,000, with `SEAWALL_LEAK_REQUESTS=1000000`: `make prove ARGS=leaks`. Each sabotage
takes one part of the key, or one rule, out of the cache: the oracle must notice.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from seawall.degrade import cache as cache_module
from seawall.degrade import slot as slot_module
from seawall.degrade import storing
from seawall.degrade.storing import Fate
from tests.core.degrade.leaks import CANARY, World

REQUESTS = int(os.environ.get("SEAWALL_LEAK_REQUESTS", "20000"))
EACH = 20_000


@pytest.mark.parametrize("seed", range(max(1, REQUESTS // EACH)))
def test__nobody_is_given_what_is_not_theirs(seed: int) -> None:
    world = World(seed)
    world.run(EACH)
    assert world.seen["given"] > EACH / 20, "it has to give something to be tested"
    assert CANARY not in world.leftovers()
    print(f"figures: {EACH} requests, {world.seen['given']} given from memory, 0 of them not theirs")


Patch = Callable[[pytest.MonkeyPatch], None]


def without_field(name: str) -> Patch:
    """The field is not looked at."""

    def sabotage(patch: pytest.MonkeyPatch) -> None:
        real = cache_module.in_order
        patch.setattr(cache_module, "in_order", lambda fields: [f for f in real(fields) if f[0] != name.encode()])

    return sabotage


def in_url(change: Callable[[str, str], tuple[str, str]]) -> Patch:
    """`change(userinfo, URL)`: what is left of them."""

    def sabotage(patch: pytest.MonkeyPatch) -> None:
        real = cache_module.target_of

        def target_of(url: str) -> tuple[str, str] | None:
            found = real(url)
            return None if found is None else change(*found)

        patch.setattr(cache_module, "target_of", target_of)

    return sabotage


def in_tag(change: Callable[..., tuple[Any, ...]]) -> Patch:
    def sabotage(patch: pytest.MonkeyPatch) -> None:
        real = cache_module.tag_of
        patch.setattr(cache_module, "tag_of", lambda *parts: real(*change(*parts)))

    return sabotage


def in_rest(change: Callable[..., tuple[Any, ...]]) -> Patch:
    def sabotage(patch: pytest.MonkeyPatch) -> None:
        real = cache_module.rest_of
        patch.setattr(cache_module, "rest_of", lambda *parts: real(*change(*parts)))

    return sabotage


def without_directive(name: str) -> Patch:
    def sabotage(patch: pytest.MonkeyPatch) -> None:
        real = storing.parse
        patch.setattr(storing, "parse", lambda text: {k: v for k, v in real(text).items() if k != name})

    return sabotage


def instead(place: Any, name: str, value: object) -> Patch:
    return lambda patch: patch.setattr(place, name, value)


def only_answers(fates: dict[Fate, Fate]) -> Patch:
    def sabotage(patch: pytest.MonkeyPatch) -> None:
        for module in (storing, slot_module):
            for name in ("fate_of", "terms_of"):
                real = getattr(module, name)
                patch.setattr(module, name, lambda *a, real=real: fates.get(found := real(*a), found))

    return sabotage


def never_cookies(patch: pytest.MonkeyPatch) -> None:
    real = slot_module.terms_of
    patch.setattr(
        slot_module, "terms_of", lambda told, *rest: real({k: v for k, v in told.items() if k != "set-cookie"}, *rest)
    )


def old_answers(patch: pytest.MonkeyPatch) -> None:
    real = cache_module.StaleState.__init__

    def init(self: Any, config: Any, complain: Any) -> None:
        real(self, config, complain)
        object.__setattr__(config, "max_age", 10_000.0)

    patch.setattr(cache_module.StaleState, "__init__", init)


SABOTAGES: dict[str, Patch] = {
    "Authorization": without_field("authorization"),
    "Cookie": without_field("cookie"),
    "Proxy-Authorization": without_field("proxy-authorization"),
    "an API key": without_field("x-api-key"),
    "a field nobody knows": without_field("x-tenant"),
    "Accept": without_field("accept"),
    "Accept-Language": without_field("accept-language"),
    "identity": in_tag(lambda url, fields, identity, *rest: (url, fields, 0, *rest)),
    "a certificate": in_tag(lambda url, fields, who, *rest: (url, fields, 0 if isinstance(who, str) else who, *rest)),
    "a transport": in_tag(lambda url, fields, who, *rest: (url, fields, 0 if isinstance(who, int) else who, *rest)),
    "userinfo": in_url(lambda user, url: ("", url)),
    "scheme": in_url(lambda user, url: (user, url.replace("http://", "https://"))),
    "host": in_url(lambda user, url: (user, url.replace("b.test", "a.test"))),
    "port": in_url(lambda user, url: (user, url.replace(":444", ""))),
    "path": in_url(lambda user, url: (user, url.replace("/p", "/"))),
    "query": in_url(lambda user, url: (user, url.partition("?")[0])),
    "method": in_rest(lambda method, *rest: ("", *rest)),
    "body": in_rest(lambda method, fields, ignored, body, keyed: (method, fields, ignored, b"", keyed)),
    "who": in_tag(lambda url, fields, identity, who, keyed: (url, (), 0, "", keyed)),
    "where": in_tag(lambda target, *rest: ((target[0], "https://a.test/"), *rest)),
    "what": instead(cache_module, "rest_of", lambda *_: b"r" * 16),
    "no-store": without_directive("no-store"),
    "no-cache": without_directive("no-cache"),
    "must-revalidate": without_directive("must-revalidate"),
    "stale-if-error": without_directive("stale-if-error"),
    "Vary": instead(storing, "varies", lambda *_: False),
    "Set-Cookie": never_cookies,
    "status": instead(slot_module, "fate_of", lambda status: None),
    "max_age": old_answers,
    "forgetting": instead(cache_module.StaleState, "forget", lambda self, what: None),
    "replacing": only_answers({Fate.REPLACE: Fate.LEAVE}),
    "refusals": only_answers({Fate.FORGET: Fate.LEAVE}),
}  # fmt: skip


@pytest.mark.parametrize("sabotage", SABOTAGES.values(), ids=SABOTAGES)
def test__without_it__the_oracle_notices(sabotage: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage(monkeypatch)
    worlds = [World(seed) for seed in range(3)]
    with pytest.raises(AssertionError):
        list(map(World.run, worlds, [20_000] * 3))
