"""inference.py in use: bare names, resumed runs, summaries, processes, lost terminals."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.torch import save_file

import inference
from data.files import read_alpha
from tests.inference.commands import REPOSITORY, command, folder_command
from tests.modeling.small import small_mematte
from tools import cli


@pytest.fixture
def photograph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("photo.jpg", np.full((40, 50, 3), 90, np.uint8))
    cv2.imwrite("mask.png", cv2.circle(np.zeros((40, 50), np.uint8), (25, 20), 12, 255, -1))
    return tmp_path


def test_a_bare_photograph_is_answered_with_what_is_missing(photograph, checkpoint, caplog):
    assert inference.main(["photo.jpg"]) == 2
    assert "photo.jpg: where is the object?" in caplog.text and "--mask FILE" in caplog.text


def test_a_bare_photograph_and_a_mask_are_enough(photograph, checkpoint):
    assert inference.main(command(checkpoint, "photo.jpg", "--mask", "mask.png")) == 0
    assert read_alpha("photo_alpha.png").shape == (40, 50)
    assert inference.main(command(checkpoint, "photo.jpg", "--mask", "mask.png", "--output-kind", "rgba")) == 0
    assert cv2.imread("photo_rgba.png", cv2.IMREAD_UNCHANGED).shape == (40, 50, 4)


@pytest.mark.parametrize("name", ["9" * 5000, "a/" * 3000, "nul\0", "no such file"])
def test_names_that_no_file_system_takes_are_one_line(dataset, checkpoint, name, caplog):
    assert inference.main(folder_command(checkpoint, dataset, name)) == 2
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_bare_folder_needs_a_place_for_its_results(dataset, caplog):
    assert inference.main([str(dataset)]) == 2
    assert "name a folder for the results with --output-dir" in caplog.text


def test_the_summary_as_json(dataset, checkpoint, tmp_path):
    (dataset / "image/bad.png").write_bytes(b"bad")
    (dataset / "trimap/bad.png").write_bytes(b"bad")
    assert inference.main(folder_command(checkpoint, dataset, "--json", tmp_path / "summary.json")) == 1
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["done"], summary["failed"], summary["skipped"], summary["device"]) == (2, 1, 0, "cpu")
    assert summary["failures"][0]["name"] == "bad" and summary["peak_memory_mib"] > 50


@pytest.mark.parametrize("victim", ["image/0.jpg", "trimap/0.png", "weights", "out/0.png"])
def test_the_summary_never_overwrites_another_file(dataset, checkpoint, victim, caplog):
    path = {"weights": checkpoint, "out/0.png": dataset.parent / "out/0.png"}.get(victim, dataset / victim)
    before = path.read_bytes() if path.exists() else None
    assert inference.main(folder_command(checkpoint, dataset, "--json", path)) == 2
    assert "would overwrite" in caplog.text
    assert (path.read_bytes() if path.exists() else None) == before


def test_results_beside_the_images_are_no_inputs_of_the_next_run(dataset, checkpoint, capsys):
    options = ["--data", dataset, "--output-dir", dataset / "image", "--output-kind", "alpha,rgba"]
    for expected in ("2 done, 0 failed, 0 skipped", "0 done, 0 failed, 2 skipped"):
        assert inference.main(command(checkpoint, *options)) == 0
        assert capsys.readouterr().out.startswith(expected)
    cv2.imwrite(str(dataset / "image/0.png"), np.zeros((40, 50, 3), np.uint8))  # the user's own picture
    assert inference.main(command(checkpoint, *options)) == 1
    assert capsys.readouterr().out.startswith("0 done, 1 failed, 1 skipped")
    assert cv2.imread(str(dataset / "image/0.png")).max() == 0


def test_pictures_of_others_in_the_output_folder_are_never_overwritten(dataset, checkpoint, caplog):
    out = dataset.parent / "out"
    out.mkdir()
    cv2.imwrite(str(out / "0.png"), np.zeros((40, 50), np.uint8))
    before = (out / "0.png").read_bytes()
    assert inference.main(folder_command(checkpoint, dataset)) == 2
    assert "out/0.png: is a picture that no earlier run wrote" in caplog.text
    assert (out / "0.png").read_bytes() == before
    assert inference.main(folder_command(checkpoint, dataset, "--overwrite")) == 0


def test_results_of_another_run_beside_the_images_are_no_inputs(dataset, checkpoint, capsys):
    beside = ["--data", dataset, "--output-dir", dataset / "image", "--output-kind", "alpha,rgba,preview"]
    assert inference.main(command(checkpoint, *beside)) == 0
    assert inference.main(folder_command(checkpoint, dataset)) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("2 done, 0 failed, 0 skipped")


def test_results_inside_a_plain_folder_are_no_inputs_of_the_next_run(photograph, checkpoint, capsys):
    for folder in ("photos", "masks"):
        Path(folder).mkdir()
    Path("photo.jpg").rename("photos/a.jpg")
    Path("mask.png").rename("masks/a.png")
    options = ["--data", "photos", "--mask", "masks", "--output-dir", "photos/out"]
    for expected in ("1 done, 0 failed, 0 skipped", "0 done, 0 failed, 1 skipped"):
        assert inference.main(command(checkpoint, *options)) == 0
        assert capsys.readouterr().out.startswith(expected)


def test_other_settings_make_finished_files_again(dataset, checkpoint, capsys):
    for more in ([], ["--bit-depth", "16"], ["--max-tokens", "3"], ["--output-kind", "rgba"], ["--dtype", "bf16"]):
        assert inference.main(folder_command(checkpoint, dataset, *more)) == 0
        assert capsys.readouterr().out.startswith("2 done, 0 failed, 0 skipped")
    assert inference.main(folder_command(checkpoint, dataset, *more, "--max-memory", "AUTO")) == 0
    assert capsys.readouterr().out.startswith("0 done, 0 failed, 2 skipped")


def test_other_weights_of_the_same_folder_and_a_changed_config_make_files_again(dataset, tmp_path, capsys):
    config, folder = tmp_path / "small.py", tmp_path / "model"
    folder.mkdir()
    shutil.copy(REPOSITORY / "tests/soak/small.py", config)
    options = ["--config", config, "--checkpoint", folder, "--device", "cpu", "--data", dataset, "--output-dir", "out"]

    def done():
        assert inference.main([*map(str, options[:-1]), str(tmp_path / "out")]) == 0
        return int(capsys.readouterr().out.split()[0])

    state = small_mematte().state_dict()
    save_file(state, folder / "model.safetensors")
    assert (done(), done()) == (2, 0)
    state["backbone.pos_embed"] *= 0.9
    save_file(state, folder / "model.safetensors")
    assert (done(), done()) == (2, 0)
    config.write_text(config.read_text() + "\n")
    assert (done(), done()) == (2, 0)


def test_a_changed_trimap_makes_its_matte_again(dataset, checkpoint, capsys):
    assert inference.main(folder_command(checkpoint, dataset)) == 0
    cv2.imwrite(str(dataset / "trimap/0.png"), np.full((40, 50), 128, np.uint8))
    assert inference.main(folder_command(checkpoint, dataset)) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("1 done, 0 failed, 1 skipped")


def test_a_stray_world_size_is_refused_and_a_share_is_said(dataset, checkpoint, monkeypatch, caplog):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert inference.main(folder_command(checkpoint, dataset)) == 2
    assert "WORLD_SIZE is set in the environment without its partner" in caplog.text
    monkeypatch.setenv("RANK", "0")
    assert inference.main(folder_command(checkpoint, dataset)) == 0
    assert "process 0 of 3 (RANK, WORLD_SIZE): 1 of 2 files" in caplog.text


def test_a_budget_that_is_too_small_says_what_the_process_holds(dataset, checkpoint, caplog):
    assert inference.main(folder_command(checkpoint, dataset, "--max-memory", "1")) == 1
    assert "allow more memory; the process itself holds" in caplog.text


@pytest.mark.parametrize("redirection", ["| head -c 0", "2>&-", ">&- 2>&- <&-"])
def test_terminals_that_go_away_cost_nothing(photograph, checkpoint, redirection):
    """The last two left nothing done, and said nothing."""
    arguments = " ".join(command(checkpoint, "photo.jpg", "--mask", "mask.png"))
    script = f"set -o pipefail; {sys.executable} {REPOSITORY}/inference.py {arguments} {redirection}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr.count("Traceback"), done.stderr.count("BrokenPipe")) == (0, 0, 0)
    assert read_alpha("photo_alpha.png").shape == (40, 50)


def test_progress_without_a_terminal_is_a_line_every_few_seconds(monkeypatch, caplog):
    monkeypatch.setattr(cli, "PROGRESS_SECONDS", 0.01)
    caplog.set_level("INFO")
    with cli.progress(3, "image") as advance:
        advance()
        while "1 of 3 images after" not in caplog.text:
            pass


def test_ctrl_c_is_an_exit_code(caplog):
    @cli.command
    def main(argv=None) -> int:
        raise KeyboardInterrupt

    assert main() == 130 and "interrupted" in caplog.text
