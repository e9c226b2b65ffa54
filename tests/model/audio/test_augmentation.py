"""Tests each step of waveform augmentation, and the whole chain."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mulan.config.augmentation import AugmentationConfig
from mulan.model.audio.augmentation import WaveformAugmentation
from tests.model.waits import HostWaits
from tests.model.waveforms import RATE_HZ, STEPS, augmented, chain, impulses, ratio_db, white


def test_gain_is_a_factor_between_its_bounds() -> None:
    waveform = white(500, 20)
    factors = augmented(chain("gain", gain_min_db=-15.0, gain_max_db=5.0), waveform) / waveform
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors))
    gains_db = 20 * torch.log10(factors[:, 0])
    assert -15 <= gains_db.min() < -14.5
    assert 4.5 < gains_db.max() <= 5.0001
    assert abs(gains_db.mean() + 5) < 5 * (20 / math.sqrt(12 * 500))  # within 5 standard deviations


def test_polarity_inverts_the_waveform() -> None:
    waveform = white(5, 100)
    assert torch.equal(augmented(chain("polarity"), waveform), -waveform)


@pytest.mark.parametrize(
    ("delay_ms", "volume", "echoes", "attenuation"),
    [(100.0, 0.5, 2, 0.5), (37.3, 0.8, 4, 0.6), (120.0, 0.3, 1, 0.1), (400.0, 0.5, 2, 0.5), (100.0, 0.7, 0, 0.7)],
)
def test_a_delay_equals_a_loop(delay_ms: float, volume: float, echoes: int, attenuation: float) -> None:
    waveform = white(2, 2000)
    expected = waveform.double().numpy() / 2
    delay = int(delay_ms * RATE_HZ / 1000)
    for echo in range(echoes + 1):
        for sample in range(echo * delay, 2000):
            delayed = waveform[:, sample - echo * delay].double().numpy()
            expected[:, sample] += volume * attenuation**echo * delayed / 2
    settings: dict[str, Any] = {
        "delay_volumes": (volume,),
        "delay_echoes": (echoes,),
        "delay_attenuations": (attenuation,),
    }
    echoed = augmented(chain("delay", delay_min_ms=delay_ms, delay_max_ms=delay_ms, **settings), waveform)
    np.testing.assert_allclose(echoed, expected, atol=1e-6)


def test_delays_have_the_impulse_responses_of_the_authors_code() -> None:
    """The expected levels are those of SemiSupCon's ``Delay`` with its arguments at severity 2, measured once."""
    shares = {
        (0.65,): 1 / 4,
        (0.85,): 1 / 4,
        (0.65, 0.045, 0.0135): 1 / 8,
        (0.65, 0.105, 0.0735): 1 / 8,
        (0.85, 0.105, 0.0315): 1 / 8,
        (0.85, 0.245, 0.1715): 1 / 8,
    }
    echoed = augmented(chain("delay", sample_rate_hz=22_050), impulses(600, 22_051))
    counts: Counter[tuple[float, ...]] = Counter()
    delays = set()
    for response in echoed:
        positions = response.nonzero()[:, 0]
        counts[tuple(round(level, 5) for level in response[positions].tolist())] += 1
        if len(positions) == 3:
            assert positions[2] == 2 * positions[1]
            delays.add(int(positions[1]))
    assert counts.keys() == shares.keys()
    assert all(count_is_near(counts[levels], 600, share) for levels, share in shares.items())
    assert 2205 <= min(delays) < 2300
    assert 10_930 < max(delays) <= 11_025


@pytest.mark.parametrize(("volume", "level_db"), [(0.3, -3.74), (0.7, -1.41)])
def test_a_delay_without_echoes_lowers_the_volume(volume: float, level_db: float) -> None:
    waveform = white(3, 500)
    delayed = augmented(chain("delay", delay_volumes=(volume,), delay_echoes=(0,)), waveform)
    np.testing.assert_allclose(ratio_db(delayed, waveform), level_db, atol=0.005)


def test_steps_are_applied_in_order_with_the_same_random_numbers() -> None:
    waveform = white(4, 3000)
    step_by_step = waveform
    for step in STEPS:
        step_by_step = augmented(chain(step), step_by_step, seed=5)
    assert torch.equal(augmented(chain(*STEPS), waveform, seed=5), step_by_step)


def count_is_near(count: int, draws: int, probability: float) -> bool:
    """Returns True if the count is within 4.5 standard deviations of a binomial distribution."""
    deviation = math.sqrt(probability * (1 - probability) * draws)
    return abs(count - probability * draws) < 4.5 * deviation


