"""Imports go one way: profiling <- device_agent <- orchestrator; and what must stay light stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("profiling", "device_agent", "orchestrator")
ALLOWED = {
    "profiling": {"profiling"},
    "device_agent": {"profiling", "device_agent"},
    "orchestrator": {"profiling", "device_agent", "orchestrator"},
}
HEAVY = {"torch", "botorch", "gpytorch", "adbutils"}


def imported(path: Path) -> set[str]:
    """Top-level names that a module imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_stands_below_them(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        above = (imported(path) & set(PACKAGES)) - ALLOWED[package]
        assert not above, f"{path.relative_to(ROOT)} imports {above}"


def test_profiling_needs_neither_torch_nor_adb() -> None:
    for path in (ROOT / "profiling").rglob("*.py"):
        assert not imported(path) & HEAVY, path


def test_only_one_module_imports_adbutils() -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for p in PACKAGES
        for path in (ROOT / p).rglob("*.py")
        if "adbutils" in imported(path)
    }
    assert users <= {"device_agent/adb.py"}


@pytest.mark.parametrize("arguments", [["--help"], ["devices"], ["run", "--help"]])
def test_light_verbs_do_not_import_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from orchestrator.cli.main import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as e: assert not e.code, e.code\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
