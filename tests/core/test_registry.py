"""The bounded registry: what may be forgotten, what never is, and what strangers get when it is full."""

from __future__ import annotations

import random
import threading
import tracemalloc
from collections.abc import Callable

import pytest

from seawall import (
    AdaptiveBudget,
    Bulkhead,
    Policy,
    Resilience,
    RetryBudget,
    TokenBudget,
    Verdict,
    forks,
)
from seawall.effective import Effective
from seawall.events import AttemptStarted, BreakerChanged, Event
from seawall.flow import run
from seawall.host import HostState
from seawall.hub import Hub
from seawall.outcome import Reason
from seawall.policies.breaker import Closed
from seawall.policies.budget import Budget
from seawall.registry import Registry
from seawall.testing import VirtualClock, simulate
from tests.core.stage import (
    HOST,
    Answer,
    Peer,
    Stage,
    Step,
    answer,
    brittle,
    call_to,
    fault,
    hang,
    one_at_a_time,
    only,
    onward,
    outcome,
    purse,
    steady,
    visit,
    word,
)


class Town:
    """One Resilience and as many hosts as wanted, all alike."""

    def __init__(self, policy: Policy, max_hosts: int) -> None:
        self.clock = VirtualClock(u=0.5)
        self.resilience = Resilience(policy, clock=self.clock, max_hosts=max_hosts)
        self.held: object = None

    def get(self, host: str, *steps: Step) -> object:
        """One call to `host`, which plays these steps."""
        return visit(self.resilience, f"https://{host}", *steps)

    def knows(self, host: str) -> bool:
        return self.resilience.snapshot(f"https://{host}") is not None

    def rest(self) -> None:
        """So long that windows are empty, gates open and budgets full again."""
        self.clock.advance(3600)


# -- the cap ---------------------------------------------------------------------------------------


def test__cap__is_never_exceeded_and_the_latest_host_has_a_place() -> None:
    town = Town(only(), max_hosts=3)
    for number in range(50):
        town.get(f"h{number}.test")
        town.rest()
        assert len(town.resilience) <= 3
        assert town.knows(f"h{number}.test")


def test__operators_take_places_beyond_the_cap__they_are_given_back_when_the_hosts_are_idle() -> None:
    town = Town(only(), max_hosts=2)
    for busy in (2, 3, 4):
        for number in range(busy):
            town.get(f"h{busy}-{number}.test")
        town.resilience.isolate(f"https://held{busy}.test")
        town.resilience.restore(f"https://held{busy}.test")
        town.rest()
    town.get("last.test")
    assert (len(town.resilience), town.knows("last.test")) == (2, True)


def test__100_000_random_hosts__a_tripped_breaker_survives_them() -> None:
    clock, hub = VirtualClock(), Hub()
    registry = Registry(64, clock, hub)
    effective = Effective(Policy(breaker=brittle(open_duration=1e9, max_open_duration=1e9)))
    forgotten: list[str] = []

    def visit(name: str) -> HostState:
        return registry.get_or_create(("host", name), effective, lambda state: forgotten.append(state.name))

    tripped = visit("tripped")
    tripped.isolate()
    chance = random.Random(1)
    for _ in range(100_000):
        visit(f"h{chance.getrandbits(64)}")
        assert len(registry) <= 64
    assert visit("tripped") is tripped
    assert "tripped" not in forgotten
    assert len(forgotten) == 100_000 + 1 - 64


def test__100_000_random_hosts_that_were_used__size_stays_at_the_cap() -> None:
    clock, hub = VirtualClock(), Hub()
    registry = Registry(64, clock, hub)
    effective = Effective(Policy())
    for number in range(100_000):
        state = registry.get_or_create(("host", str(number)), effective, lambda state: None)
        state.count_rejection(clock.now)  # something is in every window
        assert len(registry) <= 64
    assert len(list(registry.everybody())) == 65  # and one for all the others


# -- who may be forgotten --------------------------------------------------------------------------


def failing(town: Town) -> None:
    town.get("first.test", fault())


def tripped(town: Town) -> None:
    for _ in range(2):
        town.get("first.test", fault())


def isolated(town: Town) -> None:
    town.resilience.isolate("https://first.test")
    town.rest()


def gated(town: Town) -> None:
    town.get("first.test", answer(429, retry_after="300"))
    town.clock.advance(20)


def spent(town: Town) -> None:
    town.get("first.test", fault(), answer(200))
    town.rest()


