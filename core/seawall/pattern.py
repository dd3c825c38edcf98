"""Patterns that name hosts: httpx's `mounts` patterns with a method in front and a path behind.

`all://`, `https://`, `all://*.example.com` (subdomains), `all://*example.com` (and
itself), `https://host:8443`, `POST https://host/v1/batches`. No `://`: a provider
name, for `execute()`. Hosts are compared in one spelling: lower case, IDNA, no
trailing dot, no default port.
"""

from __future__ import annotations

import re
from typing import Final
from unicodedata import normalize
from urllib.parse import urlsplit

_FULL_STOPS: Final = str.maketrans({"\u3002": ".", "\uff0e": ".", "\uff61": "."})
"""RFC 3490 §3.1: also read as the dot between labels."""
_LIKE_A_HOST: Final = re.compile(r"[^.]\.[a-z]{2,}\Z")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def normal_host(host: str) -> str:
    """The one spelling of a host name; an IPv6 address without brackets."""
    given, host = host, host.strip("[]").lower()
    if host.isascii():
        host = host.rstrip(".")
        return given if host == given else host  # one string less to keep
    host = normalize("NFC", host.translate(_FULL_STOPS)).rstrip(".")
    # Not the standard library's codec, which knows IDNA of 2003: it takes faß.de and fass.de for one.
    return ".".join(
        label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii") for label in host.split(".")
    )


def host_key(scheme: str, host: str, port: int | None) -> str:
    """`scheme://host`, with the port where it is not the scheme's own."""
    name = normal_host(host)
    if ":" in name:
        name = f"[{name}]"
    return f"{scheme}://{name}" if port is None or port == _DEFAULT_PORTS.get(scheme) else f"{scheme}://{name}:{port}"


class Pattern:
    """One parsed pattern; greater `rank` is more specific."""

    __slots__ = ("_wildcard", "host", "host_only", "method", "path", "port", "rank", "scheme", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        method, _, rest = text.rpartition(" ")
        self.method = method.strip().upper()
        try:
            parts = urlsplit(rest)
            self.port = parts.port
        except ValueError as error:
            raise ValueError(f"pattern {text!r}: {error}: give scheme://host:port/path") from error
        self.scheme = "" if parts.scheme == "all" else parts.scheme
        if parts.scheme not in ("all", "http", "https"):
            raise ValueError(f"pattern {text!r}: scheme {parts.scheme!r}: give all://, http:// or https://")
        if "@" in parts.netloc or parts.query or parts.fragment or (self.method and not self.method.isalpha()):
            raise ValueError(
                f'pattern {text!r}: give "METHOD scheme://host:port/path"; method and path may be left out'
            )
        host = parts.netloc.rpartition(":")[0] if self.port is not None else parts.netloc.rstrip(":")
        self._wildcard = ""
        if host.startswith("*"):
            self._wildcard = "*." if host.startswith("*.") else "*"
            host = host[len(self._wildcard) :]
        if "*" in host:
            raise ValueError(f"pattern {text!r}: a wildcard may only stand at the front of the host")
        self.host = normal_host(host)
        if self.port is not None and self.port == _DEFAULT_PORTS.get(self.scheme):
            self.port = None
        self.path = parts.path.rstrip("/")
        if "*" in self.path:
            raise ValueError(f"pattern {text!r}: a path covers what is below it: write it without a wildcard")
        self.host_only = not self.method and not self.path
        exact = bool(self.host) and not self._wildcard
        self.rank = (
            self.port is not None,
            exact,
            len(self.host),
            self._wildcard == "*.",
            bool(self.scheme),
            len(self.path),
            bool(self.method),
        )

    def covers(self, scheme: str, host: str, port: int | None) -> bool:
        """Does the origin match? `host` normalised; method and path are not looked at."""
        if self.scheme and self.scheme != scheme:
            return False
        if self.port is not None and self.port != (port if port is not None else _DEFAULT_PORTS.get(scheme)):
            return False
        if not self.host:
            return True
        if self._wildcard and host.endswith("." + self.host):
            return True
        return host == self.host and self._wildcard != "*."

    def contains(self, other: Pattern) -> bool:
        """Does this pattern hold for everything `other` holds for?"""
        if self.scheme and self.scheme != other.scheme:
            return False
        if self.port is not None and self.port != other.port:
            return False
        if self.method and self.method != other.method:
            return False
        if self.path and other.path != self.path and not other.path.startswith(self.path + "/"):
            return False
        if not self.host:
            return True
        if self._wildcard == "*.":
            return other.host.endswith("." + self.host) or (other.host == self.host and other._wildcard == "*.")
        if self._wildcard:
            return other.host.endswith("." + self.host) or other.host == self.host
        return other.host == self.host and not other._wildcard

    def matches(self, method: str, path: str) -> bool:
        """Do method and path match, given that the origin does? A path covers itself and what is below it."""
        if self.method and self.method != method:
            return False
        return not self.path or path == self.path or path.startswith(self.path + "/")


def is_provider(text: str) -> bool:
    """A name for `execute()`, not a pattern of hosts."""
    return "://" not in text


def check_provider(text: str) -> None:
    """Refuse as a provider name what was meant as a pattern."""
    if not text or any(sign in text for sign in "*/:") or _LIKE_A_HOST.search(text):
        raise ValueError(
            f"pattern {text!r}: hosts are written with a scheme, such as https://api.example.com or all://*.example.com"
        )
