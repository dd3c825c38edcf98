"""The scripted server: what comes of a request, decided when it arrives."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from seawall import ErrorKind
from seawall.outcome import Sent
from seawall.testing import Condition, Request, Server
from seawall.testing.sim.messages import BREAKS, EOF, HANGS, Exchange

START = 1000.0
GET = Request("GET", "https://api.test/")


def server(**options: Any) -> Server:
    return Server("https://api.test", start=START, latency=lambda chance: 1.0, **options)


def many(of: Server, count: int, at: float = START) -> list[Exchange]:
    return [of.receive(GET, at) for _ in range(count)]


def test__workers__take_requests_in_turn() -> None:
    assert [x.headers_at - START for x in many(server(workers=2), 5)] == [1, 1, 2, 2, 3]


def test__no_workers_named__everybody_is_served_at_once() -> None:
    assert {x.headers_at - START for x in many(server(), 50)} == {1}


def test__queue_full__answered_503_at_once_until_a_place_is_free() -> None:
    of = server(workers=1, queue=2)
    assert [(x.status, x.headers_at - START) for x in many(of, 5)] == [(200, 1), (200, 2), (200, 3), (503, 0), (503, 0)]
    assert [x.status for x in many(of, 2, at=START + 1.5)] == [200, 503]


def test__latency__is_what_it_says_on_average_with_a_tail() -> None:
    of = Server("https://api.test", start=START, latency=0.035)
    times = sorted(x.headers_at - START for x in many(of, 20_000))
    assert sum(times) / len(times) == pytest.approx(0.035, rel=0.02)
    assert 0.08 < times[int(0.99 * len(times))] < 0.12


def test__few_workers__capacity_falls_and_comes_back_for_those_who_wait() -> None:
    of = server(workers=4).during(0, 10, Condition(workers=0.25))
    assert [x.headers_at - START for x in many(of, 12)] == [*range(1, 11), 11, 11]


def test__slow__from_when_its_worker_begins() -> None:
    of = server(workers=1).during(1, 2, Condition(slow=3.0))
    assert [x.headers_at - START for x in many(of, 3)] == [1, 4, 5]


@pytest.mark.parametrize(
    ("condition", "kind", "sent"),
    [
        (Condition(refused=1.0), ErrorKind.CONNECTION_REFUSED, Sent.NO),
        (Condition(reset=1.0), ErrorKind.CONNECTION_RESET, Sent.MAYBE),
    ],
    ids=["refused", "reset"],
)
def test__no_answer__is_an_error_of_its_kind(condition: Condition, kind: ErrorKind, sent: Sent) -> None:
    seen = many(server().during(0, 10, condition), 200)
    assert {x.error for x in seen} == {(kind, sent)}
    acted = sum(x.acted_at is not None for x in seen)
    assert acted == 0 if sent is Sent.NO else 60 < acted < 140


def test__hanging_and_unreachable__never_come() -> None:
    (hanging,) = many(server().during(0, 10, Condition(hang=1.0)), 1)
    (unreachable,) = many(server().during(0, 10, Condition(unreachable=1.0)), 1)
    assert (hanging.connected_at, hanging.headers_at) == (START, float("inf"))
    assert (unreachable.connected_at, unreachable.acted_at) == (float("inf"), None)


def test__errors__a_share_with_their_status_fields_and_body_and_no_effect() -> None:
    condition = Condition(errors=0.3, status=503, headers={"Retry-After": "2"}, body=b"sick")
    seen = many(server().during(0, 10, condition), 1000)
    bad = [x for x in seen if x.status == 503]
    assert 250 < len(bad) < 350
    assert {(x.headers["retry-after"], x.body, x.acted_at) for x in bad} == {("2", b"sick", None)}


def test__condition__holds_from_its_start_to_its_end_and_the_later_said_wins() -> None:
    of = server().during(1, 3, Condition(errors=1.0, status=500)).during(2, 4, Condition(errors=1.0, status=501))
    assert [of.receive(GET, START + t).status for t in (0.99, 1, 1.99, 2, 3.99, 4)] == [200, 500, 500, 501, 501, 200]


def test__rate__more_are_told_when_to_come_back() -> None:
    of = server().during(0, 100, Condition(rate=5.0))
    seen = Counter(of.receive(GET, START + n / 20).status for n in range(200))
    assert 48 <= seen[200] <= 56
    (late,) = {x.headers["retry-after"] for x in many(of, 20, at=START + 10) if x.status == 429}
    assert late == "1"


def test__replicas__only_the_sick_one_fails() -> None:
    of = server(replicas=10).during(0, 10, Condition(errors=1.0, replica=3))
    seen = many(of, 2000)
    assert {x.replica for x in seen if x.status == 500} == {3}
    assert 150 < sum(x.status == 500 for x in seen) < 250


def test__replicas__have_their_own_workers() -> None:
    of = server(workers=4, replicas=2)
    ends = sorted((x.replica, x.headers_at - START) for x in many(of, 40))
    one = [end for replica, end in ends if replica == 0]
    assert one == [1 + place // 2 for place in range(len(one))]


@pytest.mark.parametrize(
    ("condition", "came", "ends"),
    [
        (Condition(), [(1, b"abcd")], EOF),
        (Condition(breaks=1.0), [(1, b"ab")], BREAKS),
        (Condition(stalls=1.0), [(1, b"ab")], HANGS),
        (Condition(drips=1.0, drip=0.5), [(1, b"a"), (1.5, b"b"), (2, b"c"), (2.5, b"d")], EOF),
    ],
    ids=["well", "breaks", "stalls", "drips"],
)
def test__body__comes_as_the_condition_says(condition: Condition, came: list[Any], ends: str) -> None:
    of = server(answer=lambda request: b"abcd").during(0, 10, condition)
    exchange = of.receive(GET, START)
    assert ([(at - START, piece) for at, piece in exchange.pieces], exchange.body_ends) == (came, ends)
    assert exchange.body == b"abcd"


def test__answer__may_give_status_fields_and_pieces_with_pauses() -> None:
    of = server(answer=lambda request: (201, {"X-Made": request.method}, [b"a", 2.0, b"b"]))
    exchange = of.receive(GET, START)
    assert (exchange.status, exchange.headers) == (201, {"x-made": "GET"})
    assert exchange.pieces == [(START + 1, b"a"), (START + 3, b"b")]


def test__same_seed__same_server() -> None:
    def play(seed: int) -> list[float]:
        of = Server("https://api.test", start=START, workers=2, seed=seed).during(0, 99, Condition(errors=0.5))
        return [x.headers_at + x.status for x in many(of, 50)]

    assert play(1) == play(1) != play(2)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"errors": 50}, "errors=50: .* at most 1"),
        ({"hang": -0.1}, "hang=-0.1"),
        ({"status": "x"}, "status='x'"),
        ({"slow": 0}, "slow=0"),
        ({"rate": 0}, "rate=0"),
        ({"drip": -1}, "drip=-1"),
        ({"replica": -1}, "replica=-1"),
    ],
)
def test__condition__impossible__says_which_field(given: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"Condition: {says}"):
        Condition(**given)


def test__server__wrong_times_and_names__says_so() -> None:
    of: Any = server()
    with pytest.raises(ValueError, match="from 5 to 2"):
        of.during(5, 2, Condition(errors=1))
    with pytest.raises(TypeError, match="give a Condition"):
        of.during(2, 5, "errors")
    with pytest.raises(ValueError, match=r"origin='api\.test'"):
        Server("api.test", start=START)
