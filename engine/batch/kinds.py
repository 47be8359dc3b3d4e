"""Kinds of output; free of heavy imports, for the help of the commands."""

from typing import Literal

Kind = Literal["alpha", "rgba", "foreground", "composite", "preview"]
KINDS: tuple[Kind, ...] = ("alpha", "rgba", "foreground", "composite", "preview")
