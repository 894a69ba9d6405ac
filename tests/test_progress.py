import io
import re
import sys

import pytest

from actlab.engine import progress


def advance(epochs):
    with progress.shown("relu-mlp", epochs) as done:
        for number in range(epochs):
            done(loss=1 / (number + 1), val_accuracy=number / epochs)


def test_a_file_gets_five_plain_lines(capsys):
    advance(20)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"relu-mlp: {done} of 20 model-epochs" for done in (4, 8, 12, 16, 20)
    ]
    assert lines[0] == "relu-mlp: 4 of 20 model-epochs, loss 0.2500, val_accuracy 0.1500"


def test_a_training_that_resumes_counts_what_came_before(capsys):
    with progress.shown("relu-mlp", 10, done=9) as done:
        done(loss=0.5, val_accuracy=0.9)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("relu-mlp: 10 of 10 model-epochs")


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    advance(20)
    assert not re.search(r"\x1b\[[0-9;]*m", terminal.getvalue())  # no colours, NO_COLOR or not
    last = terminal.getvalue().split("\r")[-1]
    assert "relu-mlp: 100%" in last
    assert "20/20" in last
    assert "loss=0.0500, val_accuracy=0.9500" in last
