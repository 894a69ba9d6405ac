"""Check what DVC needs before it starts: `python -m actlab.stages.preflight`, in `make repro`.

DVC names neither the remedy for a damaged file of its own, nor the process that holds the clone.
"""

import json
import re
import sys
from datetime import datetime
from pathlib import Path

import psutil
import yaml
from dvc.lock import Lock, LockError
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from voluptuous import Invalid

from actlab.engine.surroundings import prepare
from actlab.errors import UserError

#: What restores each file that DVC reads first.
_REMEDIES = {
    "dvc.lock": "git checkout HEAD -- dvc.lock (finished stages come from DVC's cache)",
    "dvc.yaml": "edit it, or git checkout HEAD -- dvc.yaml",
    "params.yaml": "edit it, or git checkout HEAD -- params.yaml",
}
_CONFLICT = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)


def main() -> None:
    """Exit with status 1 and one line where DVC could not run."""
    try:
        prepare(Path.cwd())
        require_readable(Path.cwd())
        require_free(Path(".dvc/tmp"))
    except UserError as error:
        sys.exit(f"actlab: {error}")


def require_readable(root: Path) -> None:
    """Refuse a file of DVC's that was cut short, or in which git has left a conflict."""
    for name, remedy in _REMEDIES.items():
        path = root / name
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if _CONFLICT.search(text):
            raise UserError(f"{name} has conflict markers of git: {remedy}")
        try:
            content = yaml.CSafeLoader(text).get_single_data()  # ten times as fast as safe_load
            if name == "dvc.lock":
                COMPILED_LOCKFILE_SCHEMA(content or {})
        except (yaml.YAMLError, Invalid) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{name} is damaged or cut short ({reason}): {remedy}") from error


def require_free(folder: Path) -> None:
    """Refuse to start while another process of DVC holds the clone: see its lock files in `folder`.

    DVC passes over locks of processes that have ended.
    """
    lock, rwlock = folder / "lock", folder / "rwlock"
    holders: list[int] = []
    try:
        if lock.is_file():
            with Lock(lock):  # waits 3 s, as long as DVC does
                pass
    except LockError:
        holders += map(int, re.findall(r"\d+", lock.read_text(encoding="ascii")))
    held = rwlock.read_text(encoding="utf-8") if rwlock.is_file() else "{}"
    try:
        json.loads(held)
    except ValueError as error:
        raise UserError(f"{rwlock} was cut short: remove it, if no DVC runs here") from error
    holders += map(int, re.findall(r'"pid": (\d+)', held))
    for number in sorted(set(holders)):
        try:
            process = psutil.Process(number)
            began = datetime.fromtimestamp(process.create_time())
            command = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if "dvc" not in command:
            raise UserError(
                f"{rwlock} was left by process {number}, which is not DVC any more"
                f" ({command[:80]}): remove {rwlock}"
            )
        raise UserError(
            f"another command of DVC holds this clone: process {number} ({command[:200]}), since"
            f" {began:%Y-%m-%d %H:%M:%S}: wait until it has ended, or end it: kill {number}"
        )


if __name__ == "__main__":
    main()
