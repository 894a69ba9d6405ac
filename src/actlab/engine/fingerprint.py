"""Digests of values, source files and package versions."""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def digest(values: object) -> str:
    """Compute the SHA-256 of values that JSON can hold, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def digest_sources(folder: Path, names: Iterable[str]) -> str:
    """Compute the SHA-256 of the files of `list_sources`, with their places."""
    hashed = hashlib.sha256()
    for path in list_sources(folder, names):
        hashed.update(str(path.relative_to(folder)).encode())
        hashed.update(path.read_bytes())
    return hashed.hexdigest()


def list_sources(folder: Path, names: Iterable[str]) -> list[Path]:
    """List Python files in a folder: those named, and all in the named folders, sorted."""
    sources = []
    for path in (folder / name for name in names):
        sources += [path] if path.is_file() else path.rglob("*.py")
    return sorted(sources)


@cache
def find_versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
