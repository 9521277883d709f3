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

    Raises:
        SystemExit: they cannot be fetched; nothing half-made is left.
    """
    folder = PLACE / name
    python = folder / "bin" / "python"
    if python.exists():
        return python
    venv.create(folder, with_pip=False, symlinks=True)
    (own,) = folder.glob("lib/python*/site-packages")
    beneath = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (own / "beneath.pth").write_text(beneath, encoding="utf-8")
    install = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    try:
        subprocess.run([*install, "-c", str(ROOT / "constraints.txt"), *packages], check=True)
    except BaseException as error:
        shutil.rmtree(folder)
        if isinstance(error, subprocess.CalledProcessError):
            print(f"{', '.join(packages)} cannot be installed here: leave out what needs them", file=sys.stderr)
            raise SystemExit(1) from error
        raise
    return python
