"""Show the simulator finding one bug of tests/seeded/bugs.py: `python scripts/show_bug.py NAME`.

The bug is made in a copy of the packages. There the swarm runs until a promise is broken, makes that small, and says
what replays it; the replay then runs with the bug and without it. Fails unless the first fails and the second does not.
"""

import re
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.edited import ROOT, Copies, run
from scripts.prove_bugs import LONGEST, known

REPLAY = re.compile(r"^replay: python (.+)$", re.MULTILINE)


def show(name: str, arguments: Sequence[str] = ("-m", "seawall.testing")) -> int:
    """Run the simulator with these arguments where the bug is, then what it says replays the failure."""
    bugs = {bug.name: bug for bug in known()[0]}
    if name not in bugs:
        print(f"no such bug: {name}; there are {', '.join(bugs)}")
        return 2
    bug = bugs[name]
    print(f"{name}: {bug.does}, by an edit of {bug.file}")
    with tempfile.TemporaryDirectory(prefix="show-bug-") as place:
        copies = Copies(Path(place))
        copies.begin(("-c", "pass"), longest=LONGEST)
        with copies.edited(bug.file, bug.old, bug.new) as root:
            said = run(arguments, root, LONGEST).said
            print(said, end="")
            found = REPLAY.search(said)
            if found is None:
                print("the simulator does not see it")
                return 1
            replay = shlex.split(found[1])
            broken = run(replay, root, LONGEST)
        whole = run(replay, ROOT, LONGEST)
    print(f"with the bug:\n{broken.said}without it:\n{whole.said}", end="")
    return 0 if broken.code == 1 and whole.code == 0 else 1


if __name__ == "__main__":
    sys.exit(show(*sys.argv[1:2]) if sys.argv[1:] else (print(__doc__), 2)[1])
