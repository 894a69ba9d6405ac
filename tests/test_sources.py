import errno
import gzip
import io
import os
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from web import NAMES, OTHER, TINY, Web, plant, send, serve_from

from actlab.data.datasets import load_raw, parse_idx
from actlab.data.download import (
    DebianPackage,
    Folder,
    Mirror,
    NpmPackage,
    fetch_dataset,
    list_sources,
)
from actlab.errors import UserError


@pytest.fixture(autouse=True)
def data_sets(monkeypatch):
    plant(monkeypatch)


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    """Fetch the tiny data set from given sources; returns the lines that were said."""

    def fetch(*sources):
        lines = []
        serve_from(monkeypatch, *sources)
        fetch_dataset("tiny", tmp_path / "data" / "raw", say=lines.append)
        return lines

    return fetch


def assert_fetched(tmp_path):
    raw = tmp_path / "data" / "raw"
    assert [path.name for path in raw.parent.iterdir()] == ["raw"]
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == TINY
    train, test, _ = load_raw("tiny", raw)
    assert (train.images.shape, test.labels.shape) == ((20, 5, 5), (10,))


def assert_nothing_left(tmp_path):
    assert list((tmp_path / "data").iterdir()) == []


def write_folder(folder, contents, zipped=()):
    folder.mkdir()
    for name, content in contents.items():
        if name in zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


# Folders


@pytest.mark.parametrize("zipped", [(), NAMES, NAMES[:1]], ids=["plain", "gzipped", "mixed"])
def test_a_folder_serves_files_plain_or_gzipped(tmp_path, zipped):
    folder = write_folder(tmp_path / "mine", TINY, zipped)
    lines = []
    fetch_dataset("tiny", tmp_path / "data" / "raw", folder, say=lines.append)
    assert lines == [f"Tiny: four files from the folder {folder}, SHA-256 verified"]
    assert_fetched(tmp_path)


#: Where people have the files, by the places of MNIST's names in their folder.
PLACES = {
    "dots": lambda name: name.replace("-idx", ".idx"),
    "dots and gzip": lambda name: name.replace("-idx", ".idx") + ".gz",
    "torchvision": lambda name: f"MNIST/raw/{name}",
    "torchvision's parent": lambda name: f"torch/MNIST/raw/{name}.gz",
    "Kaggle": lambda name: f"{name}/{name}",
    "by data set": lambda name: f"tiny/{name}",
    "capitals": lambda name: name.upper(),
    "own names": lambda name: f"{NAMES.index(name)}.bin",
    "own names, gzipped": lambda name: f"{NAMES.index(name)}.gz",
}


