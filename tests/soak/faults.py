"""Faults around a run: full disks, read-only folders, vanishing files, killed workers."""

import ctypes
import os
import resource
import signal
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import inference
import train
from tests.soak.kills import (
    TINY,
    composition_task,
    curve_and_weights,
    inference_task,
    pictures_in,
    start,
    train_task,
)
from tools import prepare_composition1k

WAIT = 120  # seconds, for anything to happen at all


@dataclass
class Verdict:
    """Broken promises of one fault, and the line that was shown.

    Empty where all promises were kept.
    """

    name: str
    broken: list[str]
    message: str = ""


def _judge(name: str, log: Path, code: int, expected: int, *claims: tuple[str, bool], message: str = "") -> Verdict:
    text = log.read_text(errors="replace") if log.exists() else ""
    lines = [line for line in text.splitlines() if message and message in line]
    checks = (
        (f"exit code {code} instead of {expected}: {text[-200:]}", code == expected),
        ("a traceback was shown", "Traceback" not in text),
        (f"no line says {message!r}", bool(lines) or not message),
        *claims,
    )
    return Verdict(name, [claim for claim, holds in checks if not holds], lines[0][-160:] if lines else "")


def _whole(folder: Path, wanted: dict, names: set[str] | None = None) -> tuple[tuple[str, bool], ...]:
    """The files there are whole, right, and (where `names` says so) all that should be there."""
    found = pictures_in(folder)
    hidden = [path for path in folder.rglob(".*.tmp")]
    return (
        ("a file differs from the undisturbed one", all(np.array_equal(wanted[name], found[name]) for name in found)),
        (f"files are missing: {(names or set()) - found.keys()}", names is None or names <= found.keys()),
        ("temporary files are left", not hidden),
    )


def _reference(folder: Path, images: int = 12):
    """An inference task, and what it makes undisturbed."""
    task = inference_task(folder, images)
    process = start(task.main, task.arguments(folder / "whole"))
    process.join()
    return task, pictures_in(folder / "whole")


def full_disk(folder: Path) -> Verdict:
    """Outputs that exceed the room of a file system or limit.

    The limit on the size of files stands in where no file system can be had.
    """
    task, wanted = _reference(folder)
    real = _room_left(folder / "out", None)

    def limited(arguments: list[str]) -> int:
        _room_left(folder / "out", 48 * 1024)
        return inference.main(arguments)

    rng = np.random.default_rng(0)
    for index in range(3):  # pictures whose alphas are larger than what is left
        for kind in ("image", "trimap"):
            values = rng.integers(0, 256, (400, 400, 3)[: 3 if kind == "image" else 2], np.uint8)
            pixels = values if kind == "image" else np.where(values < 250, 128, 255).astype(np.uint8)
            _write(folder / "data" / kind / f"big{index}.png", pixels)
    report = folder / "report"

    def run(arguments: list[str]) -> int:
        code = limited(arguments)
        found = pictures_in(folder / "out")  # here, since the file system is this process' own
        same = all(np.array_equal(wanted[name], found[name]) for name in found if not name.startswith("big"))
        left = list((folder / "out").rglob(".*.tmp"))
        report.write_text("" if same and len(found) >= len(wanted) and not left else f"{len(found)} files, {left}")
        return code

    process = start(run, task.arguments(folder / "out"), folder / "log.txt")
    process.join(WAIT)
    said = "No space left on device" if real else "File too large"
    claims = (("half-written or missing files: " + report.read_text(), not report.read_text()),)
    return _judge("full disk", folder / "log.txt", process.exitcode, 1, *claims, message=said)


def _write(path: Path, pixels: np.ndarray) -> None:
    import cv2

    cv2.imwrite(str(path), pixels)


def _room_left(folder: Path, size: int | None) -> bool:
    """Give this process a small file system at `folder`, if given.

    None only says whether that works here.
    """
    folder.mkdir(exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    allowed = os.geteuid() == 0 and _in_child(lambda: libc.unshare(0x00020000) or _mount(libc, folder, 10**5))
    if size is None:
        return allowed
    if allowed:
        libc.unshare(0x00020000)  # CLONE_NEWNS
        _mount(libc, folder, 120_000)
    else:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return allowed


def _mount(libc: ctypes.CDLL, folder: Path, size: int) -> int:
    libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None)  # changes stay in this process
    return libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode())


def _in_child(work: Callable[[], int]) -> bool:
    pid = os.fork()
    if pid == 0:
        os._exit(1 if work() else 0)
    return os.waitpid(pid, 0)[1] == 0


