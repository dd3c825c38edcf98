"""Change the core one small step at a time and see whether a test minds: `make mutants ARGS="[MODULE …] [TESTS …]"`.

The changes and the switches between them are mutmut's: every function is there many times over, as it is and with one
operator, number, name, argument or word changed, and a variable says which one runs. What runs them is ours, since
mutmut collects the tests anew for each mutant: here pytest collects once, every test is run once to see which functions
it reaches, and then each mutant gets a fork in which those tests run, nearest first, until one fails.

A module is named as in the source, or a function of it: `policies/breaker`, `host:HostState.admit`; none means all.
Paths under tests/ are run instead of those chosen here. A mutant that no test minds fails the command, unless
tests/mutants/equivalent.txt says why nobody could; so does an entry there that is not needed any more.
"""

import difflib
import gc
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = ROOT / "tests" / "mutants" / "equivalent.txt"
MODULES = (
    "stats/quantile", "stats/window", "backoff", "outcome", "policies/budget", "policies/retry", "policies/bulkhead",
    "policies/timeouts", "policies/breaker", "counting", "ledger", "waiting", "host", "flow", "retrying",
)  # fmt: skip
LEFT_OUT = (
    "tests/core/stores", "tests/core/degrade/test_[klrsv]*.py", "tests/core/degrade/test_cache*.py",
    "*_model.py",  # at random, and slow: what they find ought to have a plain test, too
    "*interrupt*.py",  # strike at each instruction: there are others in a switch
    "tests/core/test_imports.py", "tests/core/test_bodies.py", "tests/core/test_inspect_stream.py",
    "tests/core/test_pattern.py", "tests/core/degrade/test_against_hishel.py",
)  # fmt: skip
NOT_THESE = (
    "await_nothing_but_the_runtime",  # reads the source
    "the_way_is_the_bare_one",  # reads names of functions
    "100_000_random_hosts",  # half a minute
)
SECONDS = 2.0
"""Of processor time for a test, and ten times what it takes without a mutant; more is an endless loop."""
NEAREST = 300
"""Tests that are run first, of those that reach a function: the ones that reach the fewest others. What is in the
list of equivalents is spared the rest."""


class Mutant(NamedTuple):
    name: str
    function: str
    diff: str
    """Where, and the lines taken away and put in."""


def generate(tree: Path, module: str, functions: set[str]) -> list[Mutant]:
    """Put the module with all its mutants into the tree; those of these functions, or of all, are to be run."""
    file = f"core/seawall/{module}.py"
    made = import_module("mutmut.mutation.file_mutation").mutate_file_contents(file, (ROOT / file).read_text("utf-8"))
    (tree / file).write_text(made.code, "utf-8")
    lines, spans = made.code.splitlines(), made.line_span_by_function_name
    mutants: list[Mutant] = []
    for name in made.mutant_names:
        mangled = name.rpartition("__mutmut_")[0]
        where = mangled.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
        if functions and where not in functions:
            continue

        def source(version: str, where: str = where) -> list[str]:
            span = spans[version]
            return [
                line.replace(version, where.rpartition(".")[2]).strip() for line in lines[span.start - 1 : span.end]
            ]

        changed = difflib.unified_diff(source(f"{mangled}__mutmut_orig"), source(name), n=0, lineterm="")
        diff = [f"{line[0]} {line[1:]}" for line in changed if not line.startswith(("---", "+++", "@@"))]
        package = "seawall." + module.replace("/", ".")
        mutants.append(Mutant(f"{package}.{name}", f"{package}.{mangled}", "\n".join([f"{module} {where}", *diff])))
    return mutants