def busy(town: Town) -> None:
    call = call_to(town.resilience, "https://first.test")
    town.held = simulate(town.clock, run(call, Peer(answer(200, stream=True))))  # somebody still reads it
    town.rest()


LIKE_NEW_NOT = [failing, tripped, isolated, gated, spent, busy]


@pytest.mark.parametrize("owing", LIKE_NEW_NOT, ids=lambda owing: owing.__name__)
def test__owing_something__is_never_forgotten(owing: Callable[[Town], None]) -> None:
    town = Town(only(breaker=brittle(), retry=steady(max_retries=1, max_retry_after=1), budget=purse()), max_hosts=1)
    town.get("first.test")
    town.rest()
    owing(town)
    before = town.resilience.snapshot("https://first.test")
    for number in range(20):
        town.get(f"h{number}.test", answer(200))
    after = town.resilience.snapshot("https://first.test")
    assert before == after


def test__idle_and_well__is_forgotten() -> None:
    town = Town(Policy(), max_hosts=1)
    town.get("first.test")
    town.rest()
    town.get("second.test")
    assert (town.knows("first.test"), town.knows("second.test")) == (False, True)


@pytest.mark.parametrize("budget", [RetryBudget(), TokenBudget(), AdaptiveBudget(), None])
def test__met_and_not_called__is_forgotten_at_the_same_instant(budget: Budget | None) -> None:
    town = Town(only(budget=budget), max_hosts=1)
    call_to(town.resilience, "https://first.test")
    call_to(town.resilience, "https://second.test")
    assert (town.knows("first.test"), town.knows("second.test")) == (False, True)


def test__failed_last__is_not_forgotten_when_its_window_has() -> None:
    town = Town(only(breaker=brittle()), max_hosts=1)
    town.get("first.test", fault())
    town.clock.advance(60)
    town.get("second.test")
    town.get("first.test", fault())
    assert town.resilience.snapshot("https://first.test").state == "open"  # type: ignore[union-attr]


def test__tokens_of_a_start_below_the_cap__spent__is_not_forgotten() -> None:
    town = Town(only(budget=RetryBudget(start=2, cap=10, refill_per_minute=0)), max_hosts=1)
    assert call_to(town.resilience, "https://first.test").state.withdraw(town.clock.now)
    town.get("second.test")
    assert (town.knows("first.test"), town.knows("second.test")) == (True, False)


def test__somebody_is_about_to_claim_a_permit__is_not_forgotten() -> None:
    stage = Stage(only(bulkhead=one_at_a_time()), max_hosts=1)
    holder = stage.hold()
    waiter = stage.line_up()
    holder.abandon()
    call_to(stage.resilience, "https://second.test")
    assert stage.resilience.snapshot("https://second.test") is None
    assert word(stage.together(onward(waiter))[0]) == 200


def test__tripped_once_and_long_well_again__is_forgotten_too() -> None:
    town = Town(only(breaker=brittle()), max_hosts=1)
    for _ in range(2):
        town.get("first.test", fault())
    town.clock.advance(10)
    town.get("first.test", answer(200))
    assert town.resilience.snapshot("https://first.test").state == "closed"  # type: ignore[union-attr]
    town.clock.advance(7 * 24 * 3600)
    town.get("second.test")
    assert town.knows("second.test")


def test__forgotten__comes_back_as_new() -> None:
    town = Town(Policy(), max_hosts=1)
    town.get("first.test")
    town.rest()
    town.get("second.test")
    town.rest()
    town.get("first.test")
    picture = town.resilience.snapshot("https://first.test")
    assert picture is not None
    assert picture.total_requests == 1


def test__forgotten_with_a_group_by_path__calls_and_state_stay_together() -> None:
    policies = {"all://": only(), "POST https://a.test/v1": only(group="jobs")}
    resilience = Resilience(policies, clock=VirtualClock(), max_hosts=2)
    for host in ("a", "b", "c"):  # somebody has to go
        resilience.route(host, "https", f"{host}.test", None)
    visit(resilience, "https://a.test/v1", method="POST")
    assert sum(picture.total_requests for picture in resilience.snapshots()) == 1


# -- strangers, when nobody may be forgotten -------------------------------------------------------


def crowded(policy: Policy) -> Town:
    """A town with one place, taken for good."""
    town = Town(policy, max_hosts=1)
    town.resilience.isolate("https://first.test")
    return town


def strangers(town: Town) -> object:
    (picture,) = [one for one in town.resilience.snapshots() if one.host != "https://first.test"]
    return picture


