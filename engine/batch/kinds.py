"""Kinds of output, without heavy imports, for the help of commands."""

from typing import Literal

Kind = Literal["alpha", "rgba", "foreground", "composite", "preview"]
KINDS: tuple[Kind, ...] = ("alpha", "rgba", "foreground", "composite", "preview")