def read_only_folder(folder: Path) -> Verdict:
    """Output with a sub-folder that may not be written to.

    Without the rights of root, which would not mind.
    """
    task, wanted = _reference(folder)
    output = folder / "out"
    (output / "sub").mkdir(parents=True)
    (output / "sub").chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IROTH | stat.S_IXOTH)
    output.chmod(0o777)
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.getuid() and len(parent.parts) > 2:
            parent.chmod(parent.stat().st_mode | 0o555)

    def run(arguments: list[str]) -> int:
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        return inference.main(arguments)

    process = start(run, task.arguments(output), _log_for_all(folder))
    process.join(WAIT)
    (output / "sub").chmod(0o755)
    names = {name for name in wanted if not name.startswith("sub/")}
    return _judge(
        "read-only folder",
        folder / "log.txt",
        process.exitcode,
        1,
        *_whole(output, wanted, names),
        message="Permission denied",
    )


def _log_for_all(folder: Path) -> Path:
    log = folder / "log.txt"
    log.touch()
    log.chmod(0o666)
    return log


def file_removed(folder: Path) -> Verdict:
    """An image vanishes after the run has listed it."""
    task, wanted = _reference(folder, images=40)
    process = start(task.main, task.arguments(folder / "out"), folder / "log.txt")
    _until(lambda: any((folder / "out").rglob("*.png")) or not process.is_alive())
    last = sorted(wanted)[-1]
    (folder / "data" / "image" / last).unlink()
    process.join(WAIT)
    return _judge(
        "file removed while running",
        folder / "log.txt",
        process.exitcode,
        1,
        *_whole(folder / "out", wanted, wanted.keys() - {last}),
        message="No such file or directory",
    )


def two_runs(folder: Path) -> Verdict:
    """Two runs over one folder into one folder, at once."""
    task, wanted = _reference(folder)
    arguments = [*task.arguments(folder / "out"), "--overwrite"]
    processes = [start(task.main, arguments, folder / "log.txt") for _ in range(2)]
    for process in processes:
        process.join(WAIT)
    code = max(process.exitcode for process in processes)
    return _judge("two runs into one folder", folder / "log.txt", code, 0, *_whole(folder / "out", wanted, set(wanted)))


def killed_worker(folder: Path) -> Verdict:
    """Kill a worker of the composition builder, then repeat the run."""
    task = composition_task(folder)
    arguments = task.arguments(folder / "out")
    arguments[arguments.index("--workers") + 1] = "2"
    process = start(prepare_composition1k.main, arguments, folder / "log.txt")
    _until(lambda: len(_workers(process.pid, b"spawn_main")) >= 2 or not process.is_alive())
    if workers := _workers(process.pid, b"spawn_main"):
        os.kill(workers[-1], signal.SIGKILL)
    process.join(WAIT)
    code = process.exitcode
    again = start(prepare_composition1k.main, task.arguments(folder / "out"))
    again.join(WAIT)
    whole = start(prepare_composition1k.main, task.arguments(folder / "whole"))
    whole.join(WAIT)
    wanted = pictures_in(folder / "whole")
    return _judge(
        "worker of the builder killed",
        folder / "log.txt",
        code,
        1,
        ("the repeated run failed", again.exitcode == 0),
        *_whole(folder / "out", wanted, set(wanted)),
        message="a worker process was killed",
    )


def killed_loader(folder: Path) -> Verdict:
    """Kill the decoder of training data; the run ends and resumes.

    It ends in one line, and resumes from its checkpoint.
    """
    task = train_task(folder, iterations=40)
    arguments = [*task.arguments(folder / "out"), "dataloader.train.num_workers=1"]
    process = start(train.main, arguments, folder / "log.txt")
    _until(lambda: (folder / "out" / "last_checkpoint").exists() or not process.is_alive())
    if workers := _workers(process.pid):
        os.kill(workers[-1], signal.SIGKILL)
    process.join(WAIT)
    log = folder / "log.txt"
    text = log.read_text()
    again = start(train.main, ["--config-file", TINY, *arguments[2:]])
    again.join(WAIT)
    found = curve_and_weights(folder / "out")
    log.write_text(text)
    return _judge(
        "worker of the training killed",
        log,
        process.exitcode,
        1,
        ("it cannot be resumed", again.exitcode == 0),
        ("the resumed run did not end", "weights" in found),
        message="DataLoader worker",
    )


def _workers(pid: int, mark: bytes = b"") -> list[int]:
    """Working children of a process, without the shared memory tracker."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        lines = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    except OSError:
        return []
    return [child for child, line in lines.items() if mark in line and line and b"resource_tracker" not in line]


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while not holds() and time.monotonic() < end:
        time.sleep(0.002)


FAULTS: dict[str, Callable[[Path], Verdict]] = {
    function.__name__: function
    for function in (full_disk, read_only_folder, file_removed, two_runs, killed_worker, killed_loader)
}
