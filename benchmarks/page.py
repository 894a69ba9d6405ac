"""What the benchmarks write into docs/benchmarks.md, and the machine that they ran on."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/benchmarks.md"


def cores() -> list[int]:
    """Give the cores of this process."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def write_between(mark: str, text: str) -> None:
    """Put a text into the page, between the two comments that bear the mark."""
    first, last = f"<!-- {mark} -->\n", f"<!-- /{mark} -->\n"
    before, rest = PAGE.read_text().split(first)
    _, after = rest.split(last)
    PAGE.write_text(f"{before}{first}{text}{last}{after}")
