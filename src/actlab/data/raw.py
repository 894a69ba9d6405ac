"""The raw files of a data set, in a folder of its own: provided where a command needs them."""

from pathlib import Path

from actlab.data import own
from actlab.data.datasets import OwnFiles, list_files, load_definition, parse_idx, read_raw
from actlab.data.download import fetch_dataset
from actlab.engine.files import remove_abandoned
from actlab.engine.locks import file_lock
from actlab.errors import UserError


def provide_raw(name: str, root: Path, source: str | None = None) -> bool:
    """Provide the raw files of a data set in the folder `root / name`.

    Files that are missing or damaged are fetched, and a user's own that have changed are converted,
    once: other processes wait. `source` is as in `download.fetch_dataset`. Returns whether they
    were not there.
    """
    folder, definition = root / name, load_definition(name)
    title = definition.title
    has_leftovers = any(root.glob(f".{name}.*.partial"))
    if not has_leftovers and not _find_fault(name, folder):
        return False
    root.mkdir(parents=True, exist_ok=True)
    with file_lock(root / f".{name}.lock", f"{title}: waiting for another process that fetches it"):
        remove_abandoned(folder, is_locked=True)
        if not (fault := _find_fault(name, folder)):
            return False
        if isinstance(definition, OwnFiles):
            own.convert(name, definition, folder)
            print(f"{title}: converted from {definition.path}", flush=True)
            return True
        if folder.exists():
            print(f"{fault}: fetching {title} again", flush=True)
        fetch_dataset(
            name,
            folder,
            Path(source).expanduser() if source else None,
            say=lambda line: print(line, flush=True),
        )
        _require_classes(name, folder)
    return True


def _require_classes(name: str, folder: Path) -> None:
    """Refuse labels that have no class, and splits with another number of labels than of images."""
    definition = load_definition(name)
    assert not isinstance(definition, OwnFiles)
    last = len(definition.classes) - 1
    for images, labels in (
        (definition.train_images, definition.train_labels),
        (definition.test_images, definition.test_labels),
    ):
        if images.shape[0] != labels.shape[0]:
            raise UserError(
                f"conf/data/{name}.yaml: {images.name} has {images.shape[0]} images,"
                f" {labels.name} {labels.shape[0]} labels: it has to be one label per image"
            )
        if (greatest := parse_idx((folder / labels.name).read_bytes()).max()) > last:
            raise UserError(
                f"conf/data/{name}.yaml: {labels.name} has the label {greatest}: with"
                f" {last + 1} classes it has to be from 0 to {last}"
            )


def _find_fault(name: str, folder: Path) -> str | None:
    """Explain what is wrong with the files in a folder, if anything."""
    definition = load_definition(name)
    if isinstance(definition, OwnFiles):
        return None if own.is_converted(definition, folder) else "it has to be converted"
    faults = (read_raw(folder / file.name, file)[0] for file in list_files(name))
    return next(filter(None, faults), None)
