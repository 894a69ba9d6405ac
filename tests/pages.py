"""Fenced blocks of a Markdown page, and what they do to a copy of the repository.

What stands behind a block's language says where it goes: `title="file"` alone makes the file;
`into="NAME"` puts it at the end of the table of that name, `after="text"`, `before="text"` and
`replaces="text"` beside, or in place of, the one line that has the text.
"""

import ast
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)(?P<told>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block: the heading that it is under, the words before it, and itself."""

    heading: str
    before: str
    language: str
    told: dict[str, str]
    text: str


def blocks(page: str) -> list[Block]:
    """Give the blocks of a page in their order."""
    found, end = [], 0
    for match in _BLOCK.finditer(page):
        headings = re.findall(r"^## (.+)$", page[: match.start()], re.MULTILINE)
        found.append(
            Block(
                headings[-1] if headings else "",
                page[end : match.start()],
                match["language"],
                dict(word.split("=", 1) for word in shlex.split(match["told"])),
                re.sub(f"^{match['indent']}", "", match["text"], flags=re.MULTILINE),
            )
        )
        end = match.end()
    return found


def apply(block: Block, folder: Path) -> None:
    """Do what a block with a title says, in a copy of the repository."""
    told = dict(block.told)
    path = folder / told.pop("title")
    if not told:
        assert not path.exists(), f"{path.name} is there already"
        path.write_text(block.text)
        return
    ((how, where),) = told.items()
    lines = path.read_text().splitlines(keepends=True)
    if how == "into":
        at = _last_line(path, where)
    else:
        found = [number for number, line in enumerate(lines) if where in line]
        assert len(found) == 1, f"{where!r} stands in {len(found)} lines of {path.name}"
        at = found[0]
    begin, end = {"after": (at + 1, at + 1), "replaces": (at, at + 1)}.get(how, (at, at))
    assert how in ("into", "after", "before", "replaces"), how
    lines[begin:end] = block.text
    path.write_text("".join(lines))


def _last_line(path: Path, name: str) -> int:
    """Give the line that closes the table of a name, counted from 0."""
    for node in ast.parse(path.read_text()).body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        if any(isinstance(each, ast.Name) and each.id == name for each in targets):
            assert node.end_lineno
            return node.end_lineno - 1
    raise AssertionError(f"{path.name} has no {name}")
