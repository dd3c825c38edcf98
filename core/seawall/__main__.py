"""The command line: `python -m seawall`, or `seawall`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the subcommand named on the command line and return its exit status; without one, print the help."""
    parser = argparse.ArgumentParser(prog="seawall", description="Keeps HTTP calls working when a host falls ill.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    # They read their own options, so that `seawall` alone does not have to import them; their -h is their own too.
    commands.add_parser("demo", add_help=False, help="bare and mounted clients beside each other, in half a minute")
    commands.add_parser("outbox", add_help=False, help="outbox run FILE --client module:name sends what is queued")
    commands.add_parser("health", add_help=False, help="health URL_OR_FILE prints what a health page shows")
    options, rest = parser.parse_known_args(argv)
    if options.command == "demo":
        from seawall import demo

        return demo.main(rest)
    if options.command == "outbox":
        from seawall import worker

        return worker.main(rest)
    if options.command == "health":
        from seawall.health import command

        return command.main(rest)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    parser.print_help()
    return 0


if __name__ == "__main__":
    sys.exit(main())
