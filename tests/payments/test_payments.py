"""Nothing is paid twice: many calls of every kind through each mount, and what the bank's books say afterwards.

`python -m tests.payments` makes 100,000 calls through each mount and 1,000 over sockets.
"""

from __future__ import annotations

import pytest

from tests.contract.clients import KITS, Kit
from tests.payments.bank import ON_THE_WIRE, Bank, Fate, Payment, check, payments
from tests.payments.mounts import MOUNTS, Mount
from tests.payments.sockets import RETRIES, through_sockets

CALLS = 10_000
OVER_SOCKETS = 150


@pytest.mark.parametrize("mount", MOUNTS, ids=repr)
def test__mixed_calls__none_is_paid_twice_and_none_with_a_key_is_lost(mount: Mount) -> None:
    calls = payments(1, CALLS, tuple(Fate))
    mount.run(Bank(calls))
    books = check(calls)
    assert books.repeated > CALLS / 3
    assert (
        books.doubled_safe > CALLS / 100
    )  # the faults do strike after the effect: where twice is once, it happened twice


@pytest.mark.parametrize("kit", [kit for kit in KITS if kit.backend != "trio"], ids=repr)
def test__mixed_calls_over_sockets__none_is_paid_twice_and_none_with_a_key_is_lost(kit: Kit) -> None:
    calls = payments(2, OVER_SOCKETS, ON_THE_WIRE)
    through_sockets(kit, calls, seed=3)
    assert check(calls, RETRIES).repeated > OVER_SOCKETS / 4


def _seen(method: str, key: str, *attempts: tuple[Fate, str | None, bytes], effects: int = 1) -> Payment:
    call = Payment(0, method, "bytes", key, (Fate.FINE,))
    call.seen = list(attempts)
    call.effects = effects
    return call


BODY = b"payment 0:  end"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (_seen("POST", "none", (Fate.FINE, None, BODY), effects=2), "paid 2 times"),
        (_seen("POST", "own", (Fate.FINE, "k", BODY), effects=2), "paid 2 times"),
        (_seen("POST", "own", (Fate.BUSY, "k", BODY), effects=0), "paid 0 times"),
        (_seen("POST", "none", (Fate.BUSY, None, BODY), (Fate.FINE, None, BODY)), "sent again after 503"),
        (_seen("POST", "own", (Fate.BUSY, "a", BODY), (Fate.FINE, "b", BODY)), "the key changed"),
        (_seen("PUT", "none", (Fate.BUSY, None, BODY), (Fate.FINE, None, b"")), "the body changed"),
    ],
    ids=["twice", "twice under a key", "lost", "sent again", "another key", "another body"],
)
def test__the_books__would_show_it(call: Payment, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check([call])
