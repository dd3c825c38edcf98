"""`python -m tests.interleave [SCENE …]`: every pair of operations in every scene, half an hour.

All schedules with one switch; with a finaliser in the midst; and for a share of the pairs, taken by chance, those with
two switches (`--twice 0.02`; 1 takes hours), and those with one between any two instructions (`--every 0.02`).
"""

import argparse
import gc
import random
import sys
import time
import warnings
from itertools import chain, product

from tests.interleave.exploring import explore, explore_inside
from tests.interleave.scenes import SCENES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.interleave", description=__doc__)
    parser.add_argument("scenes", nargs="*", help=f"only some of: {', '.join(SCENES)}")
    parser.add_argument("--twice", type=float, default=0.02, help="share of the pairs that are switched twice")
    parser.add_argument("--every", type=float, default=0.02, help="share of the pairs switched at any instruction")
    parser.add_argument("--seed", type=int, default=0, help="of the chance that takes them")
    arguments = parser.parse_args()
    if unknown := set(arguments.scenes) - set(SCENES):
        parser.error(f"no such scene: {', '.join(sorted(unknown))}")
    warnings.simplefilter("ignore", ResourceWarning)  # attempts die on purpose
    gc.collect()
    gc.freeze()
    chance, failed = random.Random(arguments.seed), 0
    for name in arguments.scenes or SCENES:
        scene, began, schedules, pairs = SCENES[name], time.monotonic(), 0, 0
        for first, second in product(scene.operations, repeat=2):
            pairs += 1
            judged = [explore(scene, first, second, twice=chance.random() < arguments.twice)]
            if chance.random() < arguments.every:
                judged.append(explore(scene, first, second, every=True))
            if second in scene.finalisers:
                judged.append(explore_inside(scene, first, second))
            for schedule, wrong in chain.from_iterable(judged):
                schedules += 1
                if wrong:
                    failed += 1
                    print(f"{name}: {schedule}: {'; '.join(wrong)}"[:1000], flush=True)
        print(f"{name}: {time.monotonic() - began:.0f} s, figures: {pairs} pairs, {schedules} schedules", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
