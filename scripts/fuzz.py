"""Fuzz what reads outside data, guided by coverage: `make fuzz` (`python scripts/dev.py fuzz [SECONDS [TARGET …]]`).

Each target of tests/fuzz/targets.py runs for so many seconds (20 unless told) in a process of its own under atheris,
beginning with its seeds; what it finds is a file in fuzz-findings/, and the command to run it again is printed.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FINDINGS = ROOT / "fuzz-findings"
RUNS = re.compile(r"(?:stat::number_of_executed_units:\s*|Done )(\d+)")
COVERED = re.compile(r"cov: (\d+)")


def run_target(name: str, arguments: list[str]) -> None:
    """In a process of its own: libFuzzer never comes back."""
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["seawall"]):
        from tests.fuzz.targets import TARGETS

    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


def fuzz(name: str, seeds: list[bytes], seconds: int) -> bool:
    """True if nothing was found."""
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        command = [sys.executable, __file__, "--target", name, corpus, f"-max_total_time={seconds}", "-max_len=4096"]
        command += [f"-artifact_prefix={FINDINGS}/{name}-", "-print_final_stats=1", "-timeout=10"]
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, cwd=ROOT)
    said = done.stderr + done.stdout
    runs, covered = RUNS.findall(said), COVERED.findall(said)
    verdict = "ok" if done.returncode == 0 else "FOUND SOMETHING"
    print(
        f"{name:<16} {int(runs[-1]) if runs else 0:>10,} runs  {covered[-1] if covered else '?':>6} places covered  "
        f"{time.monotonic() - began:5.0f} s  {verdict}",
        flush=True,
    )
    if done.returncode:
        print(said[-3000:])
        print(f"again: {sys.executable} {__file__} --target {name} {FINDINGS}/{name}-…")
    return done.returncode == 0


def main(arguments: list[str]) -> int:
    sys.path[:0] = [str(ROOT), str(ROOT / "core")]
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])
    if arguments[:1] == ["--target"]:
        run_target(arguments[1], arguments[2:])
        return 0
    from tests.fuzz.targets import SEEDS, TARGETS

    seconds = int(arguments[0]) if arguments else 20
    names = arguments[1:] or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        print(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
        return 2
    FINDINGS.mkdir(exist_ok=True)
    verdicts = [fuzz(name, SEEDS.get(name, []), seconds) for name in names]
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
