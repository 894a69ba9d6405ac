"""The generated parts of docs/benchmarks.md, and the cores of this machine."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/benchmarks.md"


def cores() -> list[int]:
    """List the cores available to this process."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def write_between(mark: str, text: str) -> None:
    """Replace the text of the page between the two comments with this mark."""
    first, last = f"<!-- {mark} -->\n", f"<!-- /{mark} -->\n"
    before, rest = PAGE.read_text(encoding="utf-8").split(first)
    _, after = rest.split(last)
    PAGE.write_text(f"{before}{first}{text}{last}{after}", encoding="utf-8")
