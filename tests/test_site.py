"""The documentation as a site: built strictly, complete, and nothing in it from the web."""

import io
import os
import re
import subprocess
import sys
import tarfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest
import site_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError

import actlab

#: What a page makes a browser fetch: the attribute of each element that names it.
FETCHED = {"link": "href", "object": "data"}
for tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
    FETCHED[tag] = "src"


class Elements(HTMLParser):
    """Ids, links, and what is fetched, of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.fetched = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if "id" in values:
            self.ids.add(values["id"])
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if values.get(FETCHED.get(tag, "")):
            self.fetched.append(values[FETCHED[tag]])


@pytest.fixture(scope="module")
def site(root, tmp_path_factory):
    """Build the site once; gives its folder and its pages' text by path."""
    folder = tmp_path_factory.mktemp("site") / "built"
    finished = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=root,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    pages = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.html")}
    return folder, pages


@pytest.fixture(scope="module")
def elements(site):
    return {name: Elements(text) for name, text in site[1].items()}


def test_a_script_that_is_not_the_known_one_is_refused(tmp_path, monkeypatch):
    def pack(command, cwd, **_):
        with tarfile.open(Path(cwd) / "fetched.tgz", "w:gz") as archive:
            member = tarfile.TarInfo("package/dist/mermaid.tiny.js")
            member.size = 5
            archive.addfile(member, io.BytesIO(b"other"))

    config: Any = MkDocsConfig()
    config.docs_dir = str(tmp_path)
    monkeypatch.setattr(site_pages.subprocess, "run", pack)
    with pytest.raises(PluginError, match="is not the file whose SHA-256 is known"):
        site_pages.on_pre_build(config)
    assert list(tmp_path.rglob("*.js")) == []


def test_every_public_name_has_its_place(elements):
    ids = elements["reference/index.html"].ids
    assert {f"actlab.{name}" for name in actlab.__all__} <= ids
    assert "actlab.Fit.model" in ids
    assert "actlab.training.trainer.fit_seeds" in elements["reference/training.trainer.html"].ids


def test_the_documents_and_the_notebook_are_pages(root, site):
    folder, pages = site
    documents = [*(root / "docs").glob("*.md"), *(root / "docs/lessons").glob("*.*")]
    names = [path.relative_to(root / "docs").with_suffix(".html") for path in documents]
    assert {str(name) for name in names} <= set(pages)
    assert "What does the choice of activation function do to a network?" in pages["index.html"]
    figures = re.findall(r'<img alt="png" src="([^"]+)"', pages["lessons/activation_study.html"])
    assert len(figures) == 5
    for figure in figures:
        assert (folder / "lessons" / figure).read_bytes().startswith(b"\x89PNG")


def test_nothing_is_fetched_from_the_web(site, elements):
    folder, _ = site
    for name, page in elements.items():
        for address in page.fetched:
            assert not re.match(r"(https?:)?//", address), (name, address)
            assert (folder / name).parent.joinpath(unquote(urldefrag(address)[0])).is_file()
    for sheet in folder.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", sheet.read_text()), sheet


def test_every_link_within_the_site_leads_somewhere(site, elements):
    folder = site[0].resolve()
    for name, page in elements.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            address, anchor = urldefrag(link)
            target = folder / name
            if address:
                target = (target.parent / unquote(address)).resolve()
            if target.is_dir():
                target /= "index.html"
            assert target.is_file(), (name, link)
            if anchor and target.suffix == ".html" and not anchor.startswith("__"):
                ids = elements[str(target.relative_to(folder))].ids
                assert unquote(anchor) in ids, (name, link)
