"""Sockets of ours, when no clock runs, and those that cannot become ours."""

from __future__ import annotations

import socket
from typing import Any

from seawall.drivers.sockets import clamped, is_clamped


def test__clamped_without_a_clock__is_the_same_connection() -> None:
    one, other = socket.socketpair()
    one.settimeout(5)
    ours: Any = clamped(one)
    with ours, other:
        assert is_clamped(ours)
        assert ours.gettimeout() == 5
        assert ours.send(b"to") == 2
        ours.sendall(b" you")
        assert other.recv(10) == b"to you"
        other.sendall(b"answer")
        assert ours.recv(2) == b"an"
        room = bytearray(10)
        assert (ours.recv_into(room), bytes(room[:4])) == (4, b"swer")


def test__clamped_twice__stays_as_it_is() -> None:
    one, other = socket.socketpair()
    ours: Any = clamped(one)
    with ours, other:
        assert clamped(ours) is ours


def test__class_that_cannot_be_exchanged__is_left_alone() -> None:
    class Odd(socket.socket):
        __slots__ = ("more",)

    one, other = socket.socketpair()
    odd = Odd(one.family, one.type, one.proto, fileno=one.detach())
    with odd, other:
        assert clamped(odd) is odd
        assert (type(odd), is_clamped(odd)) == (Odd, False)
        odd.sendall(b"it works")
        assert other.recv(10) == b"it works"


def test__what_is_no_socket__is_left_alone() -> None:
    thing = object()
    assert clamped(thing) is thing
