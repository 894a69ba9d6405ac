"""List the configured runs with their digests: `python -m actlab.stages.collect`.

Later stages depend on these lists, not on the folder `runs`, which also keeps the runs of
configurations that are no longer in params.yaml.
"""

import hashlib
import json
from itertools import product
from pathlib import Path

from actlab.errors import UserError
from actlab.schema import Config
from actlab.stages.entry import run


def digest(path: Path) -> str:
    """Compute the SHA-256 of a file, or of all files in a folder with their places."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    if not files:
        raise UserError(f"{path} is missing: run `dvc repro`")
    hashed = hashlib.sha256()
    for file in files:
        hashed.update(str(file.relative_to(path)).encode())
        hashed.update(hashlib.sha256(file.read_bytes()).digest())
    return hashed.hexdigest()


def collect(config: Config) -> None:
    """Write, for each kind of file, the names of the configured runs and their digests."""
    from actlab.engine.files import atomic_write
    from actlab.models.files import run_path

    configured = product(config.activations, config.networks)
    folders = [run_path(config.paths.runs, *names) for names in configured]
    with atomic_write(Path(config.paths.results) / "manifest") as manifest:
        manifest.mkdir()
        for kind in ("models", "results", "timings.csv"):
            digests = {folder.name: digest(folder / kind) for folder in folders}
            path = manifest / f"{Path(kind).stem}.json"
            path.write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(collect)
