"""Every developer task, with nothing but a Python: `python scripts/dev.py help`.

Makes .venv on first use (with uv if it is on PATH, else venv and pip) and again whenever pyproject.toml,
constraints.txt or the Python changes. The Makefile is a set of short names for this file.
"""

import os
import subprocess
import sys

# An old Python reads this whole file before it gets here: no syntax newer than 3.8 anywhere in it.
if sys.version_info < (3, 11):
    for _minor in range(20, 10, -1):
        _newer = f"python3.{_minor}"
        try:  # run it: a name on PATH may be a shim with nothing behind it
            if subprocess.call([_newer, "-c", ""], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
                sys.exit(subprocess.call([_newer, *sys.argv]))
        except OSError:
            continue
    sys.exit(f"seawall needs Python 3.11 or newer; this is {sys.version.split()[0]}, and no newer one is on PATH")

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = str(BIN / "python")
STAMP = VENV / "seawall-setup"
EXTRAS = ".[httpx,httpx2,requests,install,otel,prometheus,demo]"

CHECKS: dict[str, list[str]] = {
    "format": [PYTHON, "-m", "ruff", "format", "--check", "."],
    "lint": [PYTHON, "-m", "ruff", "check", "."],
    "mypy": [PYTHON, "-m", "mypy"],
    "pyright": [PYTHON, "-m", "pyright", "--pythonpath", PYTHON],
    "imports": [str(BIN / "lint-imports"), "--no-cache", "--no-logo"],
    "docs": [PYTHON, "-m", "pytest", "tests/docs"],
}


def run(command: Sequence[str]) -> int:
    # Without the variable pyright asks the network at each start whether a newer version is out.
    environment = os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def setup(_arguments: Sequence[str] = ()) -> int:
    """make .venv with everything the other commands need (skipped while nothing changed)"""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    made_for, contents = f"{sys.version} in {ROOT}", digest.hexdigest()
    stamp = STAMP.read_text().rpartition("\n") if STAMP.exists() and Path(PYTHON).exists() else ("", "", "")
    if stamp == (made_for, "\n", contents):
        return 0
    print(f"setting up .venv for Python {sys.version.split()[0]} (once, about a minute)", flush=True)
    if stamp[0] != made_for:
        shutil.rmtree(VENV, ignore_errors=True)
    STAMP.unlink(missing_ok=True)  # an interrupted setup must not look finished
    if status := make(VENV, ["-c", "constraints.txt", "-e", EXTRAS, "--group", "dev"]):
        return status
    STAMP.write_text(f"{made_for}\n{contents}")
    return 0


def make(place: Path, packages: Sequence[str]) -> int:
    """An environment at `place` with `packages`, with uv or with venv and pip."""
    # The base interpreter: .venv cannot be made anew with its own python.
    base: str = getattr(sys, "_base_executable", sys.executable)
    python = str(place / BIN.name / "python")
    if uv := shutil.which("uv"):
        commands = [[uv, "venv", "--quiet", "--allow-existing", "--python", base, str(place)]]
        commands += [[uv, "pip", "install", *packages, "--quiet", "--python", python]]
    else:
        commands = [[base, "-m", "venv", str(place)]]
        # pip learned --group in 25.1; the one that comes with Python 3.11 to 3.13 is older.
        commands += [[python, "-m", "pip", "install", "-qq", "--upgrade", "pip>=25.1"]]
        commands += [[python, "-m", "pip", "install", *packages, "-qq"]]
    for command in commands:
        if status := run(command):
            return status
    return 0


def test(arguments: Sequence[str]) -> int:
    """run the tests; arguments go to pytest"""
    return setup() or run([PYTHON, "-m", "pytest", *arguments])


# Those that show the core; the others show it under load, with every client, or strike where the tracer would stand.
COVERING = (
    *("tests/core", "--ignore=tests/core/test_interrupts.py"),
    *("tests/drivers", "--ignore=tests/drivers/test_concurrency.py", "--ignore=tests/drivers/test_processes.py"),
    *("-k", "not 200_forks"),
    *("tests/health", "tests/install", "tests/telemetry", "tests/testing"),
    *("tests/outbox", "--ignore=tests/outbox/test_kills.py"),
    *(f"tests/contract/test_{name}.py" for name in ("bodies", "degradation", "keys", "sent", "stale")),
    *(f"tests/httpx/test_{name}.py" for name in ("extensions", "held", "sdks", "sdk_streams", "stale_uploads")),
    *("tests/requests", "--ignore=tests/requests/test_interrupts.py"),
)


def coverage(arguments: Sequence[str]) -> int:
    """run the tests that show the core, and print each line and branch that none took; arguments: other tests"""
    if status := setup():
        return status
    tool = [PYTHON, "-m", "coverage"]
    # The same examples in each run: a line that one run in ten comes to is not covered.
    chance = ["-p", "no:cacheprovider", "-q", "--hypothesis-seed=1"]
    run([*tool, "erase"])
    failed = run([*tool, "run", "-m", "pytest", *chance, *(arguments or COVERING)])
    return run([*tool, "combine", "--quiet"]) or run([*tool, "report"]) or failed


def demo(arguments: Sequence[str]) -> int:
    """the same traffic through bare and mounted clients while servers misbehave"""
    return setup() or run([PYTHON, "-m", "seawall", "demo", *arguments])


def check(arguments: Sequence[str]) -> int:
    """format, lint, mypy, pyright, imports, docs; or only those named"""
    if unknown := set(arguments) - set(CHECKS):
        print(f"no such check: {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}")
        return 2
    if status := setup():
        return status
    failed: list[str] = []
    for name in arguments or CHECKS:
        print(f"--- {name}", flush=True)
        started = time.perf_counter()
        verdict = "FAILED" if run(CHECKS[name]) else "ok"
        if verdict == "FAILED":
            failed.append(name)
        print(f"--- {name}: {verdict} in {time.perf_counter() - started:.1f} s", flush=True)
    print(f"check failed: {', '.join(failed)}" if failed else "check passed")
    return 1 if failed else 0


def bench(arguments: Sequence[str]) -> int:
    """what a request costs, beside the peers; arguments go to the benchmarks"""
    return setup() or run([PYTHON, "-m", "benchmarks", *arguments])


def soak(arguments: Sequence[str]) -> int:
    """call servers that misbehave for so many minutes (60), and see whether anything grows or stays behind"""
    minutes, *rest = arguments or ["60"]
    return setup() or run([PYTHON, "-m", "benchmarks.soak", "--minutes", minutes, *rest])


def pictures(_arguments: Sequence[str]) -> int:
    """take the pictures of the health page in docs/ anew (needs Chromium and its driver)"""
    return setup() or run([PYTHON, "-m", "scripts.pictures"])


# opentelemetry-api cannot be among them: the instrumentations that our spans are tested beside want a newer one.
FLOORS = ("httpx", "httpx2", "requests", "install", "prometheus")
NEWER = (
    "httpx/test_mocks",
    "install/test_plays_along",
    "httpx/test_sdks",
    "httpx/test_sdk_streams",
    "install/test_sdks",
)
"""Tests of what wants newer clients than the oldest: pytest-httpx, SDKs."""
TUNNEL = "test__reset_after_the_first_bytes_in_a_tunnel__goes_out_once"


def oldest(arguments: Sequence[str]) -> int:
    """run the mounts' tests on the oldest clients that pyproject.toml allows; arguments go to pytest"""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    packages = [floor.replace(">=", "==") for name in FLOORS for floor in extras[name]]
    packages += [name for name in project["dependency-groups"]["test"] if name != "pytest-httpx"]
    tests = ["tests/contract", "tests/httpx", "tests/requests", "tests/install", "tests/telemetry/test_prometheus.py"]
    for file in NEWER:
        tests += ["--ignore", f"tests/{file}.py"]
    for kit in ("httpx-asyncio", "httpx-trio"):  # httpx 0.27 forgets the SSL context of a proxy
        tests += ["--deselect", f"tests/contract/test_sent.py::{TUNNEL}[{kit}-https]"]
    with tempfile.TemporaryDirectory() as place:
        python = str(Path(place) / BIN.name / "python")
        return make(Path(place), packages) or run([python, "-m", "pytest", *tests, *arguments])


INSTALLED = """
import importlib.metadata, httpx, seawall
files = [str(file) for file in importlib.metadata.files("seawall")]
packages = {name.partition("/")[0] for name in files if not name.startswith(("..", "seawall-"))}
assert packages == {"seawall", "pytest_seawall", "httpx_resilience", "requests_resilience"}, packages
assert all(f"{package}/py.typed" in files for package in packages), "a py.typed is missing"
assert {"seawall/health/schema.json", "seawall/health/style.css"} <= set(files), "the health page is not whole"
client = seawall.mount(httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200))))
assert seawall.report(client.get("http://a.test/")).attempts[0].status == 200
print("the wheel works from", seawall.__file__)
"""


def wheel(_arguments: Sequence[str]) -> int:
    """build the wheel, install it beside httpx alone, and use it from there"""
    with tempfile.TemporaryDirectory() as place:
        python = str(Path(place) / BIN.name / "python")
        return make(Path(place), [".[httpx]"]) or run([python, "-I", "-W", "error", "-c", INSTALLED])


def apart(name: str, packages: Sequence[str], command: Sequence[str]) -> int:
    """Run a command of an environment of its own, for what is there for few platforms, or brings much with it."""
    place = ROOT / name
    stamp = place / STAMP.name
    if not stamp.exists():  # an interrupted setup must not look finished
        shutil.rmtree(place, ignore_errors=True)
        if status := make(place, packages):
            return status
        stamp.touch()
    tool, *arguments = command
    return run([str(place / BIN.name / tool), *arguments])


def fuzz(arguments: Sequence[str]) -> int:
    """fuzz what reads outside data, guided by coverage; arguments: seconds for each target (20), names of targets"""
    return apart(".venv-fuzz", ["-e", ".", "--group", "fuzz"], ["python", "scripts/fuzz.py", *arguments])


def mutants(arguments: Sequence[str]) -> int:
    """change the core one step at a time and see whether a test minds; arguments: modules, tests to run instead"""
    packages = ["-c", "constraints.txt", "--group", "test", "--group", "mutants"]
    return apart(".venv-mutants", packages, ["python", "scripts/mutants.py", *arguments])


def interleave(arguments: Sequence[str]) -> int:
    """play the ways in which two threads can come together, under frontrun; arguments: names of scenes"""
    python = str(ROOT / ".venv-interleave" / BIN.name / "python")
    command = ["frontrun", python, "scripts/interleave.py", *arguments]
    return apart(".venv-interleave", ["-e", ".", "--group", "interleave"], command)


def prove_bugs(arguments: Sequence[str]) -> int:
    """make each bug of tests/seeded/bugs.py and see what catches it; arguments: names of bugs"""
    return setup() or run([PYTHON, "scripts/prove_bugs.py", *arguments])


def docs(arguments: Sequence[str]) -> int:
    """build the documentation as a site, in site/; a broken link between its pages fails"""
    return setup() or run([str(BIN / "zensical"), "build", "--strict", *arguments])


def behaviour(arguments: Sequence[str]) -> int:
    """policies and a host in trouble, simulated: load, good answers, recovery (--seed N: another run of chance)"""
    return setup() or run([PYTHON, "-m", "benchmarks.behaviour", *arguments])


def prove(arguments: Sequence[str]) -> int:
    """run the long proofs; arguments name some of those in scripts/prove.py"""
    return setup() or run([PYTHON, "scripts/prove.py", *arguments])


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "setup": setup,
    "test": test,
    "coverage": coverage,
    "demo": demo,
    "check": check,
    "bench": bench,
    "soak": soak,
    "behaviour": behaviour,
    "docs": docs,
    "pictures": pictures,
    "fuzz": fuzz,
    "interleave": interleave,
    "mutants": mutants,
    "prove-bugs": prove_bugs,
    "prove": prove,
    "oldest": oldest,
    "wheel": wheel,
}


def main(arguments: Sequence[str]) -> int:
    name, *rest = arguments or ["help"]
    if name in COMMANDS:
        return COMMANDS[name](rest)
    print("usage: python scripts/dev.py COMMAND [ARGUMENTS]\n")
    for known, command in COMMANDS.items():
        print(f"  {known:<10} {command.__doc__}")
    return 0 if name in ("help", "-h", "--help") else 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
