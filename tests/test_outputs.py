import os
from fnmatch import fnmatch
from multiprocessing import get_context
from pathlib import Path

import pytest

from actlab.engine.files import atomic_write


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_takes_the_place_of_the_one_before(tmp_path):
    target = tmp_path / "results"
    target.mkdir()
    (target / "old").write_text("1")
    with atomic_write(target) as path:
        path.mkdir()
        (path / "new").write_text("2")
        assert names(target) == ["old"]
    assert names(target) == ["new"]
    assert names(tmp_path) == ["results"]


def write_half(target, error):
    with atomic_write(target) as path:
        path.write_text("half")
        raise error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(error, tmp_path):
    target = tmp_path / "table.csv"
    target.write_text("before")
    with pytest.raises(type(error)):
        write_half(target, error)
    assert target.read_text() == "before"
    assert names(tmp_path) == ["table.csv"]
    with pytest.raises(type(error)):  # nothing where nothing was
        write_half(tmp_path / "a/b", error)
    assert names(tmp_path / "a") == []


def write_new(target):
    with atomic_write(target) as path:
        path.mkdir()
        (path / "new").write_text("2")


@pytest.mark.parametrize("at", ["before", "results"])
def test_an_interrupt_in_the_midst_of_the_renames_loses_nothing(at, tmp_path, monkeypatch):
    target = tmp_path / "results"
    target.mkdir()
    (target / "old").write_text("1")
    for name in ("rename", "replace"):
        renames = getattr(Path, name)

        def interrupted(self, to, renames=renames):
            result = renames(self, to)
            if Path(to).name == at and self.exists() is False and armed.pop(at, None):
                raise KeyboardInterrupt
            return result

        monkeypatch.setattr(Path, name, interrupted)
    armed = {at: True}
    with pytest.raises(KeyboardInterrupt):
        write_new(target)
    assert armed == {}
    assert names(target) == (["old"] if at == "before" else ["new"])
    assert names(tmp_path) == ["results"]


def write_and_die(path):
    with atomic_write(path) as new:
        new.mkdir()
        (new / "half").write_text("")
        os._exit(9)


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    target = tmp_path / "results"
    process = get_context("fork").Process(target=write_and_die, args=(target,))
    process.start()
    process.join()
    assert process.exitcode == 9
    (left,) = names(tmp_path)
    assert left.endswith(".partial")
    with atomic_write(target) as path:
        assert not (tmp_path / left).exists()
        with atomic_write(target) as other:  # this process is at work: its own is left alone
            other.write_text("first")
        assert path.parent.is_dir()
        path.write_text("second")
    assert target.read_text() == "second"
    assert names(tmp_path) == ["results"]


def test_what_a_kill_leaves_is_no_business_of_dvc_or_git(tmp_path, root):
    with atomic_write(tmp_path / "results"):
        (scratch,) = names(tmp_path)
        for name in (".dvcignore", ".gitignore"):
            patterns = (root / name).read_text().splitlines()
            assert any(fnmatch(scratch, pattern) for pattern in patterns if pattern), name
        (tmp_path / scratch / "results").mkdir()
