"""The outbox against a naive model: a list of requests, whatever workers, clocks and crashes do."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from seawall.stores.items import Item, OutboxFull, Receipt, Result
from seawall.stores.outbox import LONGEST_WAIT, OutboxFile
from seawall.testing.virtual import VirtualClock
from tests.core.stores.files import quick_folder
from tests.walks import walk

KEEP = 30
ROWS = 4
SETTLED = ("done", "failed", "expired")


@dataclass(eq=False)
class Row:
    number: int
    receipt: Receipt
    host: str
    not_before: float
    expires: float
    state: str = "queued"
    attempts: int = 0
    fence: int = 0
    leased: tuple[float, float] = (0, 0)
    end: Result | None = None


@dataclass(eq=False)
class Holder:
    """A worker that believes it holds an item; it may be wrong by now."""

    row: Row
    item: Item
    leases: list[tuple[float, float]] = field(default_factory=list)


class OutboxModel(RuleBasedStateMachine):
    reached: ClassVar[Counter[str]] = Counter()

    @initialize()
    def begin(self) -> None:
        self.open = ExitStack()
        folder = self.open.enter_context(quick_folder())
        self.clock = VirtualClock(0.0)
        self.file = OutboxFile(folder / "outbox.db", max_rows=ROWS, keep_for=KEEP, clock=self.clock)
        self.open.callback(lambda: self.file.close())
        self.rows: list[Row] = []
        self.holders: list[Holder] = []
        self.number = 0

    def teardown(self) -> None:
        if hasattr(self, "open"):
            self.open.close()

    @property
    def now(self) -> float:
        return self.clock.wall()

    def lapsed(self, row: Row) -> bool:
        since, until = row.leased
        return row.state == "leased" and not since <= self.now < until

    def overdue(self, row: Row) -> bool:
        return row.expires <= self.now and (row.state == "queued" or self.lapsed(row))

    def sweep(self) -> None:
        for row in list(self.rows):
            if self.overdue(row):
                row.state, row.expires = "expired", self.now + KEEP
                row.end = Result("expired", attempts=row.attempts)
                self.reached["expired"] += 1
            elif row.state in SETTLED and row.expires <= self.now:
                self.rows.remove(row)
                self.reached["forgotten"] += 1

    @rule(host=st.sampled_from("ab"), timeout=st.sampled_from([1, 10, 1000]), wait=st.sampled_from([0, 0, 2, 1e9]))
    def put(self, host: str, timeout: float, wait: float) -> None:
        self.number += 1
        self.sweep()
        settled = sorted((row for row in self.rows if row.state in SETTLED), key=lambda row: (row.expires, row.number))
        arguments = ("PUT", f"http://{host}.test/{self.number}", (("n", str(self.number)),), b"%d" % self.number)
        if len(self.rows) == ROWS and not settled:
            with pytest.raises(OutboxFull):
                self.file.put(*arguments, host=host, queue_timeout=timeout, wait=wait)
            self.reached["full"] += 1
            return
        if len(self.rows) == ROWS:
            self.rows.remove(settled[0])
            self.reached["made room"] += 1
        receipt = self.file.put(*arguments, host=host, queue_timeout=timeout, wait=wait)
        now = self.now
        self.rows.append(Row(self.number, receipt, host, now + min(wait, LONGEST_WAIT), now + timeout))

    @rule(seconds=st.sampled_from([1, 5, 100]), skip=st.sampled_from(["", "", "a", "ab"]))
    def lease(self, seconds: float, skip: str) -> None:
        self.sweep()
        rows = [row for row in self.rows if row.host not in skip]
        left = [row for row in rows if self.lapsed(row)]
        queued = sorted((r for r in rows if r.state == "queued"), key=lambda row: (row.not_before, row.number))
        due = [row for row in queued if row.not_before <= self.now]
        locked = [row for row in queued if row.not_before > self.now + LONGEST_WAIT]
        expected = next(iter([*left, *due, *locked]), None)
        item = self.file.lease(seconds, skip)
        if expected is None:
            assert item is None
            return
        assert item is not None
        if expected in left:
            self.reached["taken over"] += 1
        elif expected in locked:
            self.reached["locked away by a clock"] += 1
        expected.state, expected.leased = "leased", (self.now, self.now + seconds)
        expected.fence += 1
        expected.attempts += 1
        assert (item.id, item.attempts, item.url) == (
            expected.receipt.id,
            expected.attempts,
            f"http://{expected.host}.test/{expected.number}",
        )
        assert (item.method, item.body, item.headers) == (
            "PUT",
            b"%d" % expected.number,
            (("n", str(expected.number)),),
        )
        assert all(item.fence > other.item.fence for other in self.holders if other.row is expected)
        self.holders.append(Holder(expected, item))

    def holds(self, holder: Holder) -> bool:
        row = holder.row
        mine = row in self.rows and row.state == "leased" and row.fence == holder.item.fence
        if not mine and row in self.rows:
            self.reached["fenced off" if row.state == "leased" else "late"] += 1
        return mine

    @precondition(lambda self: self.holders)
    @rule(which=st.integers(0, 100), seconds=st.sampled_from([1, 50]))
    def renew(self, which: int, seconds: float) -> None:
        holder = self.holders[which % len(self.holders)]
        mine = self.holds(holder)
        assert self.file.renew(holder.item, seconds) is mine
        if mine:
            holder.row.leased = (self.now, self.now + seconds)

    @precondition(lambda self: self.holders)
    @rule(which=st.integers(0, 100), wait=st.sampled_from([0, 3, -5, 1e12]))
    def put_back(self, which: int, wait: float) -> None:
        holder = self.holders[which % len(self.holders)]
        mine = self.holds(holder)
        assert self.file.put_back(holder.item, wait, "busy") is mine
        if mine:
            holder.row.state = "queued"
            holder.row.not_before = self.now + min(max(wait, 0), LONGEST_WAIT)

    @precondition(lambda self: self.holders)
    @rule(which=st.integers(0, 100), good=st.booleans())
    def settle(self, which: int, good: bool) -> None:
        holder = self.holders[which % len(self.holders)]
        mine = self.holds(holder)
        status = 200 if good else 404
        result = Result("done" if good else "failed", status, (("a", "b"),), b"answer %d" % which, True)
        assert self.file.settle(holder.item, result) is mine
        if mine:
            row = holder.row
            row.state, row.expires = result.state, self.now + KEEP
            row.end = result._replace(attempts=row.attempts)
            self.reached[result.state] += 1

    @precondition(lambda self: any(row.state == "leased" for row in self.rows))
    @rule(which=st.integers(0, 100), good=st.booleans())
    def a_slow_worker_is_overtaken(self, which: int, good: bool) -> None:
        leased = [holder for holder in self.holders if holder.row.state == "leased"]
        if leased:
            slow = leased[which % len(leased)]
            self.clock.advance(max(0.0, slow.row.leased[1] - self.now))
            self.lease(100, "")
            self.renew(self.holders.index(slow), 50)
            self.settle(self.holders.index(slow), good)

    @precondition(lambda self: self.holders)
    @rule(which=st.integers(0, 100))
    def a_worker_dies(self, which: int) -> None:
        self.holders.pop(which % len(self.holders))
        self.file.close()
        self.file = OutboxFile(self.file.path, max_rows=ROWS, keep_for=KEEP, clock=self.clock)
        self.reached["crash"] += 1

    @rule(seconds=st.sampled_from([0.5, 1, 3, 10, 60]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([1, 20, 2 * LONGEST_WAIT]))
    def the_clock_steps_back(self, seconds: float) -> None:
        self.clock.now -= seconds

    @invariant()
    def every_receipt_tells_what_the_model_says(self) -> None:
        for row in getattr(self, "rows", ()):
            overdue, over = self.overdue(row), row.state in SETTLED and row.expires <= self.now
            expected = "gone" if over else "expired" if overdue else row.state
            assert self.file.state(row.receipt) == expected
            result = self.file.result(row.receipt)
            if expected in ("done", "failed"):
                assert result == row.end
            elif expected == "expired":
                assert result is not None
                assert (result.state, result.status, result.content) == ("expired", None, b"")
            else:
                assert result is None

    @invariant()
    def as_many_wait_as_the_model_says(self) -> None:
        if hasattr(self, "rows"):
            waiting = [row for row in self.rows if row.state in ("queued", "leased") and not self.overdue(row)]
            assert len(self.file) == len(waiting)


RARE = {
    "full", "made room", "expired", "forgotten", "taken over", "locked away by a clock", "fenced off", "late",
    "done", "failed", "crash",
}  # fmt: skip


def test__outbox__any_workers__keep_it_as_the_naive_model_says() -> None:
    walk(OutboxModel, RARE, examples=100, steps=40)