def share_is_near(is_changed: Tensor, probability: float) -> bool:
    return count_is_near(int(is_changed.sum()), len(is_changed), probability)


@pytest.mark.parametrize("step", STEPS)
def test_the_share_of_changed_examples_is_the_product_of_probabilities(step: str) -> None:
    waveform = white(2000, 64)
    settings: dict[str, Any] = {"probability": 0.6, f"{step}_probability": 0.4}
    output = augmented(chain(step, **settings), waveform)
    assert share_is_near((output != waveform).any(dim=1), 0.24)


def test_steps_are_drawn_independently_within_the_augmented_examples() -> None:
    waveform = white(4000, 4)
    settings: dict[str, Any] = {
        "probability": 0.7,
        "gain_probability": 0.5,
        "polarity_probability": 0.4,
        "gain_max_db": -1.0,
    }
    factor = (augmented(chain(**settings), waveform) / waveform).mean(dim=1)
    is_gained, is_inverted = (factor.abs() - 1).abs() > 1e-3, factor < 0
    assert share_is_near(is_gained & is_inverted, 0.7 * 0.5 * 0.4)
    assert share_is_near(is_gained & ~is_inverted, 0.7 * 0.5 * 0.6)
    assert share_is_near(~is_gained & is_inverted, 0.7 * 0.5 * 0.4)


def test_the_views_of_a_recording_are_all_augmented_or_none() -> None:
    """The authors' chain with a step of probability 1 left 0.2 of the recordings and no view alone, when measured."""
    waveform = white(1, 8).expand(3000, 2, 8)
    changed = (augmented(chain("polarity", probability=0.8), waveform) != waveform).any(dim=2).sum(dim=1)
    assert share_is_near(changed == 0, 0.2)
    assert not (changed == 1).any()


def test_the_views_of_a_recording_have_steps_and_strengths_of_their_own() -> None:
    waveform = white(1, 8).expand(3000, 2, 8)
    settings = {"gain_probability": 0.4, "gain_max_db": -1.0}
    factor = (augmented(chain(**settings), waveform) / waveform).mean(dim=2)
    is_gained = (factor - 1).abs() > 1e-3
    assert share_is_near(is_gained.sum(dim=1) == 1, 2 * 0.4 * 0.6)
    both = factor[is_gained.all(dim=1)]
    assert (both[:, 0] != both[:, 1]).all()


@pytest.mark.parametrize("settings", [{"probability": 0.0}, {f"{step}_probability": 0.0 for step in STEPS}])
def test_probability_zero_keeps_all_bits(settings: dict[str, Any]) -> None:
    waveform = white(50, 500)
    assert torch.equal(augmented(chain(*STEPS, **settings), waveform), waveform)


