"""Packages are trust zones: who may import whom is a rule of security, so it is a test."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SDK = ROOT / "unica_sdk"

ZONES = {
    "errors": set(),
    "schemas": {"errors"},
    "files": {"errors"},
    "audit": {"errors", "schemas", "files"},
    "evaluation": {"errors", "schemas"},
    "records": {"errors", "schemas"},
    "client": {"errors", "schemas", "evaluation", "audit", "files"},
    "gateway": {"errors", "schemas", "evaluation", "records", "audit", "files", "federation.ports"},
    "node": {"errors", "schemas", "records", "audit", "files", "federation.ports"},
    "federation": {"errors", "schemas", "evaluation", "audit", "files"},
    "pilots": {"errors", "schemas", "federation.app"},
}
"""What each zone may import of ours besides itself; the parts that compose them are not listed."""

HEAVY = (
    *("torch", "flwr", "xarray", "pandas", "duckdb", "pydicom", "sqlalchemy", "fastapi", "matplotlib"),
    *("rdflib", "pyshacl"),
)


def _imports(path: Path) -> list[str]:
    """Every module a file imports, at the top or inside a function, type-checking blocks included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide what a zone reaches for"
            module = node.module or ""
            found.extend(f"{module}.{alias.name}" for alias in node.names)
    return found


def _allowed(name: str, zone: str) -> bool:
    inside = name.removeprefix("unica_sdk").lstrip(".")
    return inside == "" or any(
        inside == may or inside.startswith(may + ".") for may in {zone, *ZONES[zone], "__version__"}
    )


@pytest.mark.parametrize("zone", ZONES)
def test_a_zone_imports_only_what_it_may(zone: str) -> None:
    home = SDK / zone
    files = sorted(home.rglob("*.py")) if home.is_dir() else [home.with_suffix(".py")]
    assert files, f"the zone {zone} is empty"
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in _imports(path)
        if name.split(".")[0] == "unica_sdk" and not _allowed(name, zone)
    ]
    assert wrong == []


def test_only_the_federation_and_the_apps_import_the_engine() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in [*SDK.rglob("*.py"), *(ROOT / "hub_config").rglob("*.py")]
        if any(name.split(".")[0] == "flwr" for name in _imports(path))
        and not path.is_relative_to(SDK / "federation")
        and not path.is_relative_to(SDK / "pilots" / "breast_screen")
    ]
    assert wrong == []


def test_the_engines_internals_stay_behind_one_module() -> None:
    public = ("flwr.app", "flwr.clientapp", "flwr.serverapp")
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (SDK / "federation").rglob("*.py")
        if path.name != "adapter.py"
        for name in _imports(path)
        if name.split(".")[0] == "flwr" and not name.startswith(public)
    }
    assert wrong == set()


def test_the_demonstrations_sites_are_those_that_have_a_phantom() -> None:
    from unica_sdk.assembly import SITES
    from unica_sdk.pilots.phantom import PROFILES

    assert tuple(PROFILES) == SITES


@pytest.mark.parametrize("statement", ["import unica_sdk", "import unica_sdk; unica_sdk.connect"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    code = f"{statement}; import sys; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_public_names_are_these() -> None:
    import unica_sdk

    assert unica_sdk.__all__ == sorted(unica_sdk.__all__)
    assert set(unica_sdk.__all__) == {
        "Cohort",
        "JobHandle",
        "LocalNetwork",
        "Network",
        "Result",
        "UnicaError",
        "connect",
    }
    for name in unica_sdk.__all__:
        assert getattr(unica_sdk, name).__name__ == name


@pytest.mark.parametrize("package", sorted(p.parent for p in SDK.glob("*/__init__.py")), ids=lambda p: p.name)
def test_a_package_says_where_it_runs_and_what_it_may_see(package: Path) -> None:
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    for word in ("May see", "Must never"):
        assert word in docstring
    assert "Runs in" in docstring or "runs at" in docstring
