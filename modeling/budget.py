"""How much may be worked on at once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of one inference run; none of them but `max_tokens` changes the result.

    Attributes:
        max_tokens: most tokens that one routed block of one image sends to global attention (None: no cap).
        chunk_tokens: tokens that token-wise layers and windows work on at once.
        tile_px: most pixels that one decoder tile holds, its halo included.
    """

    max_tokens: int | None = 18500
    chunk_tokens: int = 8192
    tile_px: int = 768 * 768
