"""Version, licence, citation and hooks agree with each other."""

import re
import tomllib
from datetime import date

import yaml


def test_one_version_in_project_citation_and_changelog(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    changelog = (root / "CHANGELOG.md").read_text()
    released = re.findall(r"^## (\d\S*) - (\S+)$", changelog, re.MULTILINE)
    assert released[0] == (project["version"], str(citation["date-released"]))
    assert citation["version"] == project["version"]
    assert [when for _, when in released] == sorted((when for _, when in released), reverse=True)
    date.fromisoformat(released[0][1])
    assert re.findall(r"^## (.+)$", changelog, re.MULTILINE)[0] == "Unreleased"


def test_one_licence_and_one_holder(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    licence = (root / "LICENSE").read_text()
    assert project["license"] == citation["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0, January 2004" in licence
    holder = project["authors"][0]["name"]
    assert f"Copyright 2026 {holder}" in licence
    assert citation["authors"][0]["name"].lower() == holder
    for name in project["license-files"]:
        assert (root / name).is_file()


def test_the_commands_of_contributing_are_there(root):
    named = set(re.findall(r"`make ([a-z-]+)`", (root / "CONTRIBUTING.md").read_text()))
    made = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE))
    assert set() < named <= made


def test_commits_are_checked_by_the_tools_of_the_lock(root):
    repos = yaml.safe_load((root / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]  # no versions other than those of the lock
    lint = re.findall(r"^lint: .*\n((?:\t.*\n)+)", (root / "Makefile").read_text(), re.MULTILINE)
    made = {" ".join(line.strip("\t@").split()[:2]) for line in lint[0].splitlines()}
    entries = [hook["entry"] for hook in repos[0]["hooks"]]
    assert all(entry.startswith(".venv/bin/") for entry in entries)
    assert {" ".join(entry.removeprefix(".venv/bin/").split()[:2]) for entry in entries} == made
