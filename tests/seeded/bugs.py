"""Bugs that others had, made on purpose, one at a time: the simulator and the tests have to see each of them.

From the failures of other projects, the threats and the mistakes of the specification; written without a look at the
simulator's checkers. Each swaps one decision: (name, what goes wrong, file, old text that stands there once, new text).
`make prove-bugs` prints which are caught by what.
"""

# fmt: off
# ruff: noqa: E501
BACKOFF = "core/seawall/backoff.py"
BREAKER = "core/seawall/policies/breaker.py"
BUDGET = "core/seawall/policies/budget.py"
BULKHEAD = "core/seawall/policies/bulkhead.py"
CACHE = "core/seawall/degrade/cache.py"
CLASSIFICATION = "core/seawall/classification.py"
COUNTING = "core/seawall/counting.py"
FALLBACK = "core/seawall/degrade/fallback.py"
FLOW = "core/seawall/flow.py"
HOST = "core/seawall/host.py"
KEY = "core/seawall/degrade/key.py"
LEDGER = "core/seawall/ledger.py"
MEMORY = "core/seawall/stores/memory.py"
REGISTRY = "core/seawall/registry.py"
RETRY = "core/seawall/policies/retry.py"
RETRYING = "core/seawall/retrying.py"
STORING = "core/seawall/degrade/storing.py"
WAITING = "core/seawall/waiting.py"
WINDOW = "core/seawall/stats/window.py"

CIRCUIT = tuple(f"tests/core/policies/test_breaker{part}.py" for part in ("", "_half_open", "_open", "_transitions"))
TESTS = {
    BACKOFF: ("tests/core/test_backoff.py", "tests/core/policies/test_retry.py"),
    BREAKER: CIRCUIT,
    BUDGET: ("tests/core/policies/test_budget.py",),
    BULKHEAD: ("tests/core/policies/test_bulkhead.py", "tests/core/test_waiting.py", "tests/core/test_patience.py"),
    CACHE: ("tests/core/degrade/test_cache.py", "tests/core/degrade/test_stale.py"),
    CLASSIFICATION: ("tests/core/test_classification.py", "tests/core/test_server_delay.py"),
    COUNTING: ("tests/core/test_waiting.py", "tests/core/test_flow.py", "tests/core/test_health.py"),
    FALLBACK: ("tests/contract/test_degradation.py",),
    FLOW: (
        "tests/core/test_flow.py", "tests/core/test_outcomes.py", "tests/core/test_endings.py",
        "tests/core/test_cancellation.py", "tests/core/test_events.py", "tests/core/test_waiting.py",
    ),
    HOST: ("tests/core/test_host.py", "tests/core/test_flow.py"),
    KEY: ("tests/core/degrade/test_key.py",),
    LEDGER: ("tests/core/test_host.py", "tests/core/test_waiting.py", "tests/core/test_turned_away.py"),
    MEMORY: ("tests/core/stores/test_stores.py", "tests/core/degrade/test_cache.py"),
    REGISTRY: ("tests/core/test_registry.py",),
    RETRY: ("tests/core/policies/test_retry.py",),
    RETRYING: ("tests/core/test_flow.py", "tests/core/test_waiting.py"),
    STORING: ("tests/core/degrade/test_storing.py", "tests/core/degrade/test_stale.py"),
    WAITING: ("tests/core/test_waiting.py", "tests/core/test_patience.py"),
    WINDOW: ("tests/core/test_window.py", *CIRCUIT),
}
"""The tests for what stands in a file; a bug in it has to fail one of them, unless the simulator sees it."""

