"""An environment with packages that the project itself does not use, made by the benchmark that needs them.

It is a virtual environment that sees, beneath its own packages, all that this one has: only what is missing
is fetched, and what both have is the same version. It lies under `runs/benchmarks/` and is made once.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

from benchmarks.record import ROOT

PLACE = ROOT / "runs" / "benchmarks" / "environments"


def python_with(name: str, packages: Sequence[str]) -> Path:
    """The interpreter of the environment `name`, which has these packages besides those of this process.

    It is made where it is not there, not whole, or was made for other packages.

    Raises:
        SystemExit: they cannot be fetched.
    """
    folder = PLACE / name
    python, whole = folder / "bin" / "python", folder / "whole"
    if whole.exists() and whole.read_text(encoding="utf-8").split() == list(packages):
        return python
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=False, symlinks=True)
    (own,) = folder.glob("lib/python*/site-packages")
    beneath = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (own / "beneath.pth").write_text(beneath, encoding="utf-8")
    install = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    try:
        subprocess.run([*install, "-c", str(ROOT / "constraints.txt"), *packages], check=True)
    except subprocess.CalledProcessError as error:
        print(f"{', '.join(packages)} cannot be installed here: leave out what needs them", file=sys.stderr)
        raise SystemExit(1) from error
    whole.write_text("\n".join(packages) + "\n", encoding="utf-8")
    return python
