"""The tests of a source tree that need a card, run by pytest in a process of their own."""

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from genrev.bench.parts import Found, skip

_ROOT = Path(__file__).parents[3]
_NEEDED = ("pytest", "hypothesis")


def run_tests(found: Found, seconds: float, root: Path = _ROOT, marker: str = "gpu") -> None:
    """Run the tests with a marker and write down how many passed, and which failed and why.

    Args:
        found: gets ``tests`` with the numbers of ``passed``, ``skipped`` and ``failed`` ones, and
            ``failures``; a line of ``skipped`` where the tests or pytest are not there.
        seconds: after which they are ended.
        root: folder of ``src`` and ``tests``.
        marker: of the tests to run.
    """
    tests = root / "tests"
    files = [
        p for p in sorted(tests.rglob("test_*.py")) if f"mark.{marker}" in p.read_text("utf-8")
    ]
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if not files or missing:
        why = f"{' and '.join(missing)} not installed" if files else f"there are none in {tests}"
        skip(found, f"the tests marked {marker}: {why}")
        return
    with tempfile.TemporaryDirectory(prefix="genrev-bench-") as folder:
        report = Path(folder, "report.xml")
        line = [sys.executable, "-m", "pytest", "-q", "-m", marker, "-p", "no:cacheprovider"]
        line += ["--continue-on-collection-errors", f"--junitxml={report}", *map(str, files)]
        path = os.pathsep.join([str(root / "src"), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)}
        try:
            done = subprocess.run(
                line, cwd=root, env=environment, timeout=seconds, capture_output=True, text=True
            )
        except subprocess.TimeoutExpired:
            skip(found, f"the tests marked {marker}: they took longer than {seconds:.0f} seconds")
            return
        if not report.is_file():
            raise RuntimeError(f"pytest failed: {(done.stderr or done.stdout).strip()[-500:]}")
        found["tests"] = _read(report)


def _read(report: Path) -> Found:
    cases = list(ElementTree.parse(report).iter("testcase"))
    failures, skipped = {}, 0
    for case in cases:
        problems = [case.find("failure"), case.find("error")]
        bad = next((problem for problem in problems if problem is not None), None)
        name = f"{case.get('classname')}.{case.get('name')}".strip(".")
        if bad is not None:
            failures[name] = (bad.get("message") or "").partition("\n")[0]
        skipped += case.find("skipped") is not None
    passed = len(cases) - len(failures) - skipped
    counts = {"passed": passed, "skipped": skipped, "failed": len(failures)}
    return {**counts, "failures": failures}