class Batches(TorchDispatchMode):
    """Counts the examples in the inputs of each operator, over all its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.examples: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if args and isinstance(args[0], Tensor) and args[0].ndim:
            self.examples[func.overloadpacket.__name__] += len(args[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("probability", [1.0, 0.3, 0.0])
@pytest.mark.parametrize(
    ("step", "operator", "calls"),
    [("noise", "_fft_r2c", 1), ("filter", "_fft_r2c", 2), ("pitch", "cumsum", 1), ("delay", "gather", 2)],
)
def test_a_step_is_computed_only_for_the_examples_that_need_it(
    step: str, operator: str, calls: int, probability: float
) -> None:
    waveform = white(40, 4100)
    settings: dict[str, Any] = {f"{step}_probability": probability}
    with Batches() as batches:
        output = augmented(chain(step, **settings), waveform)
    changed = int((output != waveform).any(dim=1).sum())
    assert batches.examples[operator] == calls * changed
    assert (changed > 0) == (probability > 0)
    assert (changed == 40) == (probability == 1)


def test_the_seed_determines_the_augmentation() -> None:
    augmentation, waveform = WaveformAugmentation(AugmentationConfig(), sample_rate_hz=RATE_HZ).train(), white(8, 2000)
    first = augmented(augmentation, waveform)
    assert torch.equal(augmented(augmentation, waveform), first)
    assert not torch.equal(augmented(augmentation, waveform, seed=1), first)


@pytest.mark.parametrize("step", [step for step in STEPS if step != "polarity"])
def test_equal_examples_are_changed_differently(step: str) -> None:
    settings: dict[str, Any] = {"delay_max_ms": 130.0, "delay_echoes": (2,)}
    output = augmented(chain(step, sample_rate_hz=22_050, **settings), white(1, 3000).expand(3, -1))
    assert not torch.equal(output[0], output[1])
    assert not torch.equal(output[1], output[2])


def test_an_example_does_not_depend_on_the_others() -> None:
    """The output has the same bits at the same position in any batch."""
    waveform, others = white(6, 3000), white(6, 3000, seed=2) * 100
    expected = augmented(chain(*STEPS), waveform)
    for row in range(6):
        batch = others.clone()
        batch[row] = waveform[row]
        assert torch.equal(augmented(chain(*STEPS), batch)[row], expected[row])


@pytest.fixture
def settings_of_all_kinds() -> Iterator[WaveformAugmentation]:
    return iter(
        [
            chain(*STEPS),
            chain(),
            chain(*STEPS, probability=0.0),
            chain("noise", "pitch", noise_probability=0.3, pitch_semitones=12.0),
            chain("filter", "delay", delay_echoes=(5,)),
        ]
    )


def test_the_number_of_random_numbers_is_constant(settings_of_all_kinds: Iterator[WaveformAugmentation]) -> None:
    states = set()
    for seed, augmentation in enumerate(settings_of_all_kinds):
        augmented(augmentation, white(7, 100 + 300 * seed))
        states.add(tuple(torch.get_rng_state().tolist()))
    assert len(states) == 1
    torch.manual_seed(0)
    assert tuple(torch.get_rng_state().tolist()) not in states


def test_evaluation_applies_nothing_and_draws_nothing() -> None:
    augmentation, waveform = chain(*STEPS).eval(), white(3, 1000)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert torch.equal(augmentation(waveform), waveform)
    assert torch.equal(torch.get_rng_state(), before)
    samples = torch.tensor([[-32768, 0, 1, 32767]], dtype=torch.int16)
    assert augmentation(samples).tolist() == [[-1.0, 0.0, 1 / 32768, 32767 / 32768]]


def test_int16_and_float_waveforms_agree() -> None:
    augmentation = chain(*STEPS)
    waveform = torch.randint(-32768, 32767, (4, 2000), dtype=torch.int16, generator=torch.Generator().manual_seed(0))
    output = augmented(augmentation, waveform)
    assert output.dtype == torch.float32
    assert torch.equal(augmented(augmentation, waveform.float() / 32768), output)
    assert torch.equal(augmented(augmentation, waveform.double() / 32768), output)


def test_silence_stays_silent_and_finite() -> None:
    assert torch.equal(augmented(chain(*STEPS), torch.zeros(4, 2000)), torch.zeros(4, 2000))


def test_stays_float32_under_autocast() -> None:
    waveform = white(4, 2000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = augmented(chain(*STEPS), waveform)
    assert torch.equal(under_autocast, augmented(chain(*STEPS), waveform))


def test_has_no_gradient_and_does_not_modify_its_input() -> None:
    waveform = white(4, 2000).requires_grad_()
    output = augmented(chain(*STEPS), waveform)
    assert not output.requires_grad
    assert torch.equal(waveform, white(4, 2000))


def test_has_no_state() -> None:
    assert chain(*STEPS).state_dict() == {}


def test_does_not_synchronise_with_the_device() -> None:
    augmentation = WaveformAugmentation(AugmentationConfig(), sample_rate_hz=RATE_HZ).train()
    waveform = white(30, 2000)
    with HostWaits() as waits:
        augmented(augmentation, waveform)
    assert {"_fft_r2c", "cumsum", "gather", "index_copy_"} <= waits.operators
    assert waits.found == []


@pytest.mark.gpu
def test_a_gpu_augments_like_the_cpu_without_synchronising() -> None:
    """Everything but the samples of the noise is equal."""
    waveform = white(8, 4000)
    without_noise = chain(*STEPS, noise_probability=0.0)
    on_gpu = waveform.cuda()
    augmented(chain(*STEPS), on_gpu)
    torch.cuda.set_sync_debug_mode("error")
    try:
        output, noisy = augmented(without_noise, on_gpu), augmented(chain("noise"), on_gpu)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(output.cpu(), augmented(without_noise, waveform), atol=1e-3, rtol=0)
    level = (augmented(chain("noise"), waveform) - waveform).norm(dim=1)
    torch.testing.assert_close((noisy.cpu() - waveform).norm(dim=1), level, rtol=1e-4, atol=0)
