"""Compare the studies of two finished clones: `python scripts/compare_study.py OLD NEW`.

Made on one machine, they have to agree to the bit in weights, histories, test results, logits,
update ratios, layers and gradients, whatever was moved in the code; theory and what is known of
each activation agree to a relative 1e-9. A line per kind of file says how many were compared.
"""

import json
import math
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
_RELATIVE = 1e-9


def read(path: Path) -> Any:
    """Read a file into dictionaries and lists of arrays, numbers and texts."""
    if path.suffix == ".h5":
        arrays = {}
        with h5py.File(path) as file:
            file.visititems(
                lambda name, held: (
                    arrays.update({name: held[()]}) if isinstance(held, h5py.Dataset) else None
                )
            )
        return arrays
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return dict(arrays)
    if path.suffix == ".csv":
        return pd.read_csv(path).to_dict("list")
    return json.loads(path.read_text())


def differ(old: Any, new: Any, exact: bool) -> bool:
    """Tell whether two contents differ: numbers in their bits, or beyond a relative 1e-9."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() != new.keys() or any(differ(old[key], new[key], exact) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        pairs = zip(old, new, strict=False)
        return len(old) != len(new) or any(differ(*pair, exact) for pair in pairs)
    if isinstance(old, np.ndarray) and isinstance(new, np.ndarray):
        return old.dtype != new.dtype or old.shape != new.shape or old.tobytes() != new.tobytes()
    if isinstance(old, float) and isinstance(new, float):
        if math.isnan(old) or math.isnan(new):
            return math.isnan(old) != math.isnan(new)
        return old != new if exact else not math.isclose(old, new, rel_tol=_RELATIVE)
    return old != new


def agree(old: Path, new: Path, exact: bool) -> bool:
    """Tell whether two files agree; of exact tables every byte counts."""
    if not (old.is_file() and new.is_file()):
        return False
    if exact and old.suffix == ".csv":
        return old.read_bytes() == new.read_bytes()
    return not differ(read(old), read(new), exact)


def compare(old: Path, new: Path) -> Iterator[tuple[str, int, list[str]]]:
    """Give, of each kind, how many files there are in either clone, and those that do not agree."""
    for kind, (pattern, exact) in KINDS.items():
        names = {path.relative_to(clone) for clone in (old, new) for path in clone.glob(pattern)}
        wrong = [str(name) for name in sorted(names) if not agree(old / name, new / name, exact)]
        yield kind, len(names), wrong


def main() -> int:
    """Print a line per kind; 1 where anything differs, lacks, or was never there."""
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