BUGS = [
    # -- circuit breaker
    ("probe-lost", "a cancelled probe keeps its slot",
     BREAKER, "elif type(phase) is HalfOpen and phase.probes.pop(permit, None) is not None:\n            if result",
     "elif type(phase) is HalfOpen and result.value is not None and phase.probes.pop(permit, None) is not None:\n"
     "            if result"),
    ("probe-ignored-is-failure", "a probe that says nothing reopens the circuit",
     BREAKER, "            elif result is Result.FAILURE:\n                self._enter(Trigger.PROBE_FAILED",
     "            else:\n                self._enter(Trigger.PROBE_FAILED"),
    ("probe-for-ever", "a probe that never ends holds the circuit half-open for ever",
     BREAKER, "phase.probes and now >= min(phase.probes.values())", "phase.probes and now < 0"),
    ("probes-unlimited", "half-open lets everybody in",
     BREAKER, "if type(phase) is HalfOpen and len(phase.probes) < self.config.half_open_max_requests:\n            return None",
     "if type(phase) is HalfOpen:\n            return None"),
    ("open-for-ever", "an open circuit is never tried again",
     BREAKER, "            if now >= phase.until:", "            if now >= phase.until + 3600:"),
    ("window-survives-closing", "a circuit that closed opens again at the next failure",
     BREAKER, "            self.window.clear()\n", "            pass\n"),
    ("late-results-count", "results of an older phase move the new one",
     BREAKER, "        if phase is not self.phase:\n            if result", "        if phase is None:\n            if result"),
    ("streak-survives-success", "a success does not end a run of failures",
     COUNTING, "            phase.run = 0\n", "            pass\n"),
    ("burst-opens", "failures of one instant open the circuit",
     BREAKER, " and now - phase.run_began >= config.min_failure_span", ""),
    ("rate-of-few", "a rate over two calls opens the circuit",
     BREAKER, "if ended >= config.min_requests and failures / ended", "if ended >= 2 and failures / ended"),
    ("window-stands-still", "an idle gap does not empty the window",
     WINDOW, "steps = int(late / self._width) + 1", "steps = 1"),
    ("growth-unbounded", "every opening lasts longer than the one before, without end",
     BACKOFF, "    return min(delay, cap)", "    return delay"),
    ("429-opens", "a rate limit opens the circuit",
     BREAKER, "and (self.count_429_as_failures or not status_429)", ""),
    ("4xx-is-failure", "the caller's mistakes are the host's failures",
     CLASSIFICATION, "404: (K.NOT_FOUND, V.SUCCESS, A.NO)", "404: (K.NOT_FOUND, V.FAILURE, A.SAFE)"),
    ("rejection-sends", "a refused call goes out all the same",
     HOST, "            verdict = self._consider(admission, None, now)\n",
     "            verdict = self._consider(admission, None, now)\n"
     "            if isinstance(verdict, Rejection):\n                verdict = None\n"),
    ("cancelled-is-failure", "a cancelled call is held against the host",
     FLOW, "call.state.settle(admission, Verdict.IGNORED, call", "call.state.settle(admission, Verdict.FAILURE, call"),
    # -- retries and budgets
    ("post-repeated", "an unsafe request is sent twice",
     RETRY, "if again is Again.SAFE and not request.is_safe(retry.methods):", "if again is None:"),
    ("sent-means-unsent", "a reset connection is taken for a request that was never sent",
     CLASSIFICATION, "K.CONNECTION_RESET: (V.FAILURE, A.SAFE, Sent.MAYBE)", "K.CONNECTION_RESET: (V.FAILURE, A.ANY, Sent.NO)"),
    ("one-too-many", "one attempt more than allowed",
     RETRY, "    if attempt > retry.max_retries:", "    if attempt > retry.max_retries + 1:"),
    ("used-body-repeated", "a body that cannot be read again is sent again",
     RETRY, "    if not request.body:\n        return Ending.BODY_NOT_REPLAYABLE", "    if request is None:\n"
     "        return Ending.BODY_NOT_REPLAYABLE"),
    ("budget-free", "retries cost nothing",
     RETRYING, "        if not state.withdraw(now):", "        if state.withdraw(now) is None:"),
    ("budget-from-failures", "failed calls pay for retries, too",
     COUNTING, "    if verdict is Verdict.SUCCESS:\n        ledger.budget.deposit(1)",
     "    if True:\n        ledger.budget.deposit(10)"),
    ("budget-token-lost", "a retry that was refused is paid for",
     FLOW, "        call.paid = False\n        call.state.give_back()", "        call.paid = False"),
    ("budget-overflows", "the budget grows without end while all is well",
     BUDGET, "        self._level = level if level < self._most else self._most", "        self._level = level"),
    ("no-jitter", "clients that failed together come back together",
     BACKOFF, "            return u * delay\n", "            return delay\n"),
    ("retry-after-ignored", "the server's own delay is not obeyed",
     RETRYING, "    if asked:  # 0", "    if asked is False:  # 0"),
    ("retry-after-early", "a retry comes before the server wanted it",
     BACKOFF, "    return server_delay + u *", "    return server_delay / 2 + u *"),
    ("retry-after-slept-out", "a delay of an hour is slept out",
     RETRYING, "    if asked is not None and asked > retry.max_retry_after:", "    if asked is not None and asked < 0:"),
    ("retry-after-raises", "a malformed Retry-After ends in an exception",
     CLASSIFICATION, "    if _SECONDS.match(value):", "    if value:"),
    ("gate-private", "only the call that was told waits",
     COUNTING, "            ledger.gate = max(ledger.gate, now + asked)", "            pass"),
    ("gate-uncapped", "a server can hold everybody back for years",
     COUNTING, "        asked = min(asked, MAX_GATE)", "        asked = asked + 0"),
    ("max-elapsed-ignored", "attempts start long after the call began",
     RETRYING, "retry.max_elapsed is not None and start - call.started > retry.max_elapsed",
     "retry.max_elapsed is not None and start < 0"),
    # -- time
    ("attempt-after-deadline", "an attempt starts after the deadline",
     FLOW, "state.admit(admission, now) if call.deadline is None or now < call.deadline else too_late(call, now)",
     "state.admit(admission, now)"),
    ("sleeps-over-deadline", "the backoff ignores the deadline",
     RETRYING, "(call.deadline is not None and start + state.usual_time() >= call.deadline)",
     "(call.deadline is not None and start < 0)"),
    ("queue-over-deadline", "a waiter is served after its deadline",
     WAITING, "            if ends is not None and now >= ends:\n                refused = too_late",
     "            if ends is not None and now < 0:\n                refused = too_late"),
    ("deadline-renewed", "every attempt gets the whole time again",
     FLOW, "        call.waited = state.now() - now\n",
     "        call.waited = state.now() - now\n        if call.deadline is not None:\n"
     "            call.deadline += state.now() - call.started\n"),
    # -- bulkhead
    ("one-permit-more", "one attempt more than the limit",
     BULKHEAD, "if len(self.live) + len(queue.granted) < self.limit and not queue.waiting:",
     "if len(self.live) + len(queue.granted) <= self.limit and not queue.waiting:"),
    ("overtaking", "latecomers are served before those who wait",
     BULKHEAD, "< self.limit and not queue.waiting:", "< self.limit:"),
    ("last-in-first-out", "who waits longest is served last",
     BULKHEAD, "            ticket = self.waiting[0]\n", "            ticket = self.waiting[-1]\n"),
    ("queue-unbounded", "any number may wait",
     BULKHEAD, "or queue.places(now) >= self.config.max_queue:", "or len(queue) < 0:"),
    ("wake-up-lost", "a free permit is granted and nobody is told",
     LEDGER, "        return sent_away + self.bulkhead.grant(now)\n",
     "        self.bulkhead.grant(now)\n        return sent_away\n"),
    ("grant-never-lapses", "a permit granted to a dead waiter is gone",
     BULKHEAD, "if now - since < CLAIM_WITHIN:", "if now >= 0:"),
    ("grant-leaks", "a waiter that gives up keeps what it was granted",
     BULKHEAD, "        ticket.turn = Turn.GONE\n        self.granted.pop(ticket, None)\n        try:",
     "        ticket.turn = Turn.GONE\n        try:"),
    ("held-while-sleeping", "the permit is held during the backoff",
     FLOW, "        _settle(call, admission, last, now)\n        refused = state.refuses(call, now)",
     "        call._held = admission\n        refused = state.refuses(call, now)"),
    ("waits-after-opening", "waiters go on waiting for a circuit that opened",
     LEDGER, "        if type(self.breaker.phase) in (Open, Isolated):", "        if self.is_closed:"),
    # -- what comes back, and what is told
    ("error-of-another-type", "the caller gets an exception the bare client never raises",
     FLOW, "    assert error is not None\n    return Failed(error)", "    return Failed(RuntimeError(str(error)))"),
    ("answer-swallowed", "the last answer is replaced by an error",
     FLOW, "    if last.response is not None and not last.raises:\n        _note(",
     "    if last.response is not None and not last.raises and outcome.kind is None:\n        _note("),
    ("answer-leaked", "an answer that is not wanted keeps its connection",
     FLOW, "            await runtime.discard(last.response, admission)\n            last.response = None",
     "            last.response = None"),
    ("told-twice", "a call ends twice",
     FLOW, "                    if state.hub.following:\n                        telling.call_ended(call)\n                    last = None",
     "                    if state.hub.following:\n                        telling.call_ended(call)\n"
     "                        telling.call_ended(call)\n                    last = None"),
    ("told-never", "a call that failed is never over for its listeners",
     FLOW, "    if call.state.hub.following:\n        telling.call_ended(call)\n    outcome, name", "    outcome, name"),
    # -- who is who
    ("tripped-forgotten", "an open circuit is forgotten to make room",
     REGISTRY, "is_like_new = state.is_like_new(now)", "is_like_new = True"),
    ("hosts-unbounded", "every host a stranger names is remembered",
     REGISTRY, "if len(self._states) >= self._max and not self._make_room(evicted) and not by_hand:", "if self._max < 0:"),
    ("strangers-open", "one sick stranger cuts off the others",
     REGISTRY, "self._hub, opens=False)", "self._hub, opens=True)"),
    # -- answers from elsewhere
    ("principal-forgotten", "one user's answer comes back to another",
     KEY, "            if name in _CREDENTIALS:\n                parts += (name, value)",
     "            if name in _CREDENTIALS:\n                parts += ()"),
    ("fields-forgotten", "an answer in another language comes back",
     KEY, "if name not in uncounted and name not in _CREDENTIALS:", "if name is None:"),
    ("no-store-stored", "what may not be remembered is",
     STORING, 'if "no-store" in control or "no-cache" in control:', 'if "no-store" in control and "no-cache" in control:'),
    ("must-revalidate-ignored", "a stale answer is given although its server forbade it",
     STORING, '    if "must-revalidate" in control:', '    if "must-never" in control:'),
    ("stale-for-ever", "an answer of any age is given",
     CACHE, "        if resident >= self.config.max_age:", "        if resident < 0:"),
    ("memory-unbounded", "answers are remembered without end",
     MEMORY, "while self._records and (len(self._records) >= max_entries", "while self._records and (len(self._records) < 0"),
    ("credential-crosses", "the other provider gets the first one's key",
     FALLBACK, "if same or name.lower() in crosses]", "if same or crosses]"),
    ("https-becomes-http", "a request goes on in the clear",
     FALLBACK, '        if old.scheme == "https" and new.scheme != "https":', '        if old.scheme == "ftp":'),
    ("post-twice-elsewhere", "what may have been done here is done there again",
     FALLBACK, "return not call.may_be_done or request.is_safe(", "return call.may_be_done is not None or request.is_safe("),
]
