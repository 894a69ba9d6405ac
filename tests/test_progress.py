import io
import re
import sys

import pytest

from actlab import progress


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
    assert lines[0].startswith("relu-mlp: 4 of 20 model-epochs, loss 0.2500, val_accuracy 0.1500, ")
    assert lines[-1].endswith(" 0 s left")


def test_the_first_model_epoch_tells_no_time_left(capsys):
    # What came before it was compiling.
    advance(1)
    assert (
        capsys.readouterr().out
        == "relu-mlp: 1 of 1 model-epochs, loss 1.0000, val_accuracy 0.0000\n"
    )
    advance(4)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.endswith("val_accuracy 0.0000")
    assert [line.split(", ")[-1].split()[1:] for line in rest] == [["s", "left"]] * 3


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
