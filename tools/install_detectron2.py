"""Install detectron2's Python layer into this interpreter, unless it is importable.

detectron2 has no release under its own name on the package index. The wheel used here holds the Python files of
official commit a59f0563 (2024-04-17) plus a one-line fix in data/common.py. It is tagged for Python 3.10, but this
project uses no compiled part of it, so its Python files serve 3.10 to 3.13 alike.
"""

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

REQUIREMENT = "sal-detectron2==0.7.2"
SHA256 = "491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561"
# The wheel also carries a top-level package named `tools`, which must not get into anybody's site-packages.
KEPT = ("detectron2", "*.dist-info")
PROBE = "import detectron2, detectron2.config, detectron2.engine; print(detectron2.__version__, detectron2.__path__[0])"


class SetupError(RuntimeError):
    """Something the user has to settle; the message says what."""


def probe() -> tuple[str | None, str]:
    """Import detectron2 in a fresh interpreter.

    A partial or crashing installation cannot harm this one.

    Returns:
        "version path" or None if the import fails, and the last line of the error.
    """
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    lines = done.stderr.strip().splitlines()
    error = lines[-1] if lines else f"the interpreter ended with status {done.returncode}"
    return (done.stdout.strip() if done.returncode == 0 else None), error


def install(site_packages: Path) -> None:
    """Download the wheel, check its SHA-256, and copy its Python packages.

    They go into `site_packages`.
    """
    # Staged inside site-packages, so that the final moves are renames on one file system.
    with tempfile.TemporaryDirectory(prefix="detectron2-", dir=site_packages) as folder:
        stage, pinned = Path(folder, "stage"), Path(folder, "pinned.txt")
        pinned.write_text(f"{REQUIREMENT} --hash=sha256:{SHA256}\n")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--python-version", "3.10", "--require-hashes", "--target", str(stage), "-r", str(pinned)]
        done = subprocess.run(command)
        if done.returncode:
            raise SetupError(f"pip could not install {REQUIREMENT} with sha256 {SHA256}; nothing was changed")
        # Built for one version of torch and CUDA; on Python 3.10 detectron2 would try to load it.
        for binary in stage.glob("detectron2/_C*"):
            binary.unlink()
        for pattern in KEPT:
            for source in stage.glob(pattern):
                target = site_packages / source.name
                if target.exists():
                    shutil.rmtree(target)
                source.rename(target)


def check_environment(site_packages: Path) -> None:
    """Refuse environments that fail or belong to the system's package manager."""
    in_venv = sys.prefix != sys.base_prefix
    if not in_venv and Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists():
        raise SetupError(f"{sys.executable} belongs to the system; run this inside a virtual environment")
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        raise SetupError(f"{sys.executable} has no pip; add it with: {sys.executable} -m ensurepip")
    if not site_packages.is_dir():
        raise SetupError(f"there is no folder {site_packages}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Install detectron2's Python layer unless it can be imported already.")
    parser.parse_args(argv)
    site_packages = Path(sysconfig.get_path("purelib"))
    try:
        found, _ = probe()
        if found:
            print(f"detectron2 {found}: already there")
            return 0
        check_environment(site_packages)
        install(site_packages)
        found, error = probe()
        if not found:
            raise SetupError(f"detectron2 was installed but does not import ({error}); install requirements.txt first")
    except (SetupError, OSError) as error:
        print(f"install_detectron2: {error}", file=sys.stderr)
        return 2
    print(f"detectron2 {found}: installed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
