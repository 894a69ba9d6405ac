"""Where MLflow's store is, and how its failures are reported."""

import os
import re
import shlex
import socket
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote

from tqdm import tqdm

from actlab.errors import UserError

#: Begins the address of a SQLite store; what follows is its file.
SQLITE = "sqlite:///"

#: Writes to MLflow what it lacks.
SYNC = "python -m actlab.stages.sync"

# What a store's address may begin with; MLflow's plugins add their own.
_SCHEMES = {"http", "https", "postgresql", "mysql", "mssql", "databricks", "databricks-uc", "uc"}


def root() -> Path:
    """Return the root of the main checkout: DVC's temporary experiments name it in DVC_ROOT."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


class StoreError(Exception):
    """A store that cannot be used as it is: the reason, and what the user can do."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.remedy = remedy


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI, or mlflow.db; a relative SQLite file counts from the root.

    Raises
    ------
    StoreError
        When MLflow has no store at such an address.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip() or f"{SQLITE}mlflow.db"
    path, mark, query = uri.removeprefix(SQLITE).partition("?")
    if uri.startswith(SQLITE) and path not in ("", ":memory:"):
        file = (root() / Path(path).expanduser()).resolve()
        return f"{SQLITE}{file}{mark}{query}"
    scheme = uri.partition(":")[0].partition("+")[0]
    plugins = {plugin.name for plugin in metadata.entry_points(group="mlflow.tracking_store")}
    if scheme not in _SCHEMES | plugins:
        raise StoreError(
            f"MLFLOW_TRACKING_URI is {hide_credentials(uri)!r}, where MLflow cannot keep runs",
            f"set it to {SQLITE}<file>, to a server's http://<host>:<port> or to a database's"
            " address",
        )
    return uri


def sqlite_file() -> Path | None:
    """Return the file of a SQLite store; None for another store."""
    uri = tracking_uri()
    if not uri.startswith(SQLITE):
        return None
    file = Path(uri.removeprefix(SQLITE).partition("?")[0])
    if file.is_dir():
        raise StoreError(
            f"MLflow's store {file} is a folder", f"name a file: {SQLITE}{file}/mlflow.db"
        )
    return file


def hide_credentials(text: str) -> str:
    """Remove the credentials from the URLs in a text.

    >>> hide_credentials("no driver for postgresql://me:secret@host/mlflow?password=secret")
    'no driver for postgresql://host/mlflow'
    """
    text = re.sub(r"(?<=://)(?!/)\S*@", "", text)
    return re.sub(r"(://[^\s?]*)\?[^\s'\")]*", r"\1", text)


def _find_secrets(uri: str) -> list[str]:
    """Find the pieces of a URI's password, or token, and of the values in its query.

    What parses a URL cuts a password at a slash, and may quote a piece of it.
    """
    if uri.startswith(SQLITE):
        return []
    user, _, password = (re.findall(r"://(\S*)@", uri) or [""])[0].partition(":")
    secrets = [password or user, *re.findall(r"[?&][^=&]*=([^&]*)", uri)]
    pieces = [re.split("[/?#@:]", f"{secret}/{unquote(secret)}") for secret in secrets]
    return [piece for found in pieces for piece in found if piece]


def format_store_error(error: BaseException, loss: str, advice: bool = True) -> str:
    """Write one line: which store failed, why, what is lost and, with `advice`, what to do.

    The reason is the error's first cause, without credentials.
    """
    if isinstance(error, StoreError):
        return f"{error}: {loss}; {error.remedy}"
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    uri = tracking_uri()
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if found := re.search(r"out-of-date database schema \(found version (\w+)", words):
        return format_store_error(_explain_schema(uri, found[1]), loss)
    reason = " ".join(hide_credentials(words).split())
    for piece in _find_secrets(uri):
        reason = reason.replace(piece, "***")
    silent = isinstance(error, ConnectionError | TimeoutError | socket.gaierror)
    failure, when = ("does not answer", "does") if silent else ("cannot be used", "can")
    shortened = textwrap.shorten(reason, 200, placeholder=" ...")
    line = f"MLflow at {hide_credentials(uri)} {failure} ({shortened}): {loss}"
    return f"{line}; run `{SYNC}` when it {when}" if advice else line


def _explain_schema(uri: str, found: str) -> StoreError:
    """Explain that a store was made by another version of MLflow than the one that is installed."""
    version, shown = metadata.version("mlflow"), hide_credentials(uri)
    if any(file.name.startswith(found) for file in metadata.files("mlflow") or []):
        return StoreError(
            f"MLflow at {shown} was made by an older version than {version}",
            f"back it up, then run `mlflow db upgrade {shlex.quote(shown)}`",
        )
    return StoreError(
        f"MLflow at {shown} was made by a newer version than {version}",
        "use that version, or name another store in MLFLOW_TRACKING_URI",
    )


@contextmanager
def warn_on_failure(loss: str, advice: bool = True) -> Iterator[None]:
    """Report an error of the store in the block in one line, and go on after the block.

    MLflow lets through whatever its server, its database and the disk raise. A `UserError` is not
    about the store, and is raised.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        tqdm.write(format_store_error(error, loss, advice))  # leaves a progress bar intact