@pytest.mark.parametrize("place", PLACES)
def test_files_are_found_by_their_digest_whatever_their_names(tmp_path, place):
    for contents, top in ((OTHER, "a"), (TINY, "b")):  # the right ones come second
        for name, content in contents.items():
            path = tmp_path / "mine" / top / PLACES[place](name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    fetch_dataset("tiny", tmp_path / "data" / "raw", tmp_path / "mine")
    assert_fetched(tmp_path)


def test_keras_s_npz_file_serves(tmp_path):
    arrays = map(parse_idx, TINY.values())
    (tmp_path / "mine").mkdir()
    np.savez(tmp_path / "mine/mnist.npz", **dict(zip(("a", "b", "c", "d"), arrays, strict=True)))
    (tmp_path / "mine/broken.npz").write_bytes(b"PK\3\4")
    fetch_dataset("tiny", tmp_path / "data" / "raw", tmp_path / "mine")
    assert_fetched(tmp_path)


def test_of_files_too_deep_or_with_other_content_the_line_says_what_there_is(tmp_path):
    folder = write_folder(tmp_path / "mine", {"notes.txt": b"mine"})
    deep = folder / "1/2/3/4/5"
    deep.mkdir(parents=True)
    (deep / NAMES[0]).write_bytes(TINY[NAMES[0]])
    with pytest.raises(UserError, match=f"neither {NAMES[0]} nor .* it has notes.txt [(]"):
        fetch_dataset("tiny", tmp_path / "data" / "raw", folder)
    (folder / "renamed").write_bytes(OTHER[NAMES[0]])
    with pytest.raises(UserError, match=f"mine: renamed is other's {NAMES[0]} [(]"):
        fetch_dataset("tiny", tmp_path / "data" / "raw", folder)


FOLDER_FAULTS = {
    "missing": ({NAMES[2]: None}, f"neither {NAMES[2]} nor {NAMES[2]}.gz is in it"),
    "corrupted": ({NAMES[1]: TINY[NAMES[1]][:-1] + b"\xff"}, f"{NAMES[1]} is corrupted"),
    "too long": ({NAMES[3]: bytes(5000)}, f"{NAMES[3]} has more than the 18 bytes"),
    "other": (OTHER, f"{NAMES[0]} is other's {NAMES[0]}"),
    "nowhere": (dict.fromkeys(NAMES), "there is no such folder"),
    "broken": (
        {NAMES[0]: None, f"{NAMES[0]}.gz": gzip.compress(TINY[NAMES[0]])[:-20]},
        f"{NAMES[0]}.gz is a broken gzip file",
    ),
}


@pytest.mark.parametrize("fault", FOLDER_FAULTS)
def test_a_named_folder_that_fails_is_the_error(tmp_path, monkeypatch, fault):
    changes, reason = FOLDER_FAULTS[fault]
    contents = {name: content for name, content in {**TINY, **changes}.items() if content}
    folder = tmp_path / "mine"
    if contents:
        write_folder(folder, contents)
    # A source that would serve is not asked: the user named a folder.
    serve_from(monkeypatch, Folder(write_folder(tmp_path / "good", TINY)))
    with pytest.raises(UserError) as caught:
        fetch_dataset("tiny", tmp_path / "data" / "raw", folder)
    message = str(caught.value)
    assert message.startswith(f"the folder {folder}: ")
    assert reason in message
    assert all(name in message for name in NAMES)
    assert "\n" not in message
    assert_nothing_left(tmp_path)


def test_unpacking_stops_at_the_size_of_the_file(tmp_path):
    folder = write_folder(tmp_path / "mine", TINY, NAMES)
    bomb = gzip.compress(bytes(1_000_000))
    assert len(bomb) < 1500  # so it is not refused for its own length
    (folder / f"{NAMES[0]}.gz").write_bytes(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=f"{NAMES[0]}.gz unpacks to more than 516 bytes"):
            fetch_dataset("tiny", tmp_path / "data" / "raw", folder)
        assert tracemalloc.get_traced_memory()[1] < 700_000
    finally:
        tracemalloc.stop()


# Whole or not at all


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")])
def test_what_was_there_stays_when_it_stops_midway(tmp_path, monkeypatch, error):
    raw = tmp_path / "data" / "raw"
    raw.mkdir(parents=True)
    (raw / NAMES[0]).write_text("from before")
    mine = write_folder(tmp_path / "mine", TINY)
    written = []
    write_bytes = Path.write_bytes

    def write_two(path, content):
        if len(written) == 2:
            raise error
        written.append(path.name)
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_two)
    with pytest.raises(type(error)):
        fetch_dataset("tiny", raw, mine)
    assert written == list(NAMES[:2])
    assert [path.name for path in raw.parent.iterdir()] == ["raw"]
    assert [path.read_text() for path in raw.iterdir()] == ["from before"]


def test_a_source_that_fails_midway_leaves_nothing_to_the_next(tmp_path, fetch):
    half = write_folder(tmp_path / "half", {**TINY, NAMES[3]: b""})
    good = write_folder(tmp_path / "good", TINY, NAMES)
    lines = fetch(Folder(half), Folder(good))
    assert lines == [
        f"the folder {half}: {NAMES[3]} is empty",
        f"Tiny: four files from the folder {good}, SHA-256 verified",
    ]
    assert_fetched(tmp_path)


def test_a_data_set_without_a_source_comes_from_a_folder_alone(tmp_path):
    with pytest.raises(UserError) as caught:
        fetch_dataset("tiny", tmp_path / "data" / "raw")
    assert str(caught.value) == (
        "no source of Tiny works: none is known."
        " Name a folder that has the files: ACTLAB_DATA=folder dvc repro"
    )
    assert_nothing_left(tmp_path)


# Mirrors; those that fail are in faults/test_data.py


@pytest.fixture
def web(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return Web()


@pytest.mark.parametrize("declared", [{}, {"Content_Encoding": "gzip"}])
def test_a_mirror_serves(tmp_path, fetch, web, declared):
    def answer(handler, name):
        send(handler, gzip.compress(TINY[name]), **declared)

    with web.serve(answer) as url:
        assert fetch(Mirror(url)) == [f"Tiny: four files from {url}, SHA-256 verified"]
    assert web.asked == [f"/data/{name}.gz" for name in NAMES]
    assert_fetched(tmp_path)


# Packages


def write_tar(path, members):
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put programs of our own before those of the system."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HERE", str(tmp_path))

    def write(name, script):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return write


NPM = NpmPackage("tiny-data@1.0.0", "package/data")
DEBIAN = DebianPackage("dataset-tiny", "./usr/share/datasets/tiny")


