"""Download published weights with stable addresses; without NAME, list them.

Size and SHA-256 are checked where they are known here or stated by the server; the same command goes on after an
interruption. Weights that only a browser reaches are named with their page. Exit codes: 0 there, 1 not fetched,
2 wrong arguments, 130 interrupted.
"""

import argparse
import hashlib
import http.client
import logging
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tools  # noqa: F401  (puts the repository on the path)
from engine.messages import log_to_terminal
from tools.arguments import make_parser
from tools.cli import command, say

TIMEOUT_SECONDS = 60
_PIECE_BYTES = 2**20
_SHA256 = re.compile(r'(?:W/)?"?([0-9a-f]{64})"?')


@dataclass(frozen=True)
class Source:
    """One file of weights.

    Attributes:
        page: with the description of the weights; where there is no `address`, to be opened in a browser.
        licence: as the page states it.
        use: config, or setting of a training.
        file: name that it is stored under.
        address: stable address of the file, if there is one.
        sha256: of its content, if it is known.
    """

    page: str
    licence: str
    use: str
    file: str = ""
    address: str = ""
    sha256: str = ""


def _hub(repository: str, file: str, licence: str, use: str) -> Source:
    page = f"https://huggingface.co/{repository}"
    return Source(page, licence, use, file, f"{page}/resolve/main/model.safetensors")


SOURCES: dict[str, Source] = {
    "ViTMatte_S": _hub(
        "hustvl/vitmatte-small-composition-1k", "ViTMatte_S.safetensors", "Apache-2.0", "ViTMatte_S_100ep"
    ),
    "ViTMatte_B": _hub(
        "hustvl/vitmatte-base-composition-1k", "ViTMatte_B.safetensors", "Apache-2.0", "ViTMatte_B_100ep"
    ),
    "ViTMatte_S_Distinctions": _hub(
        "hustvl/vitmatte-small-distinctions-646",
        "ViTMatte_S_Distinctions.safetensors",
        "Apache-2.0",
        "ViTMatte_S_100ep",
    ),
    "ViTMatte_B_Distinctions": _hub(
        "hustvl/vitmatte-base-distinctions-646", "ViTMatte_B_Distinctions.safetensors", "Apache-2.0", "ViTMatte_B_100ep"
    ),
    "MEMatte_S": Source("https://github.com/linyiheng123/MEMatte", "MIT", "MEMatte_S_topk0.25_win_global_long"),
    "MEMatte_B": Source("https://github.com/linyiheng123/MEMatte", "MIT", "MEMatte_B_topk0.25_win_global_long"),
    "DiffMatte": Source("https://github.com/YihanHu-2022/DiffMatte", "MIT", "DiffMatte_*"),
    "AEMatter": Source("https://github.com/aipixel/AEMatter", "non-commercial use only", "AEMatter"),
    "CheapMatting": Source("https://github.com/Windaway/CheapMatting", "not stated", "CheapMatting"),
    "DINO_S": Source(
        "https://github.com/facebookresearch/dino",
        "Apache-2.0",
        "train.init_checkpoint of ViTMatte-S",
        "dino_vits16.pth",
        "https://dl.fbaipublicfiles.com/dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth",
    ),
    "MAE_B": Source(
        "https://github.com/facebookresearch/mae",
        "CC BY-NC 4.0",
        "train.init_checkpoint of ViTMatte-B",
        "mae_vitb16.pth",
        "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth",
    ),
    "Swin_T": Source(
        "https://github.com/microsoft/Swin-Transformer",
        "MIT",
        "train.init_checkpoint of AEMatter and DiffMatte_SwinT",
        "swin_t.pth",
        "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_tiny_patch4_window7_224.pth",
    ),
}


class DownloadError(RuntimeError):
    """Failed download; the message says why and what to do."""


class _RememberSums(urllib.request.HTTPRedirectHandler):
    """Checksum of a file, stated in a hub's redirection to its storage."""

    def __init__(self) -> None:
        self.sha256 = ""

    def redirect_request(self, request, file, code, message, headers, address):
        self.sha256 = _stated_sha256(headers) or self.sha256
        return super().redirect_request(request, file, code, message, headers, address)


def fetch(name: str, folder: Path, advance: Callable[[int, int | None], object] = lambda done, total: None) -> Path:
    """Download one weight file, unless it is complete already.

    Args:
        name: of `SOURCES`.
        folder: where the file goes.
        advance: called with bytes that are there and bytes in all, if the server states them.

    Raises:
        DownloadError: there is no address, the connection failed, or the file is not the expected one.
    """
    source = SOURCES[name]
    if not source.address:
        raise DownloadError(
            f"{name}: has no stable address; open {source.page} in a browser (licence: {source.licence})"
        )
    target = folder / source.file
    if target.exists():
        if source.sha256:
            _check_sum(target, source.sha256, "remove it and run the command again")
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        stated = _receive(source.address, part, advance)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(f"{source.address}: not fetched ({reason}); run the command again to go on") from error
    if expected := source.sha256 or stated:
        try:
            _check_sum(part, expected, "it was removed: run the command again")
        except DownloadError:
            part.unlink()
            raise
    os.replace(part, target)
    return target


def _receive(address: str, part: Path, advance: Callable[[int, int | None], object]) -> str:
    """Append the missing rest to `part`; returns the server's SHA-256, if any."""
    redirections = _RememberSums()
    opener = urllib.request.build_opener(redirections)
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        answer = opener.open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        part.unlink()  # longer than the file is now
        return _receive(address, part, advance)
    with answer, open(part, "ab") as file:
        if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            done = 0
            file.truncate(0)
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length else None
        advance(done, total)
        while piece := answer.read(_PIECE_BYTES):
            file.write(piece)
            done += len(piece)
            advance(done, total)
        file.flush()
        os.fsync(file.fileno())
        if total is not None and done < total:
            raise http.client.IncompleteRead(b"", total - done)
        return redirections.sha256 or _stated_sha256(answer.headers)


def _stated_sha256(headers: http.client.HTTPMessage) -> str:
    found = _SHA256.fullmatch(headers.get("X-Linked-Etag", ""))
    return found[1] if found else ""


def _check_sum(path: Path, expected: str, remedy: str) -> None:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    found = digest.hexdigest()
    if found != expected:
        raise DownloadError(f"{path}: has SHA-256 {found} instead of {expected}; {remedy}")


def listing() -> str:
    """One line per name."""
    lines = []
    for name, source in SOURCES.items():
        place = source.address or f"{source.page} (browser)"
        lines.append(f"{name:24} {source.use:38} {source.licence:24} {place}")
    return "\n".join(lines)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SOURCES)}")
    parser.add_argument("--output-dir", type=Path, default=Path("checkpoints"), help="(default: %(default)s)")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = build_parser().parse_args(argv)
    log_to_terminal()
    if not args.names:
        say(listing())
        return 0
    if unknown := [name for name in args.names if name not in SOURCES]:
        logging.error("unknown weights %s; there are %s", ", ".join(unknown), ", ".join(SOURCES))
        return 2
    from tqdm import tqdm

    failed = False
    for name in args.names:
        try:
            with tqdm(unit="B", unit_scale=True, desc=name, disable=None) as bar:

                def advance(done: int, total: int | None, bar: tqdm = bar) -> None:
                    bar.total = total
                    bar.update(done - bar.n)

                path = fetch(name, args.output_dir, advance)
            say(f"{path}: {path.stat().st_size / 10**6:.1f} MB; licence {SOURCES[name].licence}; {SOURCES[name].use}")
        except DownloadError as error:
            logging.error("%s", error)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
