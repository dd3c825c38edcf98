"""All ways in which two operations of two threads can come together, compared with one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, NamedTuple

from tests.core.interrupting import ROOMS, Places
from tests.interleave.switching import Duel, in_turns


class Blurred:
    """A picture taken while something is under way: each of its figures is right, but not all at one instant."""

    def __init__(self, **figures: object) -> None:
        self.figures = figures


class Scene(NamedTuple):
    """Where two threads meet, what they may do there, and how to tell what came of it."""

    make: Callable[[], Any]
    operations: dict[str, Callable[[Any, int], object]]
    """Name → operation of the thread with that number, 0 or 1."""
    word: Callable[[object], object]
    """What an operation gave, comparable between two worlds."""
    observe: Callable[[Any], object]
    """What is to be seen afterwards."""
    check: Callable[[Any], list[str]]
    """What is wrong, whatever came first."""
    core: tuple[str, ...] = ()
    """The operations that `make test` pairs; left out: all."""
    finalisers: tuple[str, ...] = ()
    """The operations that a finaliser may run, in the midst of others of its own thread."""
    rooms: tuple[str, ...] = ROOMS
    """Where the code is that may be switched in."""


class Schedule(NamedTuple):
    """The first goes as far as its place `at`, the second as far as its place `back` (-1: to its end)."""

    first: str
    second: str
    at: int
    back: int = -1


class Seen(NamedTuple):
    """What the two operations gave, and what they left."""

    given: tuple[Any, ...]
    left: object


Judged = tuple[Schedule, list[str]]


def explore(scene: Scene, first: str, second: str, *, twice: bool = False, every: bool = False) -> Iterator[Judged]:
    """Every schedule of the pair with one switch (`twice`: also those with two), and what is wrong with it.

    What both give and leave behind must be what one after the other would: each operation happens at an instant.
    `every`: switched between any two instructions, not only where CPython does.
    """
    with in_turns():
        expected = [_in_a_row(scene, first, second, begins=who) for who in (0, 1)]
        for at in count():
            schedule = Schedule(first, second, at)
            duel, wrong = _play(scene, schedule, expected, every=every)
            yield schedule, wrong
            if not duel.switched[0]:
                break
            for back in count() if twice else ():
                schedule = Schedule(first, second, at, back)
                duel, wrong = _play(scene, schedule, expected, every=every)
                if not duel.switched[1]:
                    break
                yield schedule, wrong


def explore_inside(scene: Scene, first: str, second: str) -> Iterator[Judged]:
    """The second in the midst of the first, at each place in turn, in the same thread: as a finaliser would.

    Locks do not keep it out, so it need not be one after the other; but nothing may be wrong afterwards, and nothing
    raised that is not raised one after the other.
    """
    expected = [_in_a_row(scene, first, second, begins=who) for who in (0, 1)]
    for at in count():
        world, given = scene.make(), {}

        def strike(world: Any = world, given: dict[int, object] = given) -> None:
            given[1] = _try(scene, second, world, 1)

        with Places(at, scene.rooms, strike) as place:
            given[0] = _try(scene, first, world, 0)
        wrong = scene.check(world)
        for who, result in given.items():
            if isinstance(result, Exception) and scene.word(result) not in [seen.given[who] for seen in expected]:
                wrong.append(f"{(first, second)[who]} raised {result!r}")
        if not place.struck:
            break
        yield Schedule(first, second, at), wrong


def _try(scene: Scene, name: str, world: Any, who: int) -> Any:
    try:
        return scene.operations[name](world, who)
    except Exception as error:
        return error


def _in_a_row(scene: Scene, *names: str, begins: int) -> Seen:
    world = scene.make()
    given: list[object] = [None, None]
    for who in (begins, 1 - begins):
        given[who] = _try(scene, names[who], world, who)
    scene.check(world)  # it tidies up
    return Seen(tuple(map(scene.word, given)), scene.observe(world))


def _play(scene: Scene, schedule: Schedule, expected: list[Seen], *, every: bool) -> tuple[Duel, list[str]]:
    world = scene.make()
    first, second = scene.operations[schedule.first], scene.operations[schedule.second]
    acts = (lambda: first(world, 0), lambda: second(world, 1))
    duel = Duel(acts, (schedule.at, schedule.back), scene.rooms, every=every)
    given = tuple(map(scene.word, duel.run()))
    wrong = scene.check(world)
    seen = Seen(given, scene.observe(world))
    if not any(_agree(seen, one, expected) for one in expected):
        wrong.append(f"{seen} is neither of {expected}")
    return duel, wrong


def _agree(seen: Seen, one: Seen, expected: list[Seen]) -> bool:
    if seen.left != one.left:
        return False
    for who, (mine, other) in enumerate(zip(seen.given, one.given, strict=True)):
        if isinstance(mine, Blurred):
            pictures = [each.given[who].figures for each in expected]
            if any(all(value != picture[name] for picture in pictures) for name, value in mine.figures.items()):
                return False
        elif mine != other:
            return False
    return True
