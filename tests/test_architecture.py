"""The house rules that a machine can check: which room may import which, and how long a file or function may grow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 300
FUNCTION_LINES, BUILD_LINES = 40, 100  # a function stays below; its docstring does not count, its signature does
HEAVY = ("torch", "transformers", "gradio", "peft")
FOUNDATION = {"medley", "medley.__version__", "medley.errors", "medley.options", "medley.events"}
ROOMS = {  # a room, and the rooms below it that it may import
    "medley.lm": set(),
    "hub": {"medley.lm.adapter_file", "medley.lm.template_check"},
    "medley.corpus": {"medley.lm"},
    "merging": {"medley.lm"},
    "trainers": {"medley.lm", "medley.corpus"},
    "medley.jobs": {"medley.lm", "hub", "medley.corpus", "merging", "trainers"},
    "medley.cli": {"medley.lm", "hub", "medley.corpus", "merging", "trainers", "medley.jobs", "app", "medley.ui"},
    "medley.ui": {"medley.lm", "hub", "medley.corpus", "merging", "trainers", "medley.jobs"},
    "app": {"medley.ui", "medley.jobs", "hub"},
}


def python_files() -> list[Path]:
    rooms = ["hub", "trainers", "merging", "medley", "benchmarks"]
    return [ROOT / "app.py", *(path for room in rooms for path in sorted((ROOT / room).rglob("*.py")))]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    return next((room for room in ROOMS if module == room or module.startswith(room + ".")), None)


def imported_modules(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            names.update(submodules if node.module in {"medley", "medley.lm"} else {node.module})
    return names


def is_allowed(importer: str, imported: str) -> bool:
    room = room_of(importer)
    if room is None or imported in FOUNDATION:
        return True
    target = room_of(imported)
    if target is None:
        return imported.split(".")[0] not in {"hub", "merging", "trainers", "medley", "app"}
    return target == room or any(imported == below or imported.startswith(below + ".") for below in ROOMS[room])


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    wrong = sorted(name for name in imported_modules(path) if not is_allowed(module_name(path), name))
    assert wrong == []


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_app_imports_gradio(path: Path) -> None:
    may_import = module_name(path) == "app" or module_name(path).startswith("medley.ui")
    assert may_import or not any(name.split(".")[0] == "gradio" for name in imported_modules(path))


def test_the_import_rule_can_fail() -> None:
    assert not is_allowed("hub.registry", "medley.lm.engine")
    assert not is_allowed("merging.run", "hub")
    assert not is_allowed("trainers.sft", "medley.jobs.worker")
    assert is_allowed("medley.jobs.worker", "hub.registry")


def test_files_stay_short() -> None:
    too_long = {
        str(path.relative_to(ROOT)): lines
        for path in [*python_files(), *sorted((ROOT / "tests").rglob("*.py"))]
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert too_long == {}


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    has_docstring = isinstance(first, ast.Expr) and ast.get_docstring(function) is not None
    docstring = first.end_lineno - first.lineno + 1 if has_docstring else 0
    return function.end_lineno - function.lineno + 1 - docstring


def long_functions(path: Path, text: str) -> dict[str, int]:
    is_page = "medley/ui" in path.as_posix()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {
        f"{path.name}:{each.lineno} {each.name}": code_lines(each)
        for each in functions
        if code_lines(each) >= (BUILD_LINES if is_page and each.name == "build" else FUNCTION_LINES)
    }


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_stay_short(path: Path) -> None:
    assert long_functions(path, path.read_text(encoding="utf-8")) == {}


@pytest.mark.parametrize(
    ("path", "name", "fitting"),
    [("merging/run.py", "build", 38), ("medley/ui/page.py", "other", 38), ("medley/ui/page.py", "build", 98)],
)
def test_the_length_rule_can_fail(path: str, name: str, fitting: int) -> None:
    # one line of signature and two of docstring, which do not count; 1 + 38 = 39 is below 40
    head = f'def {name}():\n    """Says\n    much."""\n'
    assert long_functions(Path(path), head + "    pass\n" * fitting) == {}
    too_long = long_functions(Path(path), head + "    pass\n" * (fitting + 1))
    assert too_long == {f"{Path(path).name}:1 {name}": fitting + 2}


@pytest.mark.parametrize(
    "module", ["hub", "merging", "trainers", "medley.jobs", "medley.corpus", "medley.lm", "medley.cli.main"]
)
def test_importing_a_room_is_cheap(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
