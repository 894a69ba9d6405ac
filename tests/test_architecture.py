"""docs/architecture.md against the code: both drawings, the map, and the names that it calls."""

import ast
import re
from itertools import pairwise, product

import pytest
import test_imports
import yaml


@pytest.fixture(scope="module")
def page(root):
    return (root / "docs/architecture.md").read_text()


@pytest.fixture(scope="module")
def drawings(page):
    """The pipeline and the code, as Mermaid has them."""
    pipeline, code = re.findall(r"^```mermaid\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return pipeline, code


def edges_of(drawing):
    """The arrows of a drawing: `a & b --> c --> d` are three."""
    drawn = re.sub(r'(\["[^"]*"\]|\[[^\]]*\]|\{\{[^}]*\}\}|\[\([^)]*\)\])', "", drawing)
    edges = set()
    for line in drawn.splitlines():
        groups = [re.findall(r"\w+", each) for each in re.split(r"-->|--.*?-->", line)]
        for left, right in pairwise(groups):
            edges |= set(product(left, right))
    return edges


def reachable(edges):
    """Every pair of nodes that arrows lead between."""
    pairs = set(edges)
    while more := {(a, d) for (a, b), (c, d) in product(pairs, pairs) if b == c} - pairs:
        pairs |= more
    return pairs


def difference(drawn, real):
    """What is drawn and not there, and what is there and follows from nothing that is drawn."""
    return sorted(drawn - real), sorted(real - reachable(drawn))


def test_arrows_are_read_and_missed():
    drawn = edges_of('a["x --> y"] --> b & c\n    c --> d[e] -- why: so --> f{{g}}\n')
    assert drawn == {("a", "b"), ("a", "c"), ("c", "d"), ("d", "f")}
    assert difference(drawn, {*drawn, ("a", "f")}) == ([], [])
    assert difference(drawn, {("a", "b"), ("b", "d")}) == (
        [("a", "c"), ("c", "d"), ("d", "f")],
        [("b", "d")],
    )


# --- the code ---------------------------------------------------------------------------------


def imported(path):
    """The modules of actlab that a file imports, lazily or not."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "actlab":
            parts = (node.module or "").split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            parts = [alias.name.split(".") for alias in node.names]
            found |= {each[1] for each in parts if each[0] == "actlab" and len(each) > 1}
    return found


@pytest.fixture(scope="module")
def imports(root):
    """Which module imports which; all of stages/ is one."""
    package = root / "src/actlab"
    found = {path.stem: imported(path) for path in package.glob("*.py") if path.stem[0] != "_"}
    found["stages"] = set().union(*map(imported, (package / "stages").glob("*.py")))
    return {module: names & found.keys() - {module} for module, names in found.items()}


def not_drawn(page):
    (told,) = re.findall(r"Not drawn: (.*?),\s+which most", page, re.DOTALL)
    return set(re.findall(r"`(\w+)`", told))


def test_the_drawing_of_the_code_has_every_module_and_every_import(page, drawings, imports):
    drawn, left_out = edges_of(drawings[1]), not_drawn(page)
    modules = {module for edge in drawn for module in edge}
    assert set(imports) <= modules | left_out, "to be drawn in docs/architecture.md, or named there"
    assert modules | left_out <= set(imports), "drawn or named, and no modules"
    assert not modules & left_out
    real = {(one, other) for one in modules for other in imports[one] & modules}
    unreal, missing = difference(drawn, real)
    assert not unreal, "drawn, and no imports"
    assert not missing, "imports that follow from no arrow"


def test_imports_point_one_way(imports):
    edges = {(one, other) for one, others in imports.items() for other in others}
    assert not {module for module in imports if (module, module) in reachable(edges)}


def test_what_is_not_drawn_is_imported_by_many(page, imports):
    for module in not_drawn(page):
        assert sum(module in others for others in imports.values()) >= 4, module


def test_the_core_that_is_drawn_is_the_one_that_is_tested(drawings):
    (core,) = re.findall(r"subgraph core .*?\n(.*?)^    end", drawings[1], re.MULTILINE | re.DOTALL)
    drawn = {module for edge in edges_of(core) for module in edge}
    assert len(drawn) > 10
    assert drawn <= set(test_imports.CORE)


def test_the_map_names_every_module(root, imports):
    docstring = ast.get_docstring(ast.parse((root / "src/actlab/__init__.py").read_text())) or ""
    table, below = docstring.rsplit("====\n", 1)[0], docstring.rsplit("====", 1)[1]
    rows = re.findall(r"^`(\w+)` ", table, re.MULTILINE)
    assert len(rows) == len(set(rows))
    named = {*rows, *re.findall(r"`(\w+)`", below)}
    assert set(imports) <= named
    assert set(rows) <= set(imports)


def test_every_name_of_a_module_that_the_page_calls_is_there(root, page):
    """`training.compile_step` is a name of training.py, `tests/test_imports.py` a file."""
    files = re.findall(r"`((?:tests|conf|\.dvc|stages|hydra_plugins)/[\w/.]*\w)`", page)
    called = set()
    for module, name in re.findall(r"`(\w+)\.(\w+)`", page):
        sources = [path.read_text() for path in (root / "src/actlab").glob(f"**/{module}.py")]
        if sources and name not in ("py", "json", "csv", "fit"):  # model.fit is Keras's
            called.add(name)
            defined = re.compile(rf"^(def|class) {name}\b|^{name} ?[:=]", re.MULTILINE)
            assert any(map(defined.search, sources)), f"{module}.{name}"
    assert len(called) > 5
    assert len(files) > 5
    generated = {".dvc/plots/page.html", ".dvc/config.local"}  # by `make setup`
    for name in set(files) - generated:
        places = [root / name, root / "src" / name, root / "src/actlab" / name]
        places += [each.with_suffix(".py") for each in places]
        assert any(each.exists() for each in places), name


def test_no_value_of_the_configuration_has_a_default(root):
    classes = ast.parse((root / "src/actlab/config.py").read_text()).body
    fields = [
        field
        for each in classes
        if isinstance(each, ast.ClassDef)
        for field in each.body
        if isinstance(field, ast.AnnAssign)
    ]
    assert len(fields) > 40
    assert not [field for field in fields if field.value is not None]


# --- the pipeline -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stages(root):
    """Of each stage of DVC's what it takes and what it gives."""
    defined = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    return {
        name: (
            [dep for dep in stage["deps"] if not dep.startswith("src/")],
            [
                next(iter(out)) if isinstance(out, dict) else out
                for out in [*stage["outs"], *stage.get("metrics", [])]
            ],
        )
        for name, stage in defined.items()
    }


def labels_of(drawing, stages):
    """The nodes that are stages: name -> stage and the outputs that are told of it."""
    found = re.findall(r'(\w+)\["?([^\]"]+)"?\]', drawing)
    told = {node: label.split("<br>") for node, label in found}
    return {
        node: (lines[0].partition("@")[0], " ".join(lines[1:]).split())
        for node, lines in told.items()
        if lines[0].partition("@")[0] in stages
    }


def overlap(one, other):
    """Whether one path is the other, or holds it."""
    one, other = f"{one.rstrip('/')}/", f"{other.rstrip('/')}/"
    return one.startswith(other) or other.startswith(one)


def test_the_drawing_of_the_pipeline_is_that_of_dvc(drawings, stages):
    labels = labels_of(drawings[0], stages)
    assert {stage for stage, _ in labels.values()} == set(stages)
    drawn = {
        (labels[one][0], labels[other][0])
        for one, other in edges_of(drawings[0])
        if one in labels and other in labels
    }
    real = {
        (one, other)
        for (one, (_, outs)), (other, (deps, _)) in product(stages.items(), stages.items())
        if one != other and any(overlap(out, dep) for out, dep in product(outs, deps))
    }
    unreal, missing = difference(drawn, real)
    assert not unreal, "drawn, and DVC knows of none"
    assert not missing, "depends, and no arrow leads there"
    for stage, told in labels.values():
        for path in told:
            assert any(out.startswith(path.rstrip("/")) for out in stages[stage][1]), path
