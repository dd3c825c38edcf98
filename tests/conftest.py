"""What holds for every test: in CI a skip fails the run, and Hypothesis sets no wall-clock limit per example."""

import os
from collections.abc import Iterator

import hypothesis
import pytest

IN_CI = bool(os.environ.get("CI"))

# A busy machine is no reason for a property to fail. Hypothesis's own profile for CI says so too.
hypothesis.settings.register_profile("seawall", deadline=None)
if not IN_CI:
    hypothesis.settings.load_profile("seawall")


class FailOnSkip:
    """Fails the session and names what was skipped: in CI, nothing that a test needs may be missing."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.note(report)

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        if self.skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        yield

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for nodeid in self.skipped:
            terminalreporter.write_line(f"SKIPPED IN CI, which counts as a failure: {nodeid}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    if IN_CI:
        config.pluginmanager.register(FailOnSkip())
