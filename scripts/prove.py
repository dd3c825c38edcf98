"""The long proofs: what the tests show with a few thousand cases, with as many as it takes to believe it.

`make prove` (`python scripts/dev.py prove [NAME …]`) runs those named, or all, one after the other, and prints a line
for each: how it ended, how long it took, and its figures. A proof is a command; its figures are the lines it prints
that begin with "figures:", summed by their words, or else its last line.
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PYTEST = ("-m", "pytest", "-q", "-s", "-p", "no:cacheprovider")
FIGURE = re.compile(r"(\d+) ([^,]+)")


class Proof(NamedTuple):
    """What is shown, by which command (arguments to Python) in which environment."""

    says: str
    command: tuple[str, ...]
    environment: dict[str, str] = {}  # noqa: RUF012 - of a tuple, and never changed


PROOFS = {
    "kills": Proof(
        "workers of the outbox killed at random moments lose nothing and double nothing",
        (*PYTEST, "tests/outbox/test_kills.py"),
        {"SEAWALL_KILLS": "1000"},
    ),
    "payments": Proof(
        "nothing unsafe goes out twice without a key, a 429, or proof that nothing was sent", ("-m", "tests.payments")
    ),
    "leaks": Proof(
        "nobody is given an answer that is not theirs, too old or untrue",
        (*PYTEST, "tests/core/degrade/test_leaks.py", "-k", "nobody_is"),
        {"SEAWALL_LEAK_REQUESTS": "1000000"},
    ),
    "simulator": Proof(
        "a million simulated calls keep every promise",
        ("-m", "seawall.testing", "--first", "1000", "--total", "1000000"),
    ),
    "interleavings": Proof(
        "of two threads, switched once or twice wherever CPython may, one seems to come after the other",
        ("-m", "tests.interleave"),
    ),
    "spec": Proof("the test of each row of docs/specification.md can fail", ("scripts/prove_spec.py",)),
    "bugs": Proof("bugs that others had, made on purpose one at a time, are noticed", ("scripts/prove_bugs.py",)),
}


def figures(output: str) -> str:
    """What a proof says of itself."""
    lines = [line.strip(" .") for line in output.splitlines() if line.strip(" .")]
    told = [line.partition("figures:")[2] for line in lines if "figures:" in line]
    sums: Counter[str] = Counter()
    for line in told:
        for number, what in FIGURE.findall(line):
            sums[what] += int(number)
    return ", ".join(f"{number:,} {what}" for what, number in sums.items()) or (lines[-1] if lines else "")


def prove(name: str, proof: Proof) -> bool:
    """Run it and print its line; of one that failed, all it said."""
    print(f"{name:<13} {proof.says} …", flush=True)
    paths = os.pathsep.join(filter(None, (str(ROOT), str(ROOT / "core"), os.environ.get("PYTHONPATH"))))
    environment = os.environ | proof.environment | {"PYTHONPATH": paths}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, *proof.command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n")
    verdict = "FAILED" if done.returncode else "proved"
    print(f"{name:<13} {verdict} in {time.monotonic() - began:,.0f} s: {figures(done.stdout)}", flush=True)
    return not done.returncode


def main(wanted: list[str]) -> int:
    if unknown := set(wanted) - set(PROOFS):
        print(f"no such proof: {', '.join(sorted(unknown))}; there are {', '.join(PROOFS)}")
        return 2
    failed = [name for name in wanted or PROOFS if not prove(name, PROOFS[name])]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
