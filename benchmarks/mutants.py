"""Would the tests notice? Small faults put into one file, each run against the fast tests.

    python -m benchmarks.mutants canary_judge/stats/counts.py [--count 10] [--seed 1] [--at LINE]

A fault is a comparison that includes its end or not, a sum for a difference, a number one larger, a condition turned
round. The tests named after the module come first, then those that import it, then the replayed judgements, then all:
each only for what survived. Every survivor is printed with its line: it is a hole in the tests, or the same program written otherwise (say so where you find one).
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).parents[1]
# Of pytest: none was collected, as in a module without a doctest.
NO_TESTS = 5
WORKERS = 2
REPLAY = "tests/test_replay.py"
FATES = ("killed", "killed by others", "killed by the replay", "killed by the rest")
_COMPARED: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
_COMBINED: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.Pow: "*",
    ast.FloorDiv: "/",
    ast.BitAnd: "|",
    ast.BitOr: "&",
}
_CALLED = {"max": "min", "min": "max", "all": "any", "any": "all", "maximum": "minimum", "minimum": "maximum"}


@dataclass(frozen=True)
class Mutant:
    """One fault: the text between two offsets becomes another."""

    line: int
    start: int
    end: int
    text: str

    def of(self, source: str) -> str:
        """The faulty source."""
        return source[: self.start] + self.text + source[self.end :]


def mutants(source: str) -> Iterator[Mutant]:
    """All faults that can be put into a source, but for its messages and annotations."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    encoded = source.splitlines()

    def offset(line: int, column: int) -> int:
        return starts[line - 1] + len(encoded[line - 1].encode()[:column].decode())

    def between(left: ast.expr, right: ast.expr, text: str) -> Mutant:
        start, end = offset(left.end_lineno or 0, left.end_col_offset or 0), offset(right.lineno, right.col_offset)
        gap = source[start:end]
        operator = gap.strip(" ()\n\\")
        at = start + gap.index(operator)
        return Mutant(left.end_lineno or 0, at, at + len(operator), text)

    def whole(node: ast.expr, text: str) -> Mutant:
        end = offset(node.end_lineno or 0, node.end_col_offset or 0)
        return Mutant(node.lineno, offset(node.lineno, node.col_offset), end, text)

    for node in _judging(ast.parse(source)):
        match node:
            case ast.Compare(left=left, ops=[operator], comparators=[right]) if type(operator) in _COMPARED:
                yield between(left, right, _COMPARED[type(operator)])
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _COMBINED:
                yield between(left, right, _COMBINED[type(operator)])
            case ast.BoolOp(op=operator, values=[left, right, *_]):
                yield between(left, right, "or" if isinstance(operator, ast.And) else "and")
            case ast.UnaryOp(op=ast.Not(), operand=operand) | ast.UnaryOp(op=ast.USub(), operand=operand):
                yield whole(node, f"({ast.unparse(operand)})")
            case ast.Constant(value=bool(value)):
                yield whole(node, repr(not value))
            case ast.Constant(value=int(value)):
                yield whole(node, repr(value + 1))
            case ast.Constant(value=float(value)):
                yield whole(node, repr(value * 1.3 or 0.3))
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _CALLED:
                start, end = (
                    offset(node.lineno, node.col_offset),
                    offset(node.func.end_lineno or 0, node.func.end_col_offset or 0),
                )
                yield Mutant(node.lineno, end - len(name), end, _CALLED[name]) if end > start else whole(node, "None")
            case ast.IfExp(test=test, body=body, orelse=other):
                yield whole(node, f"({ast.unparse(other)} if {ast.unparse(test)} else {ast.unparse(body)})")


def _judging(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a tree that compute; not annotations, messages, decorators and imports."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list") or isinstance(tree, ast.Raise | ast.JoinedStr):
            continue
        if isinstance(tree, ast.Assign) and isinstance(tree.targets[0], ast.Name) and tree.targets[0].id == "__all__":
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST):
                yield node
                yield from _judging(node)


def tests_of(module: Path) -> list[list[str]]:
    """Its doctests and the test file that stands where it does; those that import it or its room; the replay; and all."""
    dotted = ".".join(module.with_suffix("").parts)
    package, _, name = dotted.rpartition(".")
    imports = (f"from {dotted} import", f"import {dotted}", f"from {package} import")
    named = ROOT / "tests" / Path(*module.parts[1:-1]) / f"test_{name}.py"
    own, others = [str(module)], []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if path == named:
            own.append(str(path.relative_to(ROOT)))
        elif any(one in path.read_text() for one in imports):
            others.append(str(path.relative_to(ROOT)))
    return [own, others, [REPLAY], []]


def passes(tree: Path, paths: list[str], *, workers: int) -> bool:
    """Whether these tests, stopped at the first failure, pass in that copy; one that hangs does not."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", str(workers), "-p", "no:cacheprovider", *paths]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, timeout=600, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode in (0, NO_TESTS)


def copied(folder: Path) -> Path:
    """A copy of the working tree, with what git would keep of it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", type=Path)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at", type=int, help="all faults of this line, in place of a draw")
    parser.add_argument("--own", action="store_true", help="the module's own tests only")
    options = parser.parse_args()
    module = options.module.resolve().relative_to(ROOT)
    source = (ROOT / module).read_text()
    found = [one for one in mutants(source) if options.at is None or one.line == options.at]
    if options.at is None:
        found = sorted(random.Random(options.seed).sample(found, min(options.count, len(found))), key=lambda m: m.start)
    stages = tests_of(module)
    stages = stages[:2] if options.own else stages
    print(f"{module}: {len(found)} faults; its tests: {', '.join(stages[0])}; then {', '.join(stages[1])}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        trees: Queue[Path] = Queue()
        for number in range(WORKERS):
            trees.put(copied(Path(folder) / str(number)))
        # whatever fails without a fault would "kill" every one of them
        if not passes(trees.queue[0], stages[0] + stages[1] if options.own else [], workers=WORKERS):
            sys.exit("the tests fail without any fault; mend that first")

        def killed(mutant: Mutant) -> str:
            tree = trees.get()
            try:
                (tree / module).write_text(mutant.of(source))
                for paths, fate in zip(stages, FATES, strict=False):
                    if (paths or fate.endswith("rest")) and not passes(tree, paths, workers=int(not paths) * WORKERS):
                        return fate
                return "SURVIVED"
            finally:
                (tree / module).write_text(source)
                trees.put(tree)

        survivors = 0
        with ThreadPoolExecutor(WORKERS) as pool:
            for mutant, fate in zip(found, pool.map(killed, found), strict=True):
                survivors += fate == "SURVIVED"
                line = source.splitlines()[mutant.line - 1].strip()
                old = source[mutant.start : mutant.end]
                print(f"{fate:<20} {module}:{mutant.line}: `{old}` -> `{mutant.text}` in `{line}`", flush=True)
    print(f"{len(found)} faults, {survivors} survived")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
