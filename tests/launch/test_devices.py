"""Tests the descriptions of devices, without having the devices."""

from pathlib import Path

import pytest
import torch

from mulan.launch import devices
from mulan.launch.devices import cpu_kind, describe_devices, device_kind, reproducibility_warnings
from mulan.training.state import Progress

H100, A100 = "NVIDIA H100 80GB HBM3, torch 2.11.0", "NVIDIA A100-SXM4-80GB, torch 2.11.0"


def with_cpuinfo(content: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "cpuinfo"
    if content is not None:
        file.write_text(content)
    monkeypatch.setattr(devices, "_CPUINFO", file)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


def test_a_gpu_is_named_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with the number that it has on its machine, nor with the host's threads."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.type}")
    for index, threads in ((0, 1), (3, 8)):
        assert device_kind(torch.device("cuda", index), threads=threads) == f"GPU cuda, torch {torch.__version__}"


def test_a_processor_is_named_with_what_sums_depend_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC 7B13\n"
    with_cpuinfo(f"{first}\nprocessor\t: 1\nmodel name\t: another\n", tmp_path, monkeypatch)
    assert cpu_kind(threads=1) == "CPU AMD EPYC 7B13 (cpu family 25, model 1, AVX2, 1 thread)"
    assert cpu_kind(threads=4) == "CPU AMD EPYC 7B13 (cpu family 25, model 1, AVX2, 4 threads)"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("processor\t: 0\nCPU part\t: 0xd40\n", "CPU of unknown model (CPU part 0xd40, AVX2, 2 threads)"),
        (None, "CPU of unknown model (AVX2, 2 threads)"),
    ],
)
def test_a_processor_without_a_name(
    content: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_cpuinfo(content, tmp_path, monkeypatch)
    assert cpu_kind(threads=2) == told


def test_this_machine_has_a_kind() -> None:
    kind = device_kind(torch.device("cpu"), threads=1)
    assert kind.startswith("CPU ") and kind.endswith(f", 1 thread), torch {torch.__version__}")


def test_one_kind_needs_no_ranks_and_several_do() -> None:
    assert describe_devices([H100, H100]) == H100
    assert describe_devices([H100, A100, H100]) == f"workers 0, 2: {H100}; worker 1: {A100}"


@pytest.mark.parametrize("before", [None, Progress(3), Progress(3, trained_on=[H100])])
def test_nothing_is_told_of_a_run_that_stays_on_its_kind(before: Progress | None) -> None:
    """Nor of one whose checkpoint does not say what it was trained on."""
    assert reproducibility_warnings([H100, H100], before) == []


def test_workers_of_several_kinds_are_told() -> None:
    (told,) = reproducibility_warnings([A100, H100], Progress(3, trained_on=[A100, H100]))
    assert told == (
        "results are bit-identical only on one kind of device, and the workers have several: "
        f"worker 0: {A100}; worker 1: {H100}"
    )


def test_a_run_that_goes_on_on_another_kind_is_told() -> None:
    (told,) = reproducibility_warnings([H100, H100], Progress(500, trained_on=[A100]))
    assert told == (
        f"results are bit-identical only on one kind of device: steps up to 500 were trained on {A100}, and "
        f"later ones are trained on {H100}"
    )
    assert len(reproducibility_warnings([A100], Progress(500, trained_on=[A100, H100]))) == 1
    assert len(reproducibility_warnings([A100, H100], Progress(500, trained_on=[A100]))) == 2
