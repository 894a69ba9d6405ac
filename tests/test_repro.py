"""The command behind `make repro`, on a pipeline of two stages that takes no time."""

import json
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

DVC_YAML = """
stages:
  preprocess:
    cmd: cp raw data; echo noise of a library >&2; echo "MLflow at x cannot be written (y)"
    deps: [raw]
    outs: [data]
  report:
    cmd: exec python work.py
    deps: [data, work.py]
    outs: [written]
"""
#: A stage as ours are: it ends when DVC does.
WORK = """
from actlab.stages import interrupts
import pathlib, time

with interrupts.listening("it goes on", watch_parent=True):
    print("at work", flush=True)
    time.sleep(SECONDS)
    pathlib.Path("written").touch()
"""
BROKEN = "1 / 0\n"
COLOUR = re.compile(rb"\x1b\[[0-9;]*m")


class Pipeline:
    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        (folder / "reports").mkdir()
        for name in ("summary", "comparisons", "claims"):
            shutil.copy(root / f"docs/study/{name}.csv", folder / "reports")
        (folder / "params.yaml").write_text("report: {confidence: 0.95}\n")
        (folder / "dvc.yaml").write_text(DVC_YAML)
        (folder / "raw").write_text("raw")
        self.environment = os.environ | {
            "PYTHONPATH": str(root / "src"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TERM": "xterm-256color",
            "COLUMNS": "80",
        }
        dvc = [sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"]
        subprocess.run(dvc, cwd=folder, check=True)

    def works(self, code: str) -> None:
        (self.folder / "work.py").write_text(code)

    def start(self, stdout: int, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "actlab.stages.repro"],
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # A shell in the background and nohup ignore them.
            preexec_fn=lambda: [
                signal.signal(each, how)
                for each, how in (
                    (signal.SIGINT, signal.default_int_handler),
                    (signal.SIGHUP, signal.SIG_DFL),
                )
            ],
        )

    def run(self, **environment: str) -> tuple[int, bytes]:
        process = self.start(subprocess.PIPE, **environment)
        said, _ = process.communicate(timeout=60)
        return process.returncode, said

    def run_on_a_terminal(self, **environment: str) -> tuple[int, bytes]:
        ours, theirs = pty.openpty()
        process = self.start(theirs, **environment)
        os.close(theirs)
        said = b""
        with suppress(OSError):  # the end, on Linux
            while read := os.read(ours, 65536):
                said += read
        os.close(ours)
        return process.wait(), said

    def log(self) -> str:
        return max((self.folder / "logs").glob("*.log")).read_text()


@pytest.fixture(scope="module")
def pipeline(root, tmp_path_factory):
    return Pipeline(tmp_path_factory.mktemp("repro"), root)


ANSWER = "The notebook's 26 claims: "


def test_a_terminal_gets_a_line_a_stage_and_the_answer_without_colours(pipeline):
    pipeline.works(WORK.replace("SECONDS", "0.6"))
    status, said = pipeline.run_on_a_terminal(NO_COLOR="1")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode()).replace("\r", "\n")
    assert status == 0, text
    assert COLOUR.findall(said) == []
    assert re.search(r"^stage 2 of 2  report .* left in all$", text, re.MULTILINE)
    assert re.search(r"^1 of 2  preprocess +0\.\d s  a few seconds left in all$", text, re.M)
    assert re.search(r"^2 of 2  report +\d\.\d s$", text, re.MULTILINE)
    assert ANSWER in text
    assert re.search(r"^\d\.\d s: 2 stages ran\.$", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 80
    # What matters of what is said beside that; the log has everything.
    assert "MLflow at x cannot be written (y)" in text
    for line in ("noise of a library", "at work"):
        assert line not in text
        assert line in pipeline.log()
    seconds = json.loads((pipeline.folder / "logs/seconds.json").read_text())
    assert set(seconds) == {"preprocess", "report"}


def test_colours_are_for_terminals(pipeline):
    status, said = pipeline.run_on_a_terminal()
    assert status == 0
    assert COLOUR.findall(said)


def test_nothing_to_run_is_said_with_the_answer_and_a_file_gets_no_escape_code(pipeline):
    status, said = pipeline.run()
    assert status == 0
    assert b"\x1b" not in said
    assert ANSWER in said.decode()
    assert "Nothing had to run: all 2 stages are unchanged.\n" in said.decode()


def test_a_stage_that_fails_shows_its_last_lines(pipeline):
    pipeline.works(BROKEN)
    status, said = pipeline.run()
    text = said.decode()
    assert status == 255
    assert re.search(r"^1 of 2  preprocess +unchanged ", text, re.MULTILINE)
    assert re.search(r"^2 of 2  report +failed$", text, re.MULTILINE)
    assert "ZeroDivisionError: division by zero\n" in text
    assert "ERROR: failed to reproduce 'report'" in text
    assert "DEBUG" not in text
    assert ANSWER not in text
    assert "1 unchanged, 1 failed." in text


def test_a_mistake_in_dvc_yaml_is_said_in_dvcs_words(pipeline):
    (pipeline.folder / "dvc.yaml").write_text("stages: [")
    try:
        status, said = pipeline.run()
    finally:
        (pipeline.folder / "dvc.yaml").write_text(DVC_YAML)
    assert status != 0
    assert b"dvc.yaml" in said


def test_arguments_are_refused_in_one_line(pipeline):
    command = [sys.executable, "-m", "actlab.stages.repro", "--force"]
    told = subprocess.run(
        command, cwd=pipeline.folder, env=pipeline.environment, capture_output=True, check=False
    )
    assert told.returncode == 1
    (line,) = told.stderr.decode().splitlines()
    assert line.startswith("actlab: ")
    assert "`dvc repro` takes them" in line


def alive(session):
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.cmdline())
    return found


@pytest.mark.parametrize(
    ("number", "to_all"),
    [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGKILL, False)],
)
def test_whatever_ends_it_ends_dvc_and_its_stages(number, to_all, pipeline):
    """Ctrl-C reaches all of them; a kill, the first alone."""
    pipeline.works(WORK.replace("SECONDS", "60"))
    shutil.rmtree(pipeline.folder / "logs", ignore_errors=True)
    process = pipeline.start(subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not (list((pipeline.folder / "logs").glob("*.log")) and "  at work" in pipeline.log()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, pipeline.log()
        time.sleep(0.05)
    assert len(alive(process.pid)) >= 3
    sent = time.monotonic()
    (os.killpg if to_all else os.kill)(process.pid, number)
    said, _ = process.communicate(timeout=10)
    while alive(process.pid) and time.monotonic() - sent < 10:
        time.sleep(0.02)
    assert time.monotonic() - sent < 2, alive(process.pid)
    if number == signal.SIGKILL:
        assert process.returncode == -number
        return
    assert process.returncode == 128 + number
    stopped = f"actlab: stopped by {number.name}; what is finished is kept: the same command"
    assert said.decode().count("stopped by") == said.decode().count(stopped) == 1
