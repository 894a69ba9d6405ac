"""MkDocs hooks: pages from files outside docs/, and the links between pages.

The site's home is README.md; then come the Markdown of docs/, the notebook of the lessons, and a
reference of the library and each module of `src/actlab`, from the docstrings.
"""

import ast
import fnmatch
import hashlib
import posixpath
import re
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

from actlab.engine.files import atomic_write

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/actlab"

#: The packages of the reference, in the order of the data.
PACKAGES = ("data", "activations", "models", "training", "probes", "results", "evidence", "engine")

#: The script that draws diagrams: its path in docs/, its npm package, its path there.
MERMAID = "assets/mermaid.tiny.js"
_PACKAGE, _MEMBER = "@mermaid-js/tiny@11.17.2", "package/dist/mermaid.tiny.js"
_SHA256 = "7a644017d37f93c8359790884e6b67fb1f747c78eb20475952404bd87190a3f8"


def on_pre_build(config: MkDocsConfig) -> None:
    """Fetch the script that draws diagrams, unless it is there; npm runs none of its code."""
    path = Path(config.docs_dir) / MERMAID
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == _SHA256:
        return
    command = ["npm", "pack", _PACKAGE, "--ignore-scripts", "--loglevel=error"]
    try:
        with TemporaryDirectory() as folder:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
            with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
                member = archive.extractfile(_MEMBER)
                script = member.read() if member else b""
    except (OSError, subprocess.SubprocessError, tarfile.TarError, KeyError) as error:
        raise PluginError(f"{_PACKAGE}, which draws the diagrams, is not there: {error}") from error
    if hashlib.sha256(script).hexdigest() != _SHA256:
        raise PluginError(f"{_MEMBER} of {_PACKAGE} is not the file whose SHA-256 is known")
    with atomic_write(path) as whole:
        whole.write_bytes(script)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not Markdown files of docs/."""
    pages: dict[str, str | bytes] = {"index.md": (ROOT / "README.md").read_text(encoding="utf-8")}
    pages |= _write_reference()
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            pages |= _convert_notebook(file.src_uri, Path(config.docs_dir))
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    config.nav = _expand(config.nav, sorted(file.src_uri for file in files))
    return files


def _expand(entries: Any, names: list[str]) -> Any:
    """Replace a name with a star by the pages that it matches."""
    if isinstance(entries, dict):
        return {title: _expand(below, names) for title, below in entries.items()}
    if not isinstance(entries, list):
        return entries
    expanded = []
    for entry in entries:
        if isinstance(entry, str) and "*" in entry:
            found = fnmatch.filter(names, entry)
            # A folder's own page comes first.
            expanded += sorted(found, key=lambda name: (not name.endswith("/index.md"), name))
        else:
            expanded.append(_expand(entry, names))
    return [entry for entry in expanded if not (isinstance(entry, dict) and [] in entry.values())]


def _write_reference() -> dict[str, str | bytes]:
    """Write the pages of the reference: the library, and one page per module."""
    public = ast.literal_eval(
        next(
            node.value
            for node in ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        )
    )
    functions = sorted(public, key=lambda name: (name[0].isupper(), name))
    lead = "# actlab\n\nWhat `import actlab` gives. Each name imports what it needs.\n"
    modules = [
        f"{package}.{path.stem}"
        for package in PACKAGES
        for path in sorted((PACKAGE / package).glob("*.py"))
        if path.stem != "__init__"
    ]
    rows = [f"| [{name}]({name}.md) | {_read_summary(name)} |" for name in modules]
    table = "\n".join(["## The core, module by module", "", "| module | |", "| --- | --- |", *rows])
    pages: dict[str, str | bytes] = {
        "reference/index.md": "\n\n".join(
            [lead, *(f"::: actlab.{name}" for name in functions), table]
        )
    }
    for name in modules:
        options = "    options:\n      heading_level: 1\n"
        pages[f"reference/{name}.md"] = f"---\ntitle: {name}\n---\n::: actlab.{name}\n{options}"
    return pages


def _read_summary(module: str) -> str:
    """Read the first line of a module's docstring."""
    source = (PACKAGE / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def _convert_notebook(name: str, docs: Path) -> dict[str, str | bytes]:
    """Convert a notebook to a page, and the pictures of its outputs."""
    page = name.removesuffix(".ipynb")
    notebook = nbformat.read(docs / name, as_version=4)
    resources = {"unique_key": posixpath.basename(page), "output_files_dir": "outputs"}
    text, resources = MarkdownExporter().from_notebook_node(notebook, resources)
    folder = posixpath.dirname(page)
    pictures = {
        posixpath.join(folder, path): content for path, content in resources["outputs"].items()
    }
    # The site has its own style of tables.
    text = re.sub(r"<style scoped>.*?</style>", "", text, flags=re.DOTALL)
    text = text.replace('<table border="1" class="dataframe">', "<table>")
    title, _, rest = text.lstrip().partition("\n")
    link = (
        f"[The notebook]({posixpath.basename(name)}) to run, with what it gave when it last ran.\n"
    )
    return {f"{page}.md": f"{title}\n\n{link}{rest}", **pictures}


_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to pages of the site; links to other files of the repository become words."""
    here = page.file.src_uri
    folder = "." if here == "index.md" else posixpath.join("docs", posixpath.dirname(here))

    def resolve(found: re.Match[str]) -> str:
        bang, text, target, anchor = found.groups()
        path = posixpath.normpath(posixpath.join(folder, target))
        if path == "README.md":
            path = "docs/index.md"
        elif module := re.fullmatch(r"src/actlab/(\w+)\.py", path):
            path = f"docs/reference/{module[1]}.md"
        if path.endswith(".ipynb") and not text.startswith("The notebook"):
            path = f"{path.removesuffix('.ipynb')}.md"
        name = path.removeprefix("docs/")
        if path.startswith("docs/") and files.get_file_from_path(name):
            name = posixpath.relpath(name, posixpath.dirname(here) or ".")
            return f"{bang}[{text}]({name}{anchor or ''})"
        # What does not exist is left to --strict.
        return text if (ROOT / path).exists() else found[0]

    # A comment in front keeps MkDocs from taking the heading for the page's title.
    return _LINK.sub(resolve, re.sub(r"\A\s*<!--.*?-->\s*", "", markdown, flags=re.DOTALL))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put each diagram into a box that scrolls."""
    return re.sub(
        r'(<pre class="mermaid">.*?</pre>)', r'<div class="diagram">\1</div>', html, flags=re.DOTALL
    )


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Add the site's own script for diagrams, which the theme would load from the web."""
    if 'class="mermaid"' not in output:
        return output
    up = "../" * page.url.count("/")
    return output.replace("</head>", f'<script src="{up}{MERMAID}"></script></head>', 1)


def on_post_build(config: MkDocsConfig) -> None:
    """Remove the page of missing files, whose links are relative to a server's root."""
    (Path(config.site_dir) / "404.html").unlink()
