"""How much is tried, and the figures that are shown at the end: n tried, n held."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

_FIGURE = "fault"
_IS_WHOLE = os.environ.get("ACTLAB_FAULTS") == "all"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "whole(why): skipped but by `make faults`; why")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what takes long before its fixtures are made."""
    for item in items:
        mark = item.get_closest_marker("whole")
        if mark and not _IS_WHOLE:
            item.add_marker(pytest.mark.skip(f"{mark.args[0]}: `make faults` runs it"))


@pytest.fixture(scope="session")
def is_whole() -> bool:
    """Whether all is tried (`make faults`), or what the whole suite has the time for."""
    return _IS_WHOLE


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Callable[[str, int, list[str]], None]:
    """Give a function that takes what was tried, how often, and a line for each that did not hold.

    It shows the figure at the end of the tests, and fails where one did not hold.
    """

    def count(what: str, tried: int, failures: list[str]) -> None:
        assert tried > 0, what
        record_property(_FIGURE, f"{what}: {tried} tried, {tried - len(failures)} held")
        assert not failures, "\n".join(failures[:20])

    return count


def _figures(reporter: Any) -> Iterator[str]:
    for outcome in ("passed", "failed"):
        for report in reporter.getreports(outcome):
            yield from (str(value) for name, value in report.user_properties if name == _FIGURE)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if figures := sorted(_figures(terminalreporter)):
        terminalreporter.section("faults")
        for figure in figures:
            terminalreporter.write_line(figure)
