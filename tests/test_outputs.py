from fnmatch import fnmatch

import pytest

from actlab.outputs import written_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_takes_the_place_of_the_one_before(tmp_path):
    target = tmp_path / "results"
    target.mkdir()
    (target / "old").write_text("1")
    with written_whole(target) as path:
        path.mkdir()
        (path / "new").write_text("2")
        assert names(target) == ["old"]
    assert names(target) == ["new"]
    assert names(tmp_path) == ["results"]


def write_half(target, error):
    with written_whole(target) as path:
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


def test_a_failure_leaves_nothing_where_nothing_was(tmp_path):
    with pytest.raises(ValueError, match="in the middle"):
        write_half(tmp_path / "a/b", ValueError("in the middle"))
    assert names(tmp_path / "a") == []


def test_a_rename_that_fails_brings_back_what_was_there(tmp_path):
    target = tmp_path / "results"
    target.mkdir()
    (target / "old").write_text("1")
    with pytest.raises(FileNotFoundError), written_whole(target):
        pass  # the block has written nothing: there is nothing to rename
    assert names(target) == ["old"]
    assert names(tmp_path) == ["results"]


def test_what_a_kill_leaves_is_no_business_of_dvc_or_git(tmp_path, root):
    with written_whole(tmp_path / "results"):
        (scratch,) = names(tmp_path)
        for name in (".dvcignore", ".gitignore"):
            patterns = (root / name).read_text().splitlines()
            assert any(fnmatch(scratch, pattern) for pattern in patterns if pattern), name
        (tmp_path / scratch / "results").mkdir()
