"""Disks that are too small, or that cannot be written, for a process and those it starts."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent

_ALONE = ["unshare", "--map-root-user", "--mount"]
_CALL = """
import importlib, json, sys
from pathlib import Path
module, function, answer, *arguments = sys.argv[1:]
given = getattr(importlib.import_module(module), function)(*map(json.loads, arguments))
Path(answer).write_text(json.dumps(given))
"""


def where_mounts_are_allowed(module: str, function: str, folder: Path, *arguments: Any) -> Any:
    """Call a function of a module of the tests in a process that may mount; give what it gives.

    No other process sees what it mounts. A test is skipped where the machine does not let this user
    do it.
    """
    try:
        mounting = [*_ALONE, "mount", "-t", "tmpfs", "none", "/mnt"]
        tried = subprocess.run(mounting, capture_output=True, check=False).returncode
    except OSError:  # no Linux
        tried = 1
    if tried:
        pytest.skip("a small disk has to be mounted, which this machine does not let this user do")
    answer = folder / "answer.json"
    command = [*_ALONE, sys.executable, "-c", _CALL, module, function, str(answer)]
    sources = [TESTS.parent / "src", TESTS, TESTS / "faults"]
    done = subprocess.run(
        [*command, *map(json.dumps, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sources))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(answer.read_text())


def mount(*arguments: object) -> None:
    """As the command."""
    subprocess.run(["mount", *map(str, arguments)], check=True)


def fill(disk: Path, room: int = 0) -> Path:
    """Take all the room of a disk but some whole pages; give the file that has it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(bytes(65536))
        file.truncate(max(0, file.tell() - room))
    return filler
