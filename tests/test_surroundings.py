"""Output of any encoding, and a clone whose environment imports another clone's source."""

import io
import sys

import pytest

from actlab.engine import surroundings
from actlab.engine.surroundings import prepare
from actlab.errors import UserError


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("utf-8", "χ é"),
        ("latin-1", r"\u03c7 é"),
        ("ascii", r"\u03c7 \xe9"),
        ("cp1252", r"\u03c7 é"),
    ],
)
def test_what_the_output_cannot_print_is_escaped(encoding, printed, tmp_path, monkeypatch):
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, encoding, errors="strict"))
    prepare(tmp_path)
    print("χ é", flush=True)
    assert output.getvalue().decode(encoding) == f"{printed}\n"


def test_an_output_that_is_no_stream_of_text_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    prepare(tmp_path)


def test_a_copied_clone_is_not_run_with_the_originals_source(tmp_path):
    (tmp_path / "src/actlab").mkdir(parents=True)
    source = surroundings.PACKAGE.parent
    line = f"this clone is {tmp_path}, but actlab is imported from {source}: run `make setup` here"
    with pytest.raises(UserError, match=f"^{line}, or set PYTHONPATH=src$"):
        prepare(tmp_path)


def test_a_clone_runs_its_own_source_also_through_a_link(tmp_path, root):
    prepare(root)
    (tmp_path / "src").symlink_to(root / "src")
    prepare(tmp_path)


def test_a_folder_without_source_uses_what_is_installed(tmp_path):
    prepare(tmp_path)
    (tmp_path / "src/other").mkdir(parents=True)
    prepare(tmp_path)
