import pytest
import torch

from engine.batch.processes import Place, run_on_gpus


def test_shares_are_disjoint_and_complete() -> None:
    shares = [Place(rank, 3).share(range(10)) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == list(range(10))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_alone_has_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert Place.from_environment().share("abc") == ["a", "b", "c"]


def test_the_environment_of_torchrun_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert Place.from_environment() == Place(5, 8, 1)


def test_each_process_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [Place(rank, 4, rank).device("auto") for rank in range(4)] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert Place(1, 2, 1).device("cpu") == "cpu"
    assert Place().device("auto") == "auto"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert [Place(0, 8).sharing(name) for name in ("auto", "cuda:0", "cpu")] == [2, 3, 3]


def test_more_gpus_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="is not there: found"):
        run_on_gpus(torch.cuda.device_count() + 1, ["-c", "pass"])
    with pytest.raises(ValueError, match="at least 1, got 0"):
        run_on_gpus(0, ["-c", "pass"])


@pytest.mark.parametrize(
    "values", [{"RANK": "x"}, {"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "-1"}, {"LOCAL_RANK": "-3"}]
)
def test_an_environment_that_makes_no_sense_is_refused(monkeypatch: pytest.MonkeyPatch, values: dict) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="RANK"):
        Place.from_environment()


def test_a_killed_process_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("engine.batch.processes.choose_device", lambda name: None)
    code = "import os; os.kill(os.getpid(), 9) if os.environ['RANK'] == '1' else None"
    assert run_on_gpus(2, ["-c", code]) == 1
    assert "process 1 of 2 was killed (signal 9); finished files are complete" in caplog.text
