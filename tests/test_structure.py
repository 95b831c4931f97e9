"""The structure of the package: its floors, and imports that point down only."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "orchestrator"
FLOORS = (
    {"errors", "progress", "windows"},
    {"config", "system"},
    {"ledger", "delivery", "warehouse"},
    {"files", "jobs", "loading"},
    {"pipeline"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
"""From the ground up. A package imports only from packages on lower floors."""
FLOOR = {name: number for number, floor in enumerate(FLOORS) for name in floor}


def modules() -> dict[str, Path]:
    """Return the files of the package, by their dotted names below it."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "__init__.py"
    }


MODULES = modules()


def imports(path: Path) -> Iterator[str]:
    """Yield the modules of the package that a file imports, even inside functions or for types."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("orchestrator") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("orchestrator"):
            module = (node.module or "").removeprefix("orchestrator").lstrip(".")
            for alias in node.names:
                name = f"{module}.{alias.name}".lstrip(".")
                yield name if name in MODULES else module


def test_each_package_has_a_floor() -> None:
    assert {name.split(".")[0] for name in MODULES} == {*FLOOR}
    assert len(FLOORS) <= 9


def test_imports_point_down() -> None:
    upward = [
        f"{name} imports {other}"
        for name, path in MODULES.items()
        for other in imports(path)
        if (package := name.split(".")[0]) != (imported := other.split(".")[0])
        and FLOOR[imported] >= FLOOR[package]
    ]
    assert upward == []


def test_there_is_no_import_cycle() -> None:
    TopologicalSorter(
        {name: {*imports(path)} - {name} for name, path in MODULES.items()}
    ).prepare()  # raises CycleError


def test_every_imported_name_is_a_module() -> None:
    assert {other for path in MODULES.values() for other in imports(path)} <= {*MODULES, ""}
