"""The baseline of probes without a network: mean and standard deviation of log-mel channels."""

import numpy as np
import torch

from mulan.config.audio import VggishFrontEndConfig
from mulan.evaluation.encoders.audio_only import AudioOnlyEncoder
from mulan.evaluation.encoders.digest import text_sha256
from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.model.audio.front_end import LogMel
from mulan.model.inference.inputs import check_windows
from mulan.model.inference.passes import in_passes, windows_of_a_pass

KIND = "log_mel"
RATE_HZ = 16_000
"""Sample rate of the windows in Hz (MuLan §3.2)."""
WINDOW_S = 10
"""Length of a window in seconds (MuLan §3.2)."""


def open_log_mel(uri: str = "", *, name: str = KIND, device: str | None = None) -> AudioOnlyEncoder:
    """Returns the baseline, whose vectors hold the mean over time of each channel, then the standard deviations.

    The spectrogram is that of M-Resnet-50: 64 mel channels of windows of 25 ms every 10 ms (MuLan §3.2).

    Args:
        uri: Empty: there are no files.
        name: Name of the encoder in reports.
        device: The device to compute on. If None, a CUDA device if available, otherwise the CPU.
    """
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    section, window_samples = VggishFrontEndConfig(), WINDOW_S * RATE_HZ
    front_end = LogMel(section, sample_rate_hz=RATE_HZ).to(chosen)

    def rows(windows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            spectrogram = front_end(torch.from_numpy(windows.copy()).to(chosen)).double()
            deviations, means = torch.std_mean(spectrogram, dim=-1, correction=0)
            return torch.cat([means, deviations], dim=1).float().cpu().numpy()

    def embed_windows(windows: np.ndarray) -> np.ndarray:
        check_windows(windows, window_samples, function="embed_audio")
        return in_passes(rows, windows, at_once=windows_of_a_pass(chosen.type, window_samples), dim=info.dim)

    info = EncoderInfo(
        name=name,
        kind=KIND,
        uri=uri,
        sha256=text_sha256(KIND, section.model_dump_json(), str(RATE_HZ), str(window_samples)),
        sample_rate_hz=RATE_HZ,
        window_samples=window_samples,
        dim=2 * section.mel_channels,
        is_unit=False,
        embeds_text=False,
    )
    return AudioOnlyEncoder(info, embed_windows)
