"""Print into docs/ what the code says of itself: `python scripts/print_tables.py`, with `--check` only look.

A printed section stands between `<!-- printed: NAME -->` and `<!-- /printed -->`. NAME is a key of `SECTIONS`; what
stands between the marks is replaced, everything else of the page is left alone. tests/docs/test_tables.py fails when a
page was not printed anew.
"""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path

from seawall import (
    AdaptiveBudget,
    Breaker,
    Bulkhead,
    ErrorKind,
    Policy,
    QueueForRetry,
    Retry,
    RetryBudget,
    Timeouts,
    TokenBudget,
)
from seawall import errors as errors_module
from seawall import events as events_module
from seawall._check import UNSET
from seawall.classification import ERRORS, STATUSES, Row, of_event, of_status
from seawall.degrade.credentials import KNOWN
from seawall.degrade.fields import NOISE
from seawall.degrade.stale import StaleResponse
from seawall.degrade.storing import GOOD
from seawall.effective import Effective
from seawall.policies.breaker import TRANSITIONS
from seawall.telemetry._measures import INSTRUMENTS
from seawall.vendors import ANNOUNCEMENTS, WORDS

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").glob("**/*.md"))
SECTION = re.compile(
    r"^<!-- printed: (?P<name>[^\n]+?) -->\n(?P<body>.*?)^<!-- /printed -->$", re.MULTILINE | re.DOTALL
)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def value(of: object) -> str:
    """A figure, for a cell of a table."""
    if of is UNSET:
        return "not set"
    if of is MISSING:
        return "has to be given"
    if isinstance(of, float):
        return f"`{of:g}`"
    if isinstance(of, frozenset):
        return "`{" + ", ".join(sorted(str(member) for member in of)) + "}`"  # pyright: ignore[reportUnknownVariableType]
    return f'`"{of}"`' if isinstance(of, str) else f"`{of}`"


def documented(kind: type) -> Iterator[tuple[str, str]]:
    """The fields of a class with the text that stands under each."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    for here, below in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(here, ast.AnnAssign) and isinstance(here.target, ast.Name):
            text = below.value if isinstance(below, ast.Expr) else None
            said = text.value if isinstance(text, ast.Constant) and isinstance(text.value, str) else ""
            yield here.target.id, " ".join(said.split())


def fields_of(kind: type) -> str:
    defaults = {field.name: field.default for field in fields(kind)}
    rows = ((f"`{name}`", value(defaults[name]), text) for name, text in documented(kind) if name in defaults)
    return table(("field", "default", "meaning"), rows)


def transitions() -> str:
    rows = ((before.name, trigger.value, after.name) for (before, trigger), after in TRANSITIONS.items())
    return table(("from", "when", "to"), rows)


def diagram() -> str:
    """The same as a picture, one arrow for each pair of phases."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (before, trigger), after in TRANSITIONS.items():
        arrows.setdefault((before.__name__, after.__name__), []).append(trigger.value)
    phases = dict.fromkeys(before for before, _ in TRANSITIONS)
    lines = ["```mermaid", "stateDiagram-v2", *(f'    state "{p.name}" as {p.__name__}' for p in phases)]
    lines += ["    [*] --> Closed"]
    lines += [f"    {before} --> {after}: {', or '.join(why)}" for (before, after), why in arrows.items()]
    return "\n".join([*lines, "```"])


def statuses() -> str:
    groups: dict[Row, list[str]] = {}
    for status, row in sorted(STATUSES.items()):
        groups.setdefault(row, []).append(str(status))
    rows = [("1xx–3xx", "–", "success", "no")]
    named = [(", ".join(group), row) for row, group in groups.items()]
    for group, example in (("other 4xx", 418), ("other 5xx", 599)):
        found = of_status(example)
        assert found is not None
        named.append((group, found))
    for group, (kind, verdict, again) in named:
        rows.append((group, f"`{kind.name}`", verdict.value, again.value))
    return table(("status", "kind", "means for the host", "sent again?"), rows)


def errors() -> str:
    rows = (
        (f"`{kind.name}`", verdict.value, again.value, sent.value) for kind, (verdict, again, sent) in ERRORS.items()
    )
    return table(("kind", "means for the host", "sent again?", "reached the server?"), rows)


def stream_errors() -> str:
    groups: dict[ErrorKind, list[str]] = {}
    for word, kind in WORDS.items():
        groups.setdefault(kind, []).append(f"`{word}`")
    rows: list[tuple[str, ...]] = []
    for kind, words in groups.items():
        outcome = of_event(kind, None)
        rows.append((", ".join(words), f"`{kind.name}`", outcome.verdict.value, outcome.again.value))
    return table(("the event says", "kind", "means for the host", "sent again?"), rows)


def announcements() -> str:
    return textwrap.fill(", ".join(f"`{name}`" for name in sorted(ANNOUNCEMENTS)), 120)


def kinds() -> str:
    return textwrap.fill(", ".join(f"`{kind.name}`" for kind in ErrorKind), 120)


def listed(words: Iterable[object]) -> str:
    return textwrap.fill(", ".join(f"`{word}`" for word in sorted(words, key=str)), 120, break_on_hyphens=False)


def figures(policy: Policy) -> dict[str, str]:
    """Every effective figure of a policy, by dotted name."""
    full = Effective(policy)
    found: dict[str, str] = {}
    for name in ("timeouts", "retry", "budget", "breaker", "bulkhead"):
        part = getattr(full, name)
        inside = {field.name: getattr(part, field.name) for field in fields(part)}
        if name == "budget":  # the kinds have different fields
            found[name] = f"{type(part).__name__}: " + ", ".join(f"{k} {value(v)}" for k, v in inside.items())
        else:
            found |= {f"{name}.{k}": value(v) for k, v in inside.items()}
    found["inspect_streams"] = value(full.inspect_streams)
    found["rejections"] = value(full.rejections)
    found["degrade"] = ", ".join(type(step).__name__ for step in full.degrade) or "–"
    return found


def defaults() -> str:
    ours, theirs = figures(Policy()), figures(Policy.gateway())
    rows = ((name, ours[name], "the same" if ours[name] == theirs[name] else f"**{theirs[name]}**") for name in ours)
    return table(("", "`Policy()`", "`Policy.gateway()`"), rows)


def llm() -> str:
    ours, theirs = figures(Policy()), figures(Policy.llm())
    rows = ((name, ours[name], theirs[name]) for name in ours if ours[name] != theirs[name])
    return table(("", "`Policy()`", "`Policy.llm()`"), rows)


def events() -> str:
    rows: list[tuple[str, str, str]] = []
    for name, kind in vars(events_module).items():
        if isinstance(kind, type) and issubclass(kind, events_module.Event) and kind is not events_module.Event:
            own = [field.name for field in fields(kind) if field.name not in ("host", "host_group", "at")]
            said = (inspect.getdoc(kind) or "").replace("\n", " ")
            rows.append((f"`{name}`", ", ".join(f"`{field}`" for field in own) or "–", said))
    return table(("event", "besides `host`, `host_group` and `at`", "when"), rows)


def metrics() -> str:
    rows = [
        (
            f"`{one.name}`",
            {"sum": "level", "least": "level"}.get(one.kind, one.kind),
            ", ".join(f"`{label}`" for label in one.labels),
            one.text,
        )
        for one in INSTRUMENTS
    ]
    return table(("name", "kind", "labels", "what"), rows)


def tree() -> str:
    """The picture of the exceptions, from the docstring of their module."""
    text = inspect.getdoc(errors_module) or ""
    picture = text[text.index("ResilienceError\n") : text.index("\n\nUnder a mount")]
    return f"```\n{picture}\n```"


KINDS: tuple[type, ...] = (
    Retry,
    RetryBudget,
    TokenBudget,
    AdaptiveBudget,
    Breaker,
    Bulkhead,
    Timeouts,
    StaleResponse,
    QueueForRetry,
)

SECTIONS: dict[str, Callable[[], str]] = {
    "transitions": transitions,
    "diagram": diagram,
    "statuses": statuses,
    "errors": errors,
    "kinds": kinds,
    "stream errors": stream_errors,
    "announcements": announcements,
    "defaults": defaults,
    "llm": llm,
    "events": events,
    "metrics": metrics,
    "tree": tree,
    "credentials": lambda: listed(KNOWN),
    "noise": lambda: listed(NOISE),
    "statuses remembered": lambda: listed(GOOD),
    **{f"fields of {kind.__name__}": partial(fields_of, kind) for kind in KINDS},
}


def printed(page: str) -> str:
    """The page with every printed section made anew."""

    def renewed(section: re.Match[str]) -> str:
        name = section["name"]
        if name not in SECTIONS:
            raise ValueError(f"no section is called {name!r}: there are {', '.join(SECTIONS)}")
        return f"<!-- printed: {name} -->\n\n{SECTIONS[name]()}\n\n<!-- /printed -->"

    return SECTION.sub(renewed, page)


def main(arguments: list[str]) -> int:
    stale = 0
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        new = printed(page)
        if new != page:
            stale += 1
            print(f"{path.relative_to(ROOT)}: {'stale' if '--check' in arguments else 'printed'}")
            if "--check" not in arguments:
                path.write_text(new, encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
