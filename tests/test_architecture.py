"""The arrows between the layers, and what a pure module may load."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("io", "pipelines", "transforms")
MODULES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))
MAY_IMPORT = {"transforms": {"transforms"}, "io": {"io", "transforms"}, "pipelines": set(LAYERS)}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_the_layers_below(layer: str) -> None:
    wrong = {
        (path.name, name)
        for path in MODULES
        if path.parent.name == layer
        for name in imports(path)
        if name.startswith("resplice.") and name.split(".")[1] not in MAY_IMPORT[layer]
    }
    assert wrong == set()


def test_a_module_is_imported_under_its_full_name_only() -> None:
    wrong = {
        (path.name, name)
        for path in [*MODULES, *(ROOT / "tests").glob("*.py")]
        for name in imports(path)
        if name.startswith((".", "transforms", "pipelines", "io."))
    }
    assert wrong == set()


def test_pure_modules_load_no_beam() -> None:
    names = sorted(path.stem for path in MODULES if path.parent.name == "transforms" and path.stem != "steps")
    lines = [f"import resplice.transforms.{name}" for name in names if name != "__init__"]
    code = "\n".join(["import sys", *lines, "print('apache_beam' in sys.modules)"])
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def test_io_is_no_regular_package() -> None:
    # With an __init__.py the folder would hide the standard library's io wherever the root is on the path.
    assert not (ROOT / "io" / "__init__.py").exists()
    assert not (ROOT / "__init__.py").exists()


def test_no_module_is_longer_than_300_lines() -> None:
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > 300} == {}
