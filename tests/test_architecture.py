"""The import direction of the design, and that everything public says what it is."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "tfreg").rglob("*.py"))
# What each package may import.
TABLE = {
    "errors": (),
    "spelling": (),
    "weights": (),
    "config": ("errors", "spelling"),
    "runtime": ("config", "errors"),
    "ops": ("runtime",),
    "layers": ("ops",),
    "losses": ("ops",),
    "models": ("layers",),
    "volumes": ("runtime",),
    "transforms": ("volumes", "runtime"),
    "preprocessing": ("volumes", "config", "errors"),
    "io": ("transforms", "volumes", "runtime", "errors", "spelling"),
    "metrics": ("transforms", "volumes"),
    "report": ("io", "preprocessing", "transforms", "volumes", "spelling"),
    "simulation": ("io", "volumes", "ops", "config", "runtime", "errors"),
    "refinement": ("ops", "layers", "losses", "models", "preprocessing", "transforms", "volumes", "config", "runtime"),
}
# Files and settings, for whatever works with folders.
FOLDERS = ("io", "volumes", "config", "runtime", "errors", "spelling")
TABLE["training"] = (*FOLDERS, "preprocessing", "simulation", "ops", "losses", "models")
TABLE["registration"] = (
    *("refinement", "models", "losses", "ops", "report", "metrics", "preprocessing", "transforms"),
    *FOLDERS,
)
TABLE["evaluation"] = (*TABLE["registration"], "registration")
TABLE["classification"] = (*TABLE["registration"], "registration", "models")
TABLE["tuning"] = (*TABLE["registration"], "registration", "training")
TABLE["serving"] = (*FOLDERS, "registration", "preprocessing", "transforms", "models", "layers", "ops")
TABLE["cli"] = tuple(TABLE)
# Packages that only some parts may import, at the top of a file or anywhere.
ALLOWED = {
    "nibabel": ("io", "volumes"),
    "pydicom": ("io",),
    "typer": ("cli",),
    "pydantic": ("config", "io"),
    "yaml": ("config",),
    "rich": ("runtime",),
    "jinja2": ("report",),
}
# The tensors' packages are Keras' own; elsewhere whatever checks input first must not wait for it.
KERAS_AT_THE_TOP = ("ops", "layers", "losses", "models", "serving")
KERAS_FILES = (
    "refinement/deformable_objective.py",
    "refinement/descent.py",
    "refinement/discrete_search.py",
    "refinement/field_adam.py",
    "simulation/random_pairs/anatomy.py",
    "simulation/random_pairs/appearance.py",
    "simulation/random_pairs/displacement.py",
    "simulation/random_pairs/draws.py",
    "simulation/random_pairs/noise.py",
    "simulation/random_pairs/pairs.py",
    "simulation/random_pairs/scanner.py",
    "training/epoch_callbacks.py",
    "training/pair_dataset.py",
    "training/simulated_pairs.py",
    "training/supervised_network.py",
    "training/training_state.py",
)
DRAWING = ("chart", "charts", "drawing", "pair_picture", "registration_figure")
# What Keras calls; the class says what it does.
KERAS_METHODS = {
    "build",
    "call",
    "compare",
    "compute_output_shape",
    "convolution_op",
    "from_config",
    "get_config",
    "num_batches",
    "reset_state",
    "result",
    "update_state",
    "update_step",
}
# Constructors of networks, whose arguments are a config's keys.
BUILDERS = {
    ("models/registration_network.py", "build_registration_network"),
    ("refinement/deformable_objective.py", "__init__"),
}
# What is called so is a record, whatever it is of.
WITHOUT_RECORDS = ("io", "refinement")  # tables' rows, and reports that are made there
RECORDS = {"report", "summary", "outcome", "manifest", "row", "record"}
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


def part_of(path):
    """The folder under tfreg/, or the file's own name."""
    return path.relative_to(ROOT / "tfreg").parts[0].removesuffix(".py")