class Loop:
    """Instead of pytest's own loop over the tests."""

    def __init__(self, mutants: dict[str, list[Mutant]]) -> None:
        self.mutants = mutants
        self.equivalent = equivalents()
        self.survivors: list[Mutant] = []
        self.figures: dict[str, Counter[str]] = {}
        self.broken = False
        self.failed = False

    def passes(self, item: Any) -> bool:
        self.failed = False
        item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
        return not self.failed

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.failed = self.failed or report.failed

    def pytest_runtestloop(self, session: Any) -> bool:
        trampoline = import_module("mutmut.mutation.trampoline")
        reached, costs = self.survey(session.items, trampoline)
        if self.broken:
            return True
        gc.collect()
        gc.freeze()
        for module, mutants in self.mutants.items():
            began, count = time.monotonic(), Counter[str]()
            for mutant in mutants:
                items = reached[mutant.function]
                most = NEAREST if mutant.diff in self.equivalent else len(items)
                verdict = self.run_in_fork(mutant.name, items, most, costs, trampoline) if items else "not reached"
                count[verdict] += 1
                if verdict in ("survived", "not reached"):
                    self.survivors.append(mutant)
                    print(f"\n{verdict}: {mutant.diff}", flush=True)
            self.figures[module] = count
            told = ", ".join(f"{number} {verdict}" for verdict, number in sorted(count.items()))
            print(f"{module}: {len(mutants)} mutants: {told}, {time.monotonic() - began:.0f} s", flush=True)
        return True

    def survey(self, items: Sequence[Any], trampoline: Any) -> tuple[dict[str, list[Any]], dict[Any, float]]:
        """Which tests reach which function, and what each costs."""
        hits: set[str] = set()
        trampoline.record_trampoline_hit = lambda name, **_: hits.add(name)
        reached: dict[str, list[Any]] = defaultdict(list)
        reach: dict[Any, int] = {}
        costs: dict[Any, float] = {}
        for item in items:
            hits.clear()
            trampoline.set_mutant_under_test("stats")
            began = time.process_time()
            if not self.passes(item):
                print(f"fails without a mutant: {item.nodeid}", flush=True)
                self.broken = True
            costs[item] = time.process_time() - began
            trampoline.set_mutant_under_test("")
            for function in hits:
                reached[function].append(item)
            reach[item] = len(hits)
        for tests in reached.values():
            tests.sort(key=lambda item: (reach[item], costs[item]))
            tests[:NEAREST] = sorted(tests[:NEAREST], key=costs.__getitem__)
            tests[NEAREST:] = sorted(tests[NEAREST:], key=costs.__getitem__)
        return reached, costs

    def run_in_fork(self, name: str, items: list[Any], most: int, costs: dict[Any, float], trampoline: Any) -> str:
        """The test that kills it goes to the front: it is likely to kill the function's other mutants."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
                trampoline.set_mutant_under_test(name)
                for number, item in enumerate(items[:most]):
                    limit = SECONDS + 10 * costs[item]
                    signal.setitimer(signal.ITIMER_VIRTUAL, limit)
                    signal.setitimer(signal.ITIMER_REAL, 30 * limit)  # waiting for a lock takes no processor time
                    os.write(writing, number.to_bytes(4, "big"))
                    if not self.passes(item):
                        break
                else:
                    status = 0
            finally:
                os._exit(status)
        os.close(writing)
        with open(reading, "rb") as pipe:
            last = int.from_bytes(pipe.read()[-4:], "big")
        _, status = os.waitpid(child, 0)
        if status == 0:
            return "survived"
        items.insert(0, items.pop(last))
        return "killed" if os.WIFEXITED(status) else "killed by the clock"


def equivalents() -> Counter[str]:
    """The diffs in the list. An entry: where, the lines taken away and put in, why; a blank line."""
    entries: Counter[str] = Counter()
    for entry in EQUIVALENT.read_text("utf-8").split("\n\n"):
        lines = [line for line in entry.splitlines() if not line.startswith("#")]
        if lines:
            entries["\n".join([lines[0], *(line for line in lines[1:] if line.startswith(("- ", "+ ")))])] += 1
    return entries


def main(arguments: Sequence[str]) -> int:
    tests = [argument for argument in arguments if argument.startswith("tests/")] or ["tests/core"]
    wanted: dict[str, set[str]] = {}
    for argument in [argument for argument in arguments if not argument.startswith("tests/")] or MODULES:
        module, _, function = argument.partition(":")
        wanted.setdefault(module, set()).update({function} - {""})
    with tempfile.TemporaryDirectory() as tree:
        return judge(Path(tree), wanted, tests)


def judge(tree: Path, wanted: dict[str, set[str]], tests: Sequence[str]) -> int:
    shutil.copytree(ROOT / "core", tree / "core")
    shutil.copytree(ROOT / "tests", tree / "tests")
    shutil.copy(ROOT / "pyproject.toml", tree)
    os.chdir(tree)
    # Hypothesis: the same examples each time, and no database of them.
    os.environ |= {"CI": "true", "MUTANT_UNDER_TEST": ""}
    loop = Loop({module: generate(tree, module, functions) for module, functions in wanted.items()})
    options = [
        "-o", "addopts=--import-mode=importlib", "-p", "no:terminal", "-p", "no:cacheprovider",
        "-o", "faulthandler_timeout=0", "-k", " and ".join(f"not {name}" for name in NOT_THESE),
    ]  # fmt: skip
    options += [f"--ignore-glob={tree}/{pattern}" for pattern in LEFT_OUT]
    status = int(import_module("pytest").main([*options, *tests], plugins=[loop]))
    if status or loop.broken:
        print("the tests do not pass without a mutant")
        return 2
    found = Counter(mutant.diff for mutant in loop.survivors)
    places = {mutant.diff.partition("\n")[0] for mutants in loop.mutants.values() for mutant in mutants}
    listed = Counter({diff: n for diff, n in loop.equivalent.items() if diff.partition("\n")[0] in places})
    for diff in (found - listed).elements():
        print(f"\nSURVIVED\n{diff}")
    for diff in (listed - found).elements():
        print(f"\nLISTED, BUT NO SURVIVOR\n{diff}")
    total, unexpected, stale = sum(map(len, loop.mutants.values())), found - listed, listed - found
    known = (found & listed).total()
    print(f"\n{total} mutants, {total - found.total()} killed, {known} equivalent, {unexpected.total()} survived")
    return 1 if unexpected or stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
