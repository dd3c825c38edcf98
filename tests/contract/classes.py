"""Which class each library raises for what happened: measured, and seen again by `test_harness.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import requests


@dataclass(frozen=True, slots=True)
class Errors:
    """The classes one library raises: FACTS by name, so that a scenario can say `kit.errors.reset`."""

    base: type[Exception]
    timeout: type[Exception]
    refused: type[Exception]
    unresolved: type[Exception]
    connect_timeout: type[Exception]
    tls_silent: type[Exception]
    bad_certificate: type[Exception]
    write_timeout: type[Exception]
    read_timeout: type[Exception]
    closed: type[Exception]
    reset: type[Exception]
    garbage: type[Exception]
    short_body: type[Exception]
    bad_chunk: type[Exception]
    bad_gzip: type[Exception]
    redirect_loop: type[Exception]
    bad_scheme: type[Exception]
    no_host: type[Exception]
    bomb: type[Exception]


def httpx_errors(library: Any) -> Errors:
    """The classes of httpx and httpx2."""
    return Errors(
        base=library.TransportError,
        timeout=library.TimeoutException,
        refused=library.ConnectError,
        unresolved=library.ConnectError,
        connect_timeout=library.ConnectTimeout,
        tls_silent=library.ConnectTimeout,
        bad_certificate=library.ConnectError,
        write_timeout=library.WriteTimeout,
        read_timeout=library.ReadTimeout,
        closed=library.RemoteProtocolError,
        reset=library.ReadError,
        garbage=library.RemoteProtocolError,
        short_body=library.RemoteProtocolError,
        bad_chunk=library.RemoteProtocolError,
        bad_gzip=library.DecodingError,
        redirect_loop=library.TooManyRedirects,
        bad_scheme=library.UnsupportedProtocol,
        no_host=library.UnsupportedProtocol,
        bomb=library.RemoteProtocolError,
    )


REQUESTS_ERRORS = Errors(
    base=requests.RequestException,
    timeout=requests.Timeout,
    refused=requests.ConnectionError,
    unresolved=requests.ConnectionError,
    connect_timeout=requests.ConnectTimeout,
    tls_silent=requests.ReadTimeout,
    bad_certificate=requests.exceptions.SSLError,
    write_timeout=requests.ConnectionError,
    read_timeout=requests.ReadTimeout,
    closed=requests.ConnectionError,
    reset=requests.ConnectionError,
    garbage=requests.ConnectionError,
    short_body=requests.exceptions.ChunkedEncodingError,
    bad_chunk=requests.exceptions.ChunkedEncodingError,
    bad_gzip=requests.exceptions.ContentDecodingError,
    redirect_loop=requests.TooManyRedirects,
    bad_scheme=requests.exceptions.InvalidSchema,
    no_host=requests.exceptions.MissingSchema,
    bomb=requests.ConnectionError,
)
