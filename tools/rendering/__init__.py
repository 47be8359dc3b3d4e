"""Rendering of foregrounds by Blender, imported only where it is used."""

import sys
from importlib.util import find_spec

PYTHON = (3, 11)  # the one that the wheel of Blender 5.0 is built for


def check_blender() -> None:
    """Refuse to go on where Blender's module cannot be imported."""
    if sys.version_info[:2] != PYTHON:
        have, need = (".".join(map(str, version)) for version in (sys.version_info[:2], PYTHON))
        raise RuntimeError(f"--renderer cycles needs Python {need}, this is {have}: make an environment with that one")
    if find_spec("bpy") is None:
        raise RuntimeError("--renderer cycles needs Blender's module: pip install -r requirements-render.txt")
