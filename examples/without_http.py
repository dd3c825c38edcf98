"""`execute`: breaker, budget, retries and deadline around any function, sync or async, with no HTTP in sight."""

import asyncio

from seawall import Breaker, CircuitOpen, NonRetryable, Policy, Resilience, Retry

resilience = Resilience(
    {
        "ledger": Policy(retry=Retry(max_retries=4, base_delay=0.01)),
        "printer": Policy(retry=None, breaker=Breaker(failure_threshold=2, min_failure_span=0)),
    }
)
calls = 0


def read_ledger(account: str) -> str:
    global calls
    calls += 1
    if calls < 3:
        raise ConnectionError("the ledger is busy")
    return f"account {account} is in balance"


async def print_page() -> None:
    await asyncio.sleep(0)
    raise OSError("out of paper")


async def main() -> None:
    print(resilience.execute("ledger", read_ledger, "4711"), f"(attempt {calls})")
    for _ in range(3):
        try:
            await resilience.aexecute("printer", print_page)
        except NonRetryable as error:  # with retries off, the first failure is the last
            print("the printer:", error.last_error)
        except CircuitOpen as error:
            print("refused without trying:", error)


if __name__ == "__main__":
    asyncio.run(main())
