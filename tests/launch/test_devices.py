"""Tests the descriptions of devices, with fake ones, and the warnings about several kinds."""

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


def test_a_gpu_is_described_by_its_name_and_the_version_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its index on the machine and the threads of the host do not matter."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.type}")
    for index, threads in ((0, 1), (3, 8)):
        assert device_kind(torch.device("cuda", index), threads=threads) == f"GPU cuda, torch {torch.__version__}"


def test_a_processor_is_described_by_all_that_sums_depend_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC 7B13\n"
    with_cpuinfo(f"{first}\nprocessor\t: 1\nmodel name\t: another\n", tmp_path, monkeypatch)
    assert cpu_kind(threads=1) == "CPU AMD EPYC 7B13 (cpu family 25, model 1, AVX2, 1 thread)"
    assert cpu_kind(threads=4) == "CPU AMD EPYC 7B13 (cpu family 25, model 1, AVX2, 4 threads)"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("processor\t: 0\nCPU part\t: 0xd40\n", "CPU of unknown model (CPU part 0xd40, AVX2, 2 threads)"),
        (None, "CPU of unknown model (AVX2, 2 threads)"),
    ],
)
def test_a_processor_without_a_name_is_of_unknown_model(
    content: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_cpuinfo(content, tmp_path, monkeypatch)
    assert cpu_kind(threads=2) == expected


def test_the_cpu_of_this_machine_is_described() -> None:
    kind = device_kind(torch.device("cpu"), threads=1)
    assert kind.startswith("CPU ") and kind.endswith(f", 1 thread), torch {torch.__version__}")


def test_ranks_are_listed_only_for_several_kinds() -> None:
    assert describe_devices([H100, H100]) == H100
    assert describe_devices([H100, A100, H100]) == f"workers 0, 2: {H100}; worker 1: {A100}"


@pytest.mark.parametrize("before", [None, Progress(3), Progress(3, trained_on=[H100])])
def test_a_run_that_stays_on_one_kind_has_no_warning(before: Progress | None) -> None:
    """Nor has one whose checkpoint does not record its kinds."""
    assert reproducibility_warnings([H100, H100], before) == []


def test_workers_of_several_kinds_cause_a_warning() -> None:
    (warning,) = reproducibility_warnings([A100, H100], Progress(3, trained_on=[A100, H100]))
    assert warning == (
        "results are bit-identical only on one kind of device, and the workers have several: "
        f"worker 0: {A100}; worker 1: {H100}"
    )


def test_a_run_that_continues_on_another_kind_has_a_warning() -> None:
    (warning,) = reproducibility_warnings([H100, H100], Progress(500, trained_on=[A100]))
    assert warning == (
        f"results are bit-identical only on one kind of device: steps up to 500 were trained on {A100}, and "
        f"later ones are trained on {H100}"
    )
    assert len(reproducibility_warnings([A100], Progress(500, trained_on=[A100, H100]))) == 1
    assert len(reproducibility_warnings([A100, H100], Progress(500, trained_on=[A100]))) == 2
