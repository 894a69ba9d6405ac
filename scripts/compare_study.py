"""Compare the studies of two finished clones: `python scripts/compare_study.py OLD NEW`.

Made on one machine, they agree to the bit in weights, histories, test results, logits, update
ratios, layers and gradients; theory and the metadata of activations agree to a relative 1e-9. One
line per kind of file says how many agree.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

#: Kinds of files by their patterns below a clone, and whether they agree to the bit.
KINDS = {
    "weights": ("runs/*/models/seed-*/*.weights.h5", True),
    "logits": ("runs/*/results/test.npz", True),
    **{
        name: (f"runs/*/results/{name}.csv", True)
        for name in ("history", "test", "updates", "layers")
    },
    "gradients": ("results/gradients.csv", True),
    "pre-activations": ("results/preactivations.csv", True),
    "theory": ("results/theory/*.csv", False),
    "activations": ("results/activations/*/*.*", False),
}


def read(path: Path) -> Any:
    """Read a file into dictionaries and lists of arrays, numbers and texts."""
    if path.suffix == ".h5":
        arrays = {}

        def keep(name: str, held: Any) -> None:
            if isinstance(held, h5py.Dataset):
                arrays[name] = held[()]

        with h5py.File(path) as file:
            file.visititems(keep)
        return arrays
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return dict(arrays)
    if path.suffix == ".csv":
        return pd.read_csv(path).to_dict("list")
    return json.loads(path.read_text())


def is_alike(old: Any, new: Any, exact: bool) -> bool:
    """Tell whether two contents agree: numbers in their bits, or to a relative 1e-9."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(is_alike(old[key], new[key], exact) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        pairs = zip(old, new, strict=False)
        return len(old) == len(new) and all(is_alike(*pair, exact) for pair in pairs)
    if isinstance(old, np.ndarray) and isinstance(new, np.ndarray):
        return (old.dtype, old.shape, old.tobytes()) == (new.dtype, new.shape, new.tobytes())
    if isinstance(old, float) and isinstance(new, float):
        return np.isclose(old, new, rtol=0 if exact else 1e-9, atol=0, equal_nan=True).item()
    return old == new


def agree(old: Path, new: Path, exact: bool) -> bool:
    """Tell whether two files agree; exact tables do byte by byte."""
    if not (old.is_file() and new.is_file()):
        return False
    if exact and old.suffix == ".csv":
        return old.read_bytes() == new.read_bytes()
    return is_alike(read(old), read(new), exact)


def compare(old: Path, new: Path) -> Iterator[tuple[str, int, list[str]]]:
    """Give, for each kind, the number of files in either clone, and those that do not agree."""
    for kind, (pattern, exact) in KINDS.items():
        names = {path.relative_to(clone) for clone in (old, new) for path in clone.glob(pattern)}
        wrong = [str(name) for name in sorted(names) if not agree(old / name, new / name, exact)]
        yield kind, len(names), wrong


def main() -> int:
    """Print one line per kind; return 1 where files differ or are missing."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    old, new = map(Path, sys.argv[1:])
    failed = False
    for kind, count, wrong in compare(old, new):
        failed = failed or bool(wrong) or not count
        print(f"{kind}: {count - len(wrong)} of {count} agree", *wrong[:5])
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
