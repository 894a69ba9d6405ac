"""The raw files of a data set, in a folder of its own: provided where a command needs them."""

from pathlib import Path

from actlab.data import own
from actlab.data.datasets import OwnFiles, list_files, load_definition, read_raw
from actlab.data.download import fetch_dataset
from actlab.engine.files import remove_abandoned
from actlab.engine.locks import file_lock


def provide_raw(name: str, root: Path, source: str | None = None) -> None:
    """Provide the raw files of a data set in the folder `root / name`.

    Files that are missing or damaged are fetched, and a user's own that have changed are converted,
    once: other processes wait. `source` is as in `download.fetch_dataset`.
    """
    folder, definition = root / name, load_definition(name)
    title = definition.title
    if not _find_fault(name, folder):
        print(f"{title}: in {folder}, SHA-256 verified", flush=True)
        return
    root.mkdir(parents=True, exist_ok=True)
    with file_lock(root / f".{name}.lock", f"{title}: waiting for another process that fetches it"):
        remove_abandoned(folder)
        if not (fault := _find_fault(name, folder)):
            return
        if isinstance(definition, OwnFiles):
            own.convert(name, definition, folder)
            print(f"{title}: converted from {definition.path}", flush=True)
            return
        if folder.exists():
            print(f"{fault}: fetching {title} again", flush=True)
        fetch_dataset(
            name,
            folder,
            Path(source).expanduser() if source else None,
            say=lambda line: print(line, flush=True),
        )


def _find_fault(name: str, folder: Path) -> str | None:
    """Explain what is wrong with the files in a folder, if anything."""
    definition = load_definition(name)
    if isinstance(definition, OwnFiles):
        return None if own.is_converted(definition, folder) else "it has to be converted"
    faults = (read_raw(folder / file.name, file)[0] for file in list_files(name))
    return next(filter(None, faults), None)
