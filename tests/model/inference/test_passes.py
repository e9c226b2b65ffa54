"""Windows go through networks in full passes, of no more samples than fit into memory."""

import numpy as np

from mulan.model.inference.passes import in_passes, windows_of_a_pass


def test_all_passes_but_the_last_are_full_and_rows_keep_their_order() -> None:
    passes: list[int] = []

    def network(windows: np.ndarray) -> np.ndarray:
        passes.append(len(windows))
        return windows[:, :2].astype(np.float32) / 2

    windows = np.arange(7 * 4, dtype=np.int16).reshape(7, 4)
    np.testing.assert_array_equal(in_passes(network, windows, at_once=3, dim=2), windows[:, :2] / 2)
    assert passes == [3, 3, 1]
    none = in_passes(network, windows[:0], at_once=3, dim=2)
    assert (none.shape, none.dtype, passes) == ((0, 2), np.float32, [3, 3, 1])


def test_a_gpu_gets_more_windows_and_long_windows_are_fewer() -> None:
    assert [windows_of_a_pass(device, 160_000) for device in ("cpu", "cuda")] == [16, 128]
    assert windows_of_a_pass("cuda", 480_000) == 128  # 10 s at 48 kHz
    assert windows_of_a_pass("cuda", 30 * 48_000) * 30 * 48_000 <= 2**26
    assert windows_of_a_pass("cpu", 2**25) == 2
    assert windows_of_a_pass("cpu", 2**27) == 1
