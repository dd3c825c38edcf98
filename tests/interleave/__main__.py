"""`python -m tests.interleave [SCENE …]`: every pair of operations, every schedule with one switch or two.

And with one switch between any two instructions, and with a finaliser in the midst: `--once`, `--every`, `--inside`
choose, `--share 0.1` plays that share of the pairs. Minutes, or an hour for all.
"""

import argparse
import gc
import random
import sys
import time
import warnings
from itertools import product

from tests.interleave.exploring import explore, explore_inside
from tests.interleave.scenes import SCENES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.interleave", description=__doc__)
    parser.add_argument("scenes", nargs="*", help=f"only some of: {', '.join(SCENES)}")
    parser.add_argument("--once", action="store_true", help="one switch only")
    parser.add_argument("--every", action="store_true", help="one switch, between any two instructions")
    parser.add_argument("--inside", action="store_true", help="the second in the midst of the first")
    parser.add_argument("--share", type=float, default=1.0, help="of the pairs, taken by chance (0 to 1)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if unknown := set(arguments.scenes) - set(SCENES):
        parser.error(f"no such scene: {', '.join(sorted(unknown))}")
    warnings.simplefilter("ignore", ResourceWarning)  # attempts die on purpose
    gc.collect()
    gc.freeze()
    chance, failed = random.Random(arguments.seed), 0
    for name in arguments.scenes or SCENES:
        scene, began, schedules, pairs = SCENES[name], time.monotonic(), 0, 0
        for first, second in product(scene.operations, scene.finalisers if arguments.inside else scene.operations):
            if chance.random() >= arguments.share:
                continue
            pairs += 1
            if arguments.inside:
                judged = explore_inside(scene, first, second)
            else:
                once = arguments.once or arguments.every
                judged = explore(scene, first, second, twice=not once, every=arguments.every)
            for schedule, wrong in judged:
                schedules += 1
                if wrong:
                    failed += 1
                    print(f"{name}: {schedule}: {'; '.join(wrong)}"[:1000], flush=True)
        print(f"{name}: {time.monotonic() - began:.0f} s, figures: {pairs} pairs, {schedules} schedules", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
