"""List the configured runs with their digests: `python -m actlab.stages.collect`.

What is measured from runs depends on these lists, not on the folder `runs`, which keeps the runs of
configurations that have left params.yaml.
"""

import hashlib
import json
from itertools import product
from pathlib import Path

from actlab.errors import UserError
from actlab.schema import Config
from actlab.stages.entry import run

#: What a run folder has that others depend on.
KINDS = ("models", "results", "timings.csv")


def digest(path: Path) -> str:
    """Compute the SHA-256 of a file, or of all files in a folder with their places."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    if not files:
        raise UserError(f"{path} is missing: run `dvc repro`")
    hashed = hashlib.sha256()
    for each in files:
        with each.open("rb") as file:
            hashed.update(str(each.relative_to(path)).encode())
            hashed.update(hashlib.file_digest(file, "sha256").digest())
    return hashed.hexdigest()


def collect(config: Config) -> None:
    """Write one list per kind of file: the name of every configured run, and its digest."""
    from actlab.engine.files import atomic_write
    from actlab.models.files import run_path

    folders = [
        run_path(config.paths.runs, *names)
        for names in product(config.activations, config.networks)
    ]
    with atomic_write(Path(config.paths.results) / "manifest") as manifest:
        manifest.mkdir()
        for kind in KINDS:
            digests = {folder.name: digest(folder / kind) for folder in folders}
            listed = manifest / f"{Path(kind).stem}.json"
            listed.write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(collect)