def imports(path):
    """(module, line, whether it is done where the file is imported) of every import statement."""
    tree = ast.parse(path.read_text("utf-8"))
    later = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) or _is_for_types(node)]
    inside = {id(node) for block in later for node in ast.walk(block)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            # `from tfreg.models import training_state` imports tfreg.training.training_state.
            modules = [node.module] if node.module != "tfreg" else [f"tfreg.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            yield module, node.lineno, id(node) not in inside


def _is_for_types(node):
    """Whether it is `if TYPE_CHECKING:`, or one of a function's signatures for checkers of types."""
    conditions = [node.test] if isinstance(node, ast.If) else getattr(node, "decorator_list", [])
    return any(isinstance(name, ast.Name) and name.id in ("TYPE_CHECKING", "overload") for name in conditions)


def test_the_checks_see_imports(tmp_path):
    path = tmp_path / "example.py"
    path.write_text(
        "from tfreg import cli\nimport keras.ops\ndef f():\n    import tensorflow as tf\n    return tf\n"
        "if TYPE_CHECKING:\n    import jax\n"
    )
    assert sorted(imports(path), key=lambda found: found[1]) == [
        ("tfreg.cli", 1, True),
        ("keras.ops", 2, True),
        ("tensorflow", 4, False),
        ("jax", 7, False),
    ]
    assert len(FILES) > 50


@every_file
def test_imports_go_one_way(path):
    part = part_of(path)
    if path == ROOT / "tfreg" / "__init__.py":
        assert [module for module, _, _ in imports(path)] == ["lazy_loader"]
        return
    assert part in TABLE, f"{path}: say in design.md and here what {part} may import"
    for module, line, _ in imports(path):
        if module.startswith("tfreg.") and module != "tfreg.__version__":
            other = module.split(".")[1]
            assert other == part or other in TABLE[part], f"{path}:{line}: {part} imports {module}"


@every_file
def test_heavy_packages_are_imported_where_they_belong(path):
    part = part_of(path)
    for module, line, top in imports(path):
        package = module.split(".")[0]
        place = f"{path}:{line}: {part} imports {module}"
        if package in ("tensorflow", "jax", "grpc", "tensorflow_serving"):
            assert part == "serving" or (package in ("tensorflow", "jax") and not top), place
        if package == "keras":
            assert not top or part in KERAS_AT_THE_TOP or str(path.relative_to(ROOT / "tfreg")) in KERAS_FILES, place
        if package == "matplotlib":
            assert path.stem in DRAWING, place
        if package in ALLOWED:
            assert part in ALLOWED[package], place
        if part == "cli" and top:
            light = (*sys.stdlib_module_names, "typer")
            ours = ("tfreg.__version__", "tfreg.errors", "tfreg.config", "tfreg.cli")
            assert package in light or module.startswith(ours), place


@every_file
def test_names_say_what_is_inside(path):
    assert path.stem not in ("utils", "util", "helpers", "helper", "common", "misc")
    assert len(path.read_text("utf-8").splitlines()) <= 400, f"{path}: cut it"


@every_file
def test_functions_take_few_parameters(path):
    """Eight at most; what is more is an object. Layers and models are built by keyword from a config."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.FunctionDef) or (str(path.relative_to(ROOT / "tfreg")), node.name) in BUILDERS:
            continue
        names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        count = len([name for name in names if name not in ("self", "cls")])
        assert count <= 8, f"{path}:{node.lineno}: {node.name} takes {count} parameters"


@every_file
def test_reports_are_read_by_attribute(path):
    """A report is a record: what it lacks is an error where it is read, not a None where it is shown."""
    if part_of(path) in WITHOUT_RECORDS:
        return
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            of, names = node.func.value, set()
            for part in ast.walk(of):
                names |= {getattr(part, "id", None), getattr(part, "attr", None)}
            assert not names & RECORDS, f"{path}:{node.lineno}: .get( on {ast.unparse(of)}"
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
        ):
            name = getattr(node.value, "id", getattr(node.value, "attr", None))
            assert name not in RECORDS, f"{path}:{node.lineno}: {ast.unparse(node)}"


def test_no_folder_holds_more_than_an_eighth():
    """Of the package's lines, 12 % at most: a reader who opens a folder finds one subject."""
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in FILES}
    for folder in {path.parent for path in FILES}:
        share = sum(count for path, count in lines.items() if path.parent == folder) / sum(lines.values())
        assert share <= 0.12, f"{folder}: {share:.1%}"


def public_nodes(tree, path):
    """(name, node) of the module and of every public class, function and method in it, Keras' own methods apart."""
    yield path.stem, tree
    for node in tree.body:
        if (
            isinstance(node, ast.ClassDef | ast.FunctionDef)
            and not node.name.startswith("_")
            and not _is_for_types(node)
        ):
            yield node.name, node
            for method in node.body if isinstance(node, ast.ClassDef) else ():
                inherited = not isinstance(method, ast.FunctionDef) or method.name in KERAS_METHODS
                if not inherited and not method.name.startswith(("_", "on_")):
                    yield f"{node.name}.{method.name}", method


@every_file
def test_everything_public_has_a_docstring(path):
    for name, node in public_nodes(ast.parse(path.read_text("utf-8")), path):
        text = ast.get_docstring(node)
        assert text, f"{path}: {name} has no docstring"
        first = text.splitlines()[0]
        assert first.endswith((".", ":")), f"{path}: {name}: the first line is one sentence"