def test__strangers__are_measured_together() -> None:
    town = crowded(only())
    for number in range(5):
        town.get(f"h{number}.test")
    assert strangers(town).successes == 5  # type: ignore[attr-defined]
    assert len(town.resilience) == 1


def test__strangers__share_a_budget() -> None:
    town = crowded(only(retry=steady(max_retries=1), budget=purse(1)))
    town.get("a.test", fault())
    town.get("b.test", fault())
    assert (strangers(town).budget, strangers(town).budget_denials) == (0, 1)  # type: ignore[attr-defined]


def test__strangers__never_open() -> None:
    town = crowded(only(breaker=brittle()))
    for number in range(50):
        town.get(f"h{number}.test", fault())
    assert strangers(town).state == "closed"  # type: ignore[attr-defined]
    assert town.get("well.test", answer(200)) == 200


def test__strangers__one_that_asks_for_a_pause_holds_back_no_other() -> None:
    town = crowded(only(retry=steady(max_retry_after=1)))
    town.get("sick.test", answer(429, retry_after="300"))
    assert town.get("well.test", answer(200)) == 200


def test__strangers__one_that_hangs_takes_no_permit_of_another() -> None:
    town = crowded(only(bulkhead=Bulkhead(max_concurrent=1, max_wait=0)))
    call = call_to(town.resilience, "https://sick.test")
    (streaming,) = simulate(town.clock, run(call, Peer(answer(200, stream=True))))
    assert isinstance(streaming, Answer)
    assert town.get("well.test", answer(200)) == 200


def test__strangers__isolating_one_holds_back_no_other() -> None:
    town = crowded(only(breaker=brittle()))
    town.get("sick.test")
    town.resilience.isolate("https://sick.test")
    assert town.get("well.test", answer(200)) == 200


def test__stranger__gets_a_place_of_its_own_when_one_is_free() -> None:
    town = crowded(only())
    town.get("a.test")
    assert not town.knows("a.test")
    town.resilience.remove("https://first.test")
    town.get("a.test")
    assert town.knows("a.test")


def test__strangers__are_refused_after_close() -> None:
    town = crowded(only())
    town.resilience.close(0)
    assert town.get("late.test") is Reason.CLOSED


def test__strangers__breaker_set_later_still_opens_nothing() -> None:
    town = crowded(only())
    town.get("a.test")
    town.resilience.configure("all://", only(breaker=brittle()))
    for _ in range(5):
        town.get("a.test", fault())
    assert town.get("b.test", answer(200)) == 200


def test__strangers__attempts_in_flight_at_removal_end_in_the_old_state() -> None:
    stage = Stage(only(breaker=brittle(failure_threshold=1)), hang())
    admission = stage.hold()
    stage.resilience.remove("https://api.test")
    admission.broke(outcome(Verdict.FAILURE))
    stage.script(answer(200))
    assert word(stage.get()) == 200
    assert (stage.host.total_failures, stage.host.in_flight) == (0, 0)


# -- spellings -------------------------------------------------------------------------------------


def test__20_000_spellings_of_one_host__keep_bounded_memory() -> None:
    resilience = Resilience(only(), max_hosts=50, clock=VirtualClock())
    for number in range(20_000):
        resilience.route(f"spelling {number}", "https", "one.test", None)
    assert len(resilience) == 1
    found = resilience.route("the last", "https", "one.test", None).state
    assert found is not None
    assert 0 < len(resilience.routes) <= 4 * 50
    assert set(found.route_keys) == set(resilience.routes)
    assert len(found.route_keys) == len(resilience.routes)


def test__one_host_spelled_in_many_ways__costs_bounded_memory() -> None:
    resilience = Resilience(only(), clock=VirtualClock(), max_hosts=16)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(10_000):
            letters = "".join(c.upper() if number >> place & 1 else c for place, c in enumerate("abcdefghijklmn"))
            origin = ("https", f"{letters}.test", None)
            resilience.route(origin, *origin)
            assert len(resilience.routes) <= 4 * 16
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(resilience) == 1
    assert after - before < 300_000


# -- at the same time ------------------------------------------------------------------------------


def test__two_threads_meet_a_host_at_once__have_one_state() -> None:
    registry, at_the_lock = Registry(5, VirtualClock(), Hub()), threading.Event()
    real, found = registry.lock, list[HostState]()

    class Told:
        def __enter__(self) -> None:
            at_the_lock.set()
            real.acquire()

        def __exit__(self, *_: object) -> None:
            real.release()

    def state() -> HostState:
        return registry.get_or_create(("host", "https://first.test"), Effective(only()), lambda gone: None)

    with real:
        registry.lock = Told()  # type: ignore[assignment]
        slower = threading.Thread(target=lambda: found.append(state()))
        slower.start()
        assert at_the_lock.wait(10)
        quicker = state()
    slower.join(10)
    assert (found, len(registry)) == ([quicker], 1)


