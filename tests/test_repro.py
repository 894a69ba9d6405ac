"""`make repro` on a pipeline of two stages that takes no time: what it shows, how it ends."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from studies import read_committed

DVC_YAML = """
stages:
  preprocess:
    cmd: cp raw data
    deps: [raw]
    outs: [data]
  report:
    cmd: PYTHONPATH=src exec python work.py
    deps: [data, work.py]
    outs: [written]
"""
#: A stage as ours are, with its configuration and its answer to signals.
WORK = """
import pathlib, time
from actlab.errors import UserError
from actlab.stages import entry

def stage(config):
    print("at work", flush=True)
    {work}
    pathlib.Path("written").write_text("written")

entry.run(stage)
"""
FAILS = 'raise UserError("data/x is missing: make it")'
#: What `make` takes for done: the environment is that of the tests.
READY = ("-o", ".venv/ready", "-o", ".dvc/plots/page.html")


class Pipeline:
    """A clone in miniature, and `make repro` in it."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        shutil.copy(root / "Makefile", folder)
        for name in ("src", "conf"):
            (folder / name).symlink_to(root / name)
        (folder / ".venv").symlink_to(sys.prefix)
        (folder / "reports").mkdir()
        for name in ("summary", "comparisons", "claims"):
            shutil.copy(root / f"docs/study/{name}.csv", folder / "reports")
        (folder / "params.yaml").write_text(read_committed(root, "params.yaml"))
        (folder / "dvc.yaml").write_text(DVC_YAML)
        (folder / "raw").write_text("raw")
        dvc = [sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"]
        subprocess.run(dvc, cwd=folder, check=True)

    def start(self, work: str, stdout: int = subprocess.PIPE) -> subprocess.Popen:
        """Start `make repro`, the second stage with some work to do."""
        (self.folder / "work.py").write_text(WORK.format(work=work))
        return subprocess.Popen(
            ["make", *READY, "repro"],
            cwd=self.folder,
            # As from a shell, also where `make test` runs this.
            env={name: value for name, value in os.environ.items() if "MAKE" not in name},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # A shell in the background and nohup ignore them.
            preexec_fn=lambda: [
                signal.signal(each, signal.SIG_DFL) for each in (signal.SIGINT, signal.SIGHUP)
            ],
        )

    def run(self, work: str) -> tuple[int, str]:
        process = self.start(work)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output.decode()

    def run_on_a_terminal(self, work: str) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        process = self.start(work, theirs)
        os.close(theirs)
        output = b""
        with suppress(OSError):  # the end, on Linux
            while read := os.read(ours, 65536):
                output += read
        os.close(ours)
        return process.wait(), output.decode().replace("\r\n", "\n")


@pytest.fixture(scope="module")
def pipeline(root, tmp_path_factory):
    return Pipeline(tmp_path_factory.mktemp("repro"), root)


ANSWER = "vs. best\nmlp      sigmoid           97."
END = (
    "The report:  reports/report.html (and report.md, summary.csv, claims.csv)\n"
    "The runs:    make ui\n"
)


def test_a_terminal_shows_each_stage_its_lines_and_the_answer(pipeline):
    status, output = pipeline.run_on_a_terminal("")
    assert status == 0, output
    places = [
        output.index(line)
        for line in ("'preprocess':\n", "> cp raw data\n", "'report':\n", "\nat work\n", ANSWER)
    ]
    assert places == sorted(places)
    assert output.endswith(END)


def test_nothing_to_do_shows_the_answer_and_a_pipe_gets_no_escape_code(pipeline):
    status, output = pipeline.run("")
    assert status == 0
    assert "at work" not in output
    assert ANSWER in output
    assert output.endswith(END)
    assert "\x1b" not in output


def test_a_stage_that_fails_says_why_in_its_own_line_and_there_is_no_answer(pipeline):
    status, output = pipeline.run(FAILS)
    assert status == 2  # of make, for any
    assert "\nactlab: data/x is missing: make it\n" in output
    assert "'report'" in output.split("actlab: ")[1]
    assert re.search(r"^make: .*repro\] Error 255$", output, re.MULTILINE)  # DVC's
    assert "Traceback" not in output
    assert ANSWER not in output


def test_a_report_that_cannot_be_read_is_one_line(pipeline):
    summary = pipeline.folder / "reports/summary.csv"
    content = summary.read_bytes()
    summary.unlink()
    try:
        _, output = pipeline.run("")
    finally:
        summary.write_bytes(content)
    (line,) = re.findall(r"^actlab: .*$", output, re.MULTILINE)
    assert "summary.csv" in line
    assert line.endswith(": run `dvc repro -f report`")
    assert "Traceback" not in output


def alive(session):
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.cmdline())
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_ends_dvc_and_its_stages(number, pipeline):
    """Ctrl-C reaches all of them; SIGTERM make alone; SIGKILL, of DVC, is not seen by make."""
    process = pipeline.start("time.sleep(60)")
    assert process.stdout
    while process.stdout.readline() != b"at work\n":
        assert process.poll() is None
    assert len(alive(process.pid)) >= 3
    (dvc,) = psutil.Process(process.pid).children()
    sent = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        os.kill(dvc.pid if number == signal.SIGKILL else process.pid, number)
    output = process.communicate(timeout=10)[0].decode()
    while alive(process.pid) and time.monotonic() - sent < 10:
        time.sleep(0.02)
    assert time.monotonic() - sent < 2, alive(process.pid)
    assert process.returncode != 0
    stopped = "SIGINT" if number == signal.SIGINT else "SIGTERM"
    advice = f"actlab: stopped by {stopped}; completed work is kept; run the same command to resume"
    assert output.count("stopped by") == output.count(advice) == 1
    assert "Traceback" not in output
    assert ANSWER not in output