def test_the_npm_package_is_read_and_nothing_of_it_run(tmp_path, fetch, program):
    members = {"package/package.json": b"{}", "package/../../escape": b"!"}
    members |= {f"package/data/{name}": content for name, content in TINY.items()}
    write_tar(tmp_path / "tiny.tgz", members)
    program("npm", 'cp "$HERE/tiny.tgz" tiny-data-1.0.0.tgz; echo "$@" > "$HERE/arguments"')
    assert fetch(NPM) == ["Tiny: four files from npm package tiny-data@1.0.0, SHA-256 verified"]
    assert_fetched(tmp_path)
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments[:2] == ["pack", "tiny-data@1.0.0"]
    assert "--ignore-scripts" in arguments
    assert not list(tmp_path.rglob("escape"))


def test_the_debian_package_is_read(tmp_path, fetch, program):
    # Its files are gzipped, and lie among others of the same names.
    members = {f"./usr/share/doc/{name}.gz": b"not this" for name in TINY}
    members |= {
        f"./usr/share/datasets/tiny/{name}.gz": gzip.compress(content)
        for name, content in TINY.items()
    }
    write_tar(tmp_path / "data.tar", members)
    program("apt-get", 'echo "$@" > "$HERE/arguments"; touch dataset-tiny_1_all.deb')
    program("dpkg-deb", 'test -f "$2" && cat "$HERE/data.tar"')
    assert fetch(DEBIAN) == ["Tiny: four files from Debian package dataset-tiny, SHA-256 verified"]
    assert_fetched(tmp_path)
    assert (tmp_path / "arguments").read_text().split() == ["download", "dataset-tiny"]


@pytest.mark.parametrize("source", [NPM, DEBIAN])
def test_a_program_that_is_not_there_is_named(tmp_path, fetch, monkeypatch, source):
    monkeypatch.setenv("PATH", str(tmp_path))
    name = "npm" if source is NPM else "apt-get"
    with pytest.raises(UserError, match=f"{source.title}: there is no {name} here"):
        fetch(source)


@pytest.mark.parametrize(
    ("source", "name", "script", "reason"),
    [
        (
            NPM,
            "npm",
            "echo 'npm warn using --force\nnpm error code E404\nnpm error 404' >&2; exit 1",
            "npm pack failed: npm error code E404[.] Name a folder",
        ),
        (
            DEBIAN,
            "apt-get",
            "echo 'W: unsandboxed\nE: Unable to locate package x\nE: more' >&2; exit 1",
            "apt-get download failed: E: Unable to locate package x[.] Name a folder",
        ),
        (NPM, "npm", "exit 7", "npm pack failed: 7"),
        (NPM, "npm", "exit 0", r"0 files \*\.tgz were fetched instead of one"),
    ],
)
def test_a_program_that_fails_gives_its_reason(fetch, program, source, name, script, reason):
    program(name, script)
    with pytest.raises(UserError, match=f"{source.title}: {reason}"):
        fetch(source)


@pytest.mark.parametrize(
    ("changes", "kept", "reason"),
    [
        ({NAMES[1]: b""}, None, f"{NAMES[1]} is empty"),
        ({NAMES[3]: bytes(10**6)}, None, "has more than the 18 bytes"),
        (OTHER, None, f"{NAMES[0]} is other's {NAMES[0]}"),
        ({}, 0, r"its archive is broken|not in it"),
        ({}, 400, r"package/data|its archive is broken"),
    ],
)
def test_an_archive_with_other_files_or_cut_short_fails(
    tmp_path, fetch, program, changes, kept, reason
):
    members = {f"package/data/{name}": content for name, content in {**TINY, **changes}.items()}
    write_tar(tmp_path / "whole.tgz", members)
    (tmp_path / "tiny.tgz").write_bytes((tmp_path / "whole.tgz").read_bytes()[:kept])
    program("npm", 'cp "$HERE/tiny.tgz" .')
    with pytest.raises(UserError, match=reason):
        fetch(NPM)
    assert_nothing_left(tmp_path)


# The registry


def test_every_data_set_has_sources():
    for name in ("mnist", "fashion_mnist"):
        sources = list_sources(name)
        mirrors = [source for source in sources if isinstance(source, Mirror)]
        assert len(mirrors) >= 2
        assert all(mirror.url.startswith("https://") for mirror in mirrors)
        assert all(mirror.url.endswith("/") for mirror in mirrors)
        # For machines that reach package registries alone.
        assert isinstance(sources[-1], NpmPackage | DebianPackage)