def test__finaliser_forgets_them_all_while_room_is_made__the_new_host_has_a_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    town = Town(only(), 2)
    registry = town.resilience._registry

    def struck(self: HostState, now: float) -> bool:
        registry._states.clear()
        return True

    town.get("first.test", answer(200))
    town.get("second.test", answer(200))
    monkeypatch.setattr(HostState, "is_like_new", struck)
    town.get("third.test", answer(200))
    assert [key for key, _ in registry.items()] == [("host", "https://third.test")]


def test__finaliser_takes_the_hosts_place_while_its_route_is_made__the_route_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    town = Town(only(), 2)
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "get", lambda self, key: None)
        town.get("first.test", answer(200))
    assert not town.resilience.routes
    town.get("first.test", answer(200))
    assert len(town.resilience.routes) == 1


def test__operator_strikes_in_the_middle_of_a_visit__is_obeyed_at_its_end() -> None:
    stage = Stage(only(breaker=brittle()), answer(200))
    stage.get()
    state = stage.call().state
    with state._lock:  # as in a signal handler
        stage.resilience.isolate(HOST)
        assert type(state.breaker.phase) is Closed
    state.count_rejection(stage.clock.now)  # the visit that was struck, as it goes on
    assert stage.host.state == "isolated"


class Mortal:
    """What forks have to know of, and what takes another such thing with it."""

    def __init__(self) -> None:
        self.other: list[Mortal] = []
        self.told: list[str] = []

    def before_fork(self) -> None:
        self.told.append("before")
        self.other.clear()

    def begin_afresh(self) -> None:
        self.told.append("afresh")
        self.other.clear()


@pytest.mark.parametrize(("what", "act"), [("_owners", "_before"), ("_heirs", "_in_child")])
def test__object_that_dies_while_others_are_told_of_a_fork__is_passed_over(
    what: str, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Mortal(), Mortal()
    told = one.told = two.told
    living = forks._Living[Mortal]()
    living.add(one)
    living.add(two)
    monkeypatch.setattr(forks, what, living)
    one.other.append(two)
    two.other.append(one)
    del one, two
    getattr(forks, act)()
    assert len(told) == 1


def test__forked_by_a_listener_just_before_an_attempt__the_child_holds_nothing_for_it() -> None:
    stage = Stage(only(breaker=brittle()), fault(), fault(), answer(200))
    stage.get()
    stage.get()
    stage.clock.advance(10)
    stage.resilience.subscribe(lambda event: stage.resilience._registry.begin_afresh(), [BreakerChanged])
    started = list[Event]()
    stage.resilience.subscribe(started.append, [AttemptStarted])
    assert word(stage.get()) == 200
    assert (len(started), stage.host.in_flight, stage.host.total_successes) == (1, 0, 0)


def test__forked_while_a_call_slept__it_goes_on_in_the_child() -> None:
    stage = Stage(only(retry=steady()), fault(), answer(200))
    results = stage.together(stage.start(), stage.at(0.5, stage.resilience._registry.begin_afresh))
    assert (word(results[0]), stage.host.in_flight) == (200, 0)


def test__lock_held_by_the_thread_that_forks__is_still_its_own_in_the_child() -> None:
    lock, entered = forks.Lock(), threading.Event()
    other = threading.Thread(target=lambda: [lock.__enter__(), entered.set(), lock.__exit__()])
    with lock:
        lock.begin_afresh()
        other.start()
        assert not entered.wait(0.05)
    assert entered.wait(10)
    other.join(10)


def test__state__its_making_was_interrupted__new_figures_pass_it_over() -> None:
    """It has a place, but nobody knows of which host it is. To be interrupted there is easiest after `close`."""
    stage = Stage(only())
    stage.resilience.close()
    with stage.interrupted(2) as readings:  # when it is made; when it is shut
        stage.resilience.isolate(HOST)
    stage.resilience.configure("all://", only(bulkhead=Bulkhead(max_concurrent=7)))
    assert (len(readings), stage.host.limit) == (2, None)


def test__strangers_state__given_a_limit_later__still_holds_nobody_back() -> None:
    state = HostState("other hosts", Effective(only()), VirtualClock(), Hub(), opens=False)
    state.configure(Effective(only(bulkhead=one_at_a_time())))
    assert state.bulkhead.is_free
