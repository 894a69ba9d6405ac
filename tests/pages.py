"""Fenced blocks of a Markdown page, and what they do to a copy of the repository.

A block whose first line has `title="file"` makes that file. With a comment over it, which no reader
sees, it goes into one that is there: `<!-- into NAME -->` at the end of the table of that name,
`<!-- after text -->`, `before` and `replaces` beside, or in place of, the one line with the text.
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n"
    r"(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_PLACE = re.compile(r"<!-- (into|after|before|replaces) (.+) -->\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block: the heading that it is under, the words before it, and itself.

    `how` and `where` are of its comment; empty where it makes a file, or is no part of one.
    """

    heading: str
    before: str
    language: str
    title: str
    how: str
    where: str
    text: str


def blocks(page: str) -> list[Block]:
    """Give the blocks of a page in their order."""
    found, end = [], 0
    for match in _BLOCK.finditer(page):
        headings = re.findall(r"^## (.+)$", page[: match.start()], re.MULTILINE)
        before = page[end : match.start()]
        place = _PLACE.search(before)
        how, where = place.groups() if place else ("", "")
        found.append(
            Block(
                headings[-1] if headings else "",
                before[: place.start()] if place else before,
                match["language"],
                match["title"] or "",
                how,
                where,
                re.sub(f"^{match['indent']}", "", match["text"], flags=re.MULTILINE),
            )
        )
        end = match.end()
    return found


def apply(block: Block, folder: Path) -> None:
    """Do what a block with a title says, in a copy of the repository."""
    path = folder / block.title
    if not block.how:
        assert not path.exists(), f"{path.name} is there already"
        path.write_text(block.text)
        return
    lines = path.read_text().splitlines(keepends=True)
    if block.how == "into":
        at = _last_line(path, block.where)
    else:
        found = [number for number, line in enumerate(lines) if block.where in line]
        assert len(found) == 1, f"{block.where!r} stands in {len(found)} lines of {path.name}"
        at = found[0]
    begin, end = {"after": (at + 1, at + 1), "replaces": (at, at + 1)}.get(block.how, (at, at))
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
