"""Run the pipeline, say how far it is, and what came of it: `python -m actlab.stages.repro`.

`dvc repro` does the work, as a process of this one. What it and its stages say goes to a file in
`logs/`; the terminal gets a line a stage, what went wrong, and the answer.
"""

from actlab.stages import interrupts  # first, since it looks at who started this process

# isort: split

import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import NoReturn, TextIO

import yaml
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from actlab.answer import read_answer
from actlab.outputs import written_whole
from actlab.plan import CACHED, FAILED, RAN, UNCHANGED, Ended, Plan

LOGS = Path("logs")
_SECONDS = LOGS / "seconds.json"
_KEPT = 20  # logs of so many runs

#: DVC's command line, in a process that ends with the one that started it.
_DVC = (
    "import sys; from actlab.stages import interrupts; interrupts.end_with_parent();"
    " from dvc.cli import main; sys.exit(main(sys.argv[1:]))"
)
#: What the terminal gets at once of what DVC and its stages say, without DVC's date before it.
_TOLD = re.compile(r"(?:[\d-]+ [\d:,]+ )?((?:actlab: |MLflow |WARNING: ).*)")
_ERROR = re.compile(r"(?:[\d-]+ [\d:,]+ )?(ERROR: .*)")
_DEBUG = re.compile(r"[\d-]+ [\d:,]+ (?:DEBUG|TRACE): ")
_LAST_LINES = 15

ADVICE = "what is finished is kept: the same command goes on from there"


class Log:
    """A file that gets every line, behind the seconds since the run began."""

    def __init__(self) -> None:
        self.path = LOGS / f"repro-{datetime.now():%Y-%m-%d-%H%M%S}.log"
        self.began = time.monotonic()
        self._file: TextIO | None = None
        with suppress(OSError):  # DVC says what is wrong with the disk
            LOGS.mkdir(exist_ok=True)
            for old in sorted(LOGS.glob("repro-*.log"))[: 1 - _KEPT]:
                old.unlink()
            self._file = self.path.open("w", encoding="utf-8", buffering=1)

    def write(self, line: str) -> None:
        """Add a line."""
        with suppress(OSError):
            if self._file:
                self._file.write(f"{time.monotonic() - self.began:7.1f}  {line}\n")


def dvc(
    arguments: Sequence[str], log: Log, errors: int = subprocess.STDOUT
) -> subprocess.Popen[str]:
    """Start DVC, its output and that of its stages in a pipe; its errors in the same or another."""
    command = [sys.executable, "-c", _DVC, *arguments]
    log.write(f"$ dvc {' '.join(arguments)}")
    return subprocess.Popen(
        command,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        errors="replace",
    )


def lines_of(process: subprocess.Popen[str], log: Log) -> Iterator[str]:
    """Give each line as it comes, and log it; when interrupted, log those that are left."""
    assert process.stdout
    try:
        for line in process.stdout:
            log.write(line.rstrip("\n"))
            yield line.rstrip("\n")
    except interrupts.Interrupted:
        for line in process.stdout:  # whom this process started has been asked to end
            log.write(line.rstrip("\n"))
        raise
    finally:
        process.stdout.close()
    process.wait()


def repro(console: Console) -> int:
    """Run what has to run; give DVC's exit status."""
    log = Log()
    questions = ["stage", "list", "--name-only"], ["status", "--json"]
    asked = [dvc(question, log, errors=subprocess.PIPE) for question in questions]  # side by side
    answers = []
    for process in asked:
        answer, errors = process.communicate()
        for line in [*answer.splitlines(), *errors.splitlines()]:
            log.write(line)
        if process.returncode:
            tell_failure(errors.splitlines(), console)
            return process.returncode
        answers.append(answer)
    stages, status = answers
    plan = Plan.of(stages.split(), json.loads(status), read_seconds())
    ended = 0
    if plan.stale:
        ended = run(plan, log, console)
        write_seconds(plan)
    if ended == 0:
        tell_answer(console)
    tell_end(plan, ended, log, console)
    return ended


def run(plan: Plan, log: Log, console: Console) -> int:
    """Run `dvc repro` along the plan; give its exit status."""
    process = dvc(["repro", "--verbose"], log)
    said: list[str] = []
    with Live(
        get_renderable=lambda: draw(plan, time.monotonic(), log.began),
        console=console,
        refresh_per_second=4,
        transient=True,
    ):
        for line in lines_of(process, log):
            now = time.monotonic()
            for ended in plan.take_in(line, now):
                said.clear()
                tell_stage(ended, plan, now, console)
            said.append(line)
            if told := _TOLD.match(line):
                tell(console, told[1])
    now, before = time.monotonic(), len(plan.ended)
    plan.finish(now, failed=process.returncode != 0)
    for ended in plan.ended[before:]:
        tell_stage(ended, plan, now, console)
    if process.returncode:
        tell_failure(said, console)
    return process.returncode


def read_seconds() -> dict[str, float]:
    """Read how long each stage took when it last ran."""
    with suppress(OSError, ValueError):
        return {stage: float(took) for stage, took in json.loads(_SECONDS.read_text()).items()}
    return {}


