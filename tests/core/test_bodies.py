"""Bodies that are read while they are sent: made anew, remembered within bounds, or sent once."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import pytest

from seawall import AsyncReplayable, Replayable
from seawall.bodies import AsyncUpload, Upload
from tests.contract.clients import step


class Side:
    """Sync or async: the same bodies, read the same way."""

    def __init__(self, name: str, upload: Any, replayable: Any) -> None:
        self.name = name
        self.upload = upload
        self.replayable = replayable

    def body(self, pieces: Iterable[Any], ended: list[str] | None = None) -> Any:
        """A generator that yields the pieces, raising those that are exceptions, and notes its end."""

        def plain() -> Iterator[Any]:
            try:
                for piece in pieces:
                    if isinstance(piece, BaseException):
                        raise piece
                    yield piece
            finally:
                if ended is not None:
                    ended.append("ended")

        async def later() -> AsyncIterator[Any]:
            for piece in plain():
                yield piece

        return plain() if self.name == "sync" else later()

    def read(self, body: Any, most: int = -1, *, keep: bool = True) -> list[Any]:
        """The pieces, `most` at most."""
        got: list[Any] = []
        if self.name == "sync":
            for piece in body:
                if keep:
                    got.append(piece)
                if len(got) == most:
                    break
        else:
            step(self._read(body, most, keep, got))
        return got

    async def _read(self, body: Any, most: int, keep: bool, got: list[Any]) -> None:
        async for piece in body:
            if keep:
                got.append(piece)
            if len(got) == most:
                break

    def drain(self, body: Any) -> None:
        """Read all of it and keep nothing."""
        self.read(body, keep=False)

    def release(self, upload: Any) -> None:
        """The attempt is over."""
        if self.name == "sync":
            upload.release()
        else:
            step(upload.release())


@pytest.fixture(
    params=[Side("sync", Upload, Replayable), Side("async", AsyncUpload, AsyncReplayable)], ids=["sync", "async"]
)
def side(request: pytest.FixtureRequest) -> Side:
    chosen: Side = request.param
    return chosen


def once(side: Side, pieces: Iterable[Any], room: int = 0) -> Any:
    body = side.body(pieces)
    return side.upload(body, body, replays=False, room=room)


def joined(pieces: list[Any]) -> bytes:
    return b"".join(pieces)


def test__factory__is_asked_anew_for_each_reading(side: Side) -> None:
    made = side.replayable(lambda: side.body([b"a", b"b"]))
    assert [side.read(made), side.read(made)] == [[b"a", b"b"]] * 2


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test__factory__of_bytes(side: Side, kind: Callable[[bytes], Any]) -> None:
    assert side.read(side.replayable(lambda: kind(b"ab"))) == [b"ab"]


def test__factory__of_files__reads_and_closes_each() -> None:
    files: list[io.BytesIO] = []

    def opened() -> io.BytesIO:
        files.append(io.BytesIO(b"x" * 100_000))
        return files[-1]

    body = Replayable(opened)
    assert [len(joined(list(body))) for _ in range(2)] == [100_000] * 2
    assert [file.closed for file in files] == [True] * 2


def test__factory__of_a_list__is_read_each_time() -> None:
    pieces = [b"a", b"b"]
    body = Replayable(lambda: pieces)
    assert [list(body), list(body)] == [pieces] * 2


def test__reading_left_early__closes_what_was_made(side: Side) -> None:
    ended: list[str] = []
    made = side.replayable(lambda: side.body([b"a", b"b"], ended))
    upload = side.upload(made, made, replays=True)
    reading = iter(upload) if side.name == "sync" else upload.__aiter__()  # a traceback may hold it
    assert (next(reading) if side.name == "sync" else step(anext(reading))) == b"a"
    side.release(upload)
    assert ended == ["ended"]


def test__factory__giving_the_same_generator_twice__is_refused_before_an_empty_body_goes_out(side: Side) -> None:
    one = side.body([b"a"])
    made = side.replayable(lambda: one)
    side.read(made)
    with pytest.raises(TypeError, match=r"same .*generator twice: make a new one"):
        side.read(made)


@pytest.mark.parametrize(
    ("made", "gives", "said"),
    [
        pytest.param(
            Replayable, lambda: Side("async", 0, 0).body([]), "async client takes AsyncReplayable", id="async"
        ),
        pytest.param(Replayable, lambda: "text", "gave a str", id="text"),
        pytest.param(Replayable, lambda: None, "gave a NoneType", id="None"),
        pytest.param(AsyncReplayable, lambda: [b"a"], "sync client takes Replayable", id="list"),
        pytest.param(AsyncReplayable, lambda: io.BytesIO(b"a"), "sync client takes Replayable", id="file"),
        pytest.param(AsyncReplayable, lambda: Side("async", 0, 0)._read(0, 0, True, []), "coroutine", id="coroutine"),
        pytest.param(AsyncReplayable, lambda: None, "gave a NoneType", id="nothing"),
    ],
)
def test__factory__giving_something_else__says_what_to_give(made: Any, gives: Any, said: str) -> None:
    reads = Side("sync" if made is Replayable else "async", 0, 0).read
    with pytest.raises(TypeError, match=said):
        reads(made(gives))


def test__factory__that_is_none__is_refused_at_once(side: Side) -> None:
    with pytest.raises(TypeError, match="not callable: give a function"):
        side.replayable(b"body")


@pytest.mark.parametrize("length", [-1, 1.5, True, "3"])
def test__length__that_is_none__is_refused(side: Side, length: Any) -> None:
    with pytest.raises(ValueError, match=r"length=.*give the number of bytes"):
        side.replayable(lambda: b"", length=length)


@pytest.mark.parametrize("room", [4, 5, 100])
def test__remembered__is_read_again_with_the_same_bytes(side: Side, room: int) -> None:
    upload = once(side, [b"ab", b"", b"cd"], room)
    assert [joined(side.read(upload)) for _ in range(3)] == [b"abcd"] * 3
    assert upload.can_repeat


def test__remembered__is_bounded_in_bytes_and_then_forgotten(side: Side) -> None:
    upload = once(side, [b"ab", b"cd", b"ef"], 3)
    assert joined(side.read(upload)) == b"abcdef"
    assert not upload.can_repeat
    assert upload._kept is None


def test__remembered__a_first_reading_broken_off__goes_on_with_the_rest(side: Side) -> None:
    upload = once(side, [b"a", b"b", b"c", b"d"], 10)
    for most in (1, 2):
        side.read(upload, most)
        side.release(upload)
        assert upload.can_repeat
    assert joined(side.read(upload)) == b"abcd"
    assert joined(side.read(upload)) == b"abcd"


def test__remembered__room_used_up_in_a_later_reading__is_the_last(side: Side) -> None:
    upload = once(side, [b"ab", b"cd"], 3)
    side.read(upload, 1)
    assert upload.can_repeat
    assert joined(side.read(upload)) == b"abcd"
    assert not upload.can_repeat


def test__remembered__a_buffer_filled_again_by_the_generator__is_what_it_was(side: Side) -> None:
    buffer = bytearray(2)

    def refilled() -> Iterator[Any]:
        for letter in b"abc":
            buffer[:] = bytes([letter] * 2)
            yield buffer
            yield memoryview(buffer)

    upload = once(side, refilled(), 100)
    side.drain(upload)
    assert joined(side.read(upload)) == b"aaaabbbbcccc"


def test__remembered__text__counts_and_goes_out_as_its_bytes(side: Side) -> None:
    assert once(side, ["é"], 1).can_repeat
    short, enough = once(side, ["é"], 1), once(side, ["é"], 2)
    assert side.read(short) == side.read(enough) == ["é"]
    assert (short.can_repeat, enough.can_repeat) == (False, True)
    assert joined(side.read(enough)) == "é".encode()


def test__remembered__what_has_no_bytes__is_left_to_the_library(side: Side) -> None:
    upload = once(side, [b"a", 5], 100)
    assert side.read(upload) == [b"a", 5]
    assert not upload.can_repeat


def test__remembered__in_small_pieces__takes_no_more_room_than_its_bytes(side: Side) -> None:
    upload = once(side, (b"%02d" % (n % 100) for n in range(50_000)), 1_000_000)
    tracemalloc.start()
    try:
        side.drain(upload)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert upload.can_repeat
    assert 100_000 <= held < 150_000


def test__not_remembered__is_sent_once(side: Side) -> None:
    upload = once(side, [b"a"])
    assert upload.can_repeat  # nobody began to read it
    side.read(upload, 1)
    assert not upload.can_repeat


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test__body_that_raised__is_not_taken_for_ended(side: Side, error: BaseException) -> None:
    upload = once(side, [b"a", error, b"b"], 100)
    with pytest.raises(type(error)):
        side.read(upload)
    assert not upload.can_repeat
    assert upload.error is (error if isinstance(error, Exception) else None)


def test__second_reading_that_ends_sooner__is_broken_off(side: Side) -> None:
    source = iter([b"abc", b"d"])
    made = side.replayable(lambda: side.body(source))
    upload = side.upload(made, made, replays=True)
    side.read(upload)
    with pytest.raises(ValueError, match="ended after 0 bytes, where an earlier attempt had got 4"):
        side.read(upload)
    assert isinstance(upload.error, ValueError)


def test__call_over__nothing_is_remembered(side: Side) -> None:
    upload = once(side, [b"a"], 10)
    side.read(upload)
    if side.name == "sync":
        upload.forget()
    else:
        step(upload.forget())
    assert (upload._kept, upload._rest) == (None, None)
