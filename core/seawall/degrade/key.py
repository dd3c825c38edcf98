"""Who asked, and for what: the key of a remembered answer.

Whatever tells two requests apart must be in the key, or one caller gets another's
answer. Lists of credentials are never complete (`X-Tenant`, `X-Acting-As`), so all
request fields count, except those known to change from call to call and to say
neither who asks nor for what. So the key holds whatever `Vary` could name, but for
those fields; an answer that varies by one of them cannot be remembered. The price
is a miss where a cache that trusts `Vary` would hit.

A key has two halves. The *tag* is who asked and where: everything under a tag is
forgotten when the caller changes something there, or is refused. The rest is what
exactly was asked. Both are keyed hashes: no credential, and no query, is kept.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from seawall.degrade.credentials import KNOWN
from seawall.pattern import host_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    Field = tuple[str | bytes, str | bytes]
    Keyed = blake2b

TAG_SIZE: Final = 16

_CREDENTIALS: Final = frozenset(name.encode() for name in KNOWN)
_ORIGIN: Final = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*)://(\[[0-9A-Za-z:.%~_-]+\]|[^:\[\]]+)(?::([0-9]{0,5}))?\Z", re.DOTALL
)


def target_of(url: str) -> tuple[str, str] | None:
    """(userinfo, the URL in one spelling without it and without fragment); None for what is not the URL of a host.

    Path and query stay as sent: a server may tell `%7E` from `~`.
    """
    scheme, _, rest = url.partition("#")[0].partition("://")
    authority = rest.partition("/")[0].partition("?")[0]
    userinfo, _, host = authority.rpartition("@")
    origin, path = _origin(f"{scheme}://{host}"), rest[len(authority) :]
    if origin is None:
        return None
    return userinfo, origin + path if path[:1] == "/" else f"{origin}/{path}"


@lru_cache(256)
def _origin(text: str) -> str | None:
    """Scheme, host and port in one spelling; None for what is none. The same few are asked for all day long."""
    parts = _ORIGIN.match(text)
    if parts is None:
        return None
    scheme, host, port = parts.groups()
    origin = host_key(scheme.lower(), host, int(port) if port else None)
    # Nothing but dots and brackets is no host.
    return None if origin[len(scheme) + 3 : len(scheme) + 4] in ("", ":") else origin


def origin_of(place: str) -> str:
    """Scheme, host and port of a URL in one spelling."""
    return "/".join(place.split("/", 3)[:3])


def tag_of(
    target: tuple[str, str],
    fields: Iterable[tuple[bytes, bytes]],
    identity: str | int,
    who: str | None,
    keyed: Keyed,
) -> bytes:
    """Who asks, and where (`target_of`). `who`: what the user's `key=` said, in place of all we see.

    `identity` is what the mount knows of the caller beside the request: a name that means the same in every process (a
    certificate's path), or a number that means something in this one only (the transport whose certificate we cannot
    see).
    """
    userinfo, place = target
    if who is not None:
        parts = [b"key", _bytes(place), _bytes(who)]
    else:
        parts = [b"seen", _bytes(place), _bytes(userinfo) if userinfo else b""]
        parts += (b"%d" % identity,) if isinstance(identity, int) else (b"=", _bytes(identity))
        for name, value in fields:
            if name in _CREDENTIALS:
                parts += (name, value)
    return _digest(parts, keyed, b"")


def rest_of(
    method: str, fields: Iterable[tuple[bytes, bytes]], uncounted: frozenset[bytes], body: bytes, keyed: Keyed
) -> bytes:
    """What exactly was asked there."""
    parts = [_bytes(method)]
    for name, value in fields:
        if name not in uncounted and name not in _CREDENTIALS:
            parts += (name, value)
    return _digest(parts, keyed, body)


def in_order(fields: Iterable[Field]) -> list[tuple[bytes, bytes]]:
    """Fields under lower-case names, sorted by name; those of one name in the order they were sent."""
    found = [
        (
            name.lower() if type(name) is bytes else _bytes(name).lower(),
            value if type(value) is bytes else _bytes(value),
        )
        for name, value in fields
    ]
    found.sort(key=itemgetter(0))
    return found


def _bytes(text: str | bytes) -> bytes:
    # Through the type: a subclass may show something else than it sends, such as a secret that hides itself.
    return str.encode(text, "utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)


def keyed_with(secret: bytes) -> Keyed:
    """What the hashes of keys begin with."""
    return blake2b(digest_size=TAG_SIZE, key=secret)


def _digest(parts: list[bytes], keyed: Keyed, body: bytes) -> bytes:
    digest = keyed.copy()
    text = b"\0".join(parts)
    if text.count(b"\0") < len(parts):
        digest.update(b"%d\0%b\0" % (len(parts), text))
    else:  # in no header that can be sent: say where each part ends, which takes longer
        digest.update(b"[%b" % repr(parts).encode("ascii"))
    if body:
        digest.update(body)
    return digest.digest()