def write_seconds(plan: Plan) -> None:
    """Keep how long each stage took, for the next run's time left."""
    with suppress(OSError), written_whole(_SECONDS, sync=False) as path:
        path.write_text(json.dumps(plan.seconds_of_stages(), indent=2) + "\n")


# --- What the terminal shows ---------------------------------------------------------------


def make_console() -> Console:
    """Give the terminal, without colours where NO_COLOR is set, or a file's 100 columns at most."""
    console = Console(
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        highlight=False,
        markup=False,
        emoji=False,
    )
    console.width = min(console.width, 100)
    return console


def tell(console: Console, line: str) -> None:
    """Print a line as it is, however long."""
    console.print(line, soft_wrap=True)


def draw(plan: Plan, now: float, began: float) -> Table:
    """Draw the line that stays at the bottom of a terminal."""
    left = plan.seconds_left(now)
    line = Table.grid(padding=(0, 2), expand=True)
    for ratio in (None, None, 1, None):
        line.add_column(no_wrap=True, ratio=ratio)
    line.add_row(
        Text(f"stage {plan.place()} of {len(plan.stages)}"),
        Text(plan.current or ""),
        ProgressBar(total=now - began + left, completed=now - began),
        Text(say_left(left)),
    )
    return line


def tell_stage(ended: Ended, plan: Plan, now: float, console: Console) -> None:
    """Say what came of a stage, and how long the rest will take."""
    count, width = len(plan.stages), max(map(len, plan.stages))
    is_last = ended.outcome == FAILED or ended.place == count
    tell(
        console,
        f"{ended.place:>{len(str(count))}} of {count}  {ended.stage:<{width}}"
        f"  {say_seconds(ended.seconds) if ended.outcome == RAN else ended.outcome:>14}"
        f"  {'' if is_last else say_left(plan.seconds_left(now))}".rstrip(),
    )


def tell_failure(said: Sequence[str], console: Console) -> None:
    """Say why DVC or a stage failed, where it has not said so in a line of actlab's."""
    if any(line.startswith("actlab: ") for line in said):
        return
    own = list(takewhile(lambda line: not _ERROR.match(line), said))
    for line in [line for line in own if line and not _DEBUG.match(line)][-_LAST_LINES:]:
        tell(console, line)
    for line in said[len(own) :]:
        if error := _ERROR.match(line):
            tell(console, error[1])


def tell_answer(console: Console) -> None:
    """Show the results table and what follows from it."""
    try:
        confidence = yaml.safe_load(Path("params.yaml").read_text())["report"]["confidence"]
        answer = read_answer(Path("reports"), float(confidence))
    except (OSError, KeyError, ValueError) as error:
        tell(console, f"actlab: reports/ cannot be read ({error}): run `dvc repro -f report`")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in answer.header:
        table.add_column(name, justify="right" if "accuracy" in name else "left", no_wrap=True)
    for row in answer.rows:
        table.add_row(*row)
    console.print()
    console.print(table)
    console.print()
    for sentence in answer.sentences:
        console.print(sentence)


def tell_end(plan: Plan, status: int, log: Log, console: Console) -> None:
    """Say how long it took, what ran, and where everything is."""
    counts = plan.outcomes()
    parts = [
        f"{counts[RAN]} stage{'' if counts[RAN] == 1 else 's'} ran",
        f"{counts[CACHED]} from DVC's cache" if counts[CACHED] else "",
        f"{counts[UNCHANGED]} unchanged" if counts[UNCHANGED] else "",
        f"{counts[FAILED]} failed" if counts[FAILED] else "",
    ]
    took = say_seconds(time.monotonic() - log.began)
    summed = f"{took}: {', '.join(filter(None, parts))}."
    if not plan.stale:
        summed = f"Nothing had to run: all {len(plan.stages)} stages are unchanged."
    lines = [summed]
    if status:
        lines.append(f"Again:       {ADVICE}")
    else:
        lines.append("The report:  reports/report.html (and report.md, summary.csv, claims.csv)")
        lines.append("The runs:    make ui")
    lines.append(f"The log:     {log.path}")
    for line in ["", *lines]:
        tell(console, line)


def say_seconds(seconds: float) -> str:
    """Say how long something took.

    >>> say_seconds(0.4), say_seconds(99.0), say_seconds(372.0)
    ('0.4 s', '99 s', '6 min 12 s')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 100 else f"{whole // 60} min {whole % 60} s"


def say_left(seconds: float) -> str:
    """Say about how long something will take.

    >>> say_left(3.0), say_left(42.0), say_left(200.0)
    ('a few seconds left in all', 'about 45 s left in all', 'about 3 min left in all')
    """
    if seconds < 10:
        return "a few seconds left in all"
    if seconds < 90:
        return f"about {5 * math.ceil(seconds / 5)} s left in all"
    return f"about {round(seconds / 60)} min left in all"


def main() -> NoReturn:
    """Run the pipeline as a command."""
    if len(sys.argv) > 1:
        sys.exit("actlab: this runs the whole pipeline, without arguments: `dvc repro` takes them")
    try:
        with interrupts.listening(ADVICE, watch_parent=False):
            status = repro(make_console())
    except interrupts.Interrupted as interrupted:
        interrupts.leave(interrupted.number, ADVICE)
    sys.exit(status)


if __name__ == "__main__":
    main()
