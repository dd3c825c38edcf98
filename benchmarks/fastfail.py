"""What does a refused call cost while the breaker is open: exception made, raised and caught?"""

import importlib
from typing import Any

from benchmarks.clients import TIMEOUT, clock
from benchmarks.measure import BARE, FLOOR, LEAN, OURS, Block, Figures, Goal, paired, say_once, table
from benchmarks.subjects import make, sync_subjects

SUBJECTS = (BARE, FLOOR, LEAN, "interlock-cb", "pybreaker", "circuitbreaker", "purgatory", OURS)
TRIES = 200


def run(quick: bool) -> list[Goal]:
    found = {library: measure(library, 0.2 if quick else 5.0) for library in ("httpx", "httpx2")}
    for library, figures in found.items():
        floor = figures[FLOOR].each
        table(
            f"A refusal while open ({library} sync, direct; bare raises ConnectError itself)",
            ("subject", "µs", "IQR", "× the floor's"),
            (
                (name, f"{f.each:.2f}", f"{f.spread:.2f}", f"{f.each / floor:.2f}")
                for name, f in sorted(figures.items(), key=lambda item: item[1].each)
            ),
        )
    return [
        Goal(
            "refusal while open, × the floor's",
            1.5,
            {library: f[OURS].each / f[FLOOR].each for library, f in found.items() if OURS in f},
        )
    ]


def measure(library: str, seconds: float) -> dict[str, Figures]:
    hx = importlib.import_module(library)

    class Down(hx.BaseTransport):
        def handle_request(self, request: Any) -> Any:
            raise hx.ConnectError("down")

    # A host of its own: subjects that learn per process would refuse the other questions' calls too.
    request = hx.Request("GET", f"http://down.{library}.example.com/v1")
    blocks = {}
    for name, transport in make(sync_subjects(hx), Down, SUBJECTS).items():
        blocks[name] = block(transport, request)
        if name != BARE and not opens(hx, transport, request):
            say_once(f"skipped: {name} (it did not open after {TRIES} failures)")
            del blocks[name]
    return paired(blocks, 200, seconds)


def opens(hx: Any, transport: Any, request: Any) -> bool:
    for _ in range(TRIES):
        request.extensions = {"timeout": TIMEOUT}
        try:
            transport.handle_request(request)
        except Exception as error:
            if type(error) is not hx.ConnectError:
                return True
    return False


def block(transport: Any, request: Any) -> Block:
    def refused(n: int) -> float:
        call = transport.handle_request
        start = clock()
        for _ in range(n):
            request.extensions = {"timeout": TIMEOUT}
            try:
                call(request)
            except Exception:
                pass
        return clock() - start

    return refused
