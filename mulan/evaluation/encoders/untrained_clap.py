"""The baseline of probes: the audio tower of a ``ClapModel`` of ``transformers`` with random weights."""

import numpy as np
import torch
import transformers
from transformers import ClapAudioModel

from mulan.evaluation.encoders.audio_only import AudioOnlyEncoder
from mulan.evaluation.encoders.clap import CLAP_FILES, read_clap
from mulan.evaluation.encoders.digest import text_sha256
from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.evaluation.encoders.untrained import KIND
from mulan.model.audio.extractors import ClapLogMel
from mulan.model.inference.exported import float32_convolutions
from mulan.model.inference.inputs import check_windows
from mulan.model.inference.passes import in_passes, windows_of_a_pass
from mulan.storage.weights_cache import weights_folder


def open_untrained_clap(uri: str, *, name: str, device: str | None = None, seed: int = 0) -> AudioOnlyEncoder:
    """Builds the audio tower of a ``ClapModel`` with random weights, as ``transformers`` initialises them.

    The projection is left out, so that the vectors are those of the audio tower, like those of
    :func:`mulan.evaluation.encoders.untrained.open_untrained`.

    Args:
        uri: Folder of the model as in :meth:`mulan.evaluation.encoders.clap.ClapEncoder.open`, whose weights are not
            used.
        name: Name of the encoder in reports.
        device: The device to compute on. If None, a CUDA device if available, otherwise the CPU.
        seed: Seed of the weights.

    Raises:
        PretrainedError: The folder does not exist or is incomplete, or holds no ``ClapModel`` that can be used.
        StorageError: The storage does not respond.
    """
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    config, extractor = read_clap(uri, weights_folder(uri, CLAP_FILES))
    with torch.random.fork_rng(devices=[]):  # leaves the caller's generator unchanged
        torch.manual_seed(seed)
        network = ClapAudioModel(config.audio_config)
    network, front_end = network.to(chosen).eval(), ClapLogMel(extractor).to(chosen)
    # other versions may draw other weights from the same seed
    versions = torch.__version__, transformers.__version__
    described = (config.audio_config.to_json_string(), extractor.to_json_string(), str(seed), *versions)
    info = EncoderInfo(
        name=name,
        kind=KIND,
        uri=uri,
        sha256=text_sha256(KIND, *described),
        sample_rate_hz=extractor.sampling_rate,
        window_samples=extractor.nb_max_samples,
        dim=config.audio_config.hidden_size,
        is_unit=False,
        embeds_text=False,
    )

    def rows(windows: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), float32_convolutions():
            features = front_end(torch.from_numpy(windows.copy()).to(chosen))
            vectors: np.ndarray = network(features).pooler_output.cpu().numpy()
            return vectors

    def embed_windows(windows: np.ndarray) -> np.ndarray:
        check_windows(windows, info.window_samples, function="embed_audio")
        return in_passes(rows, windows, at_once=windows_of_a_pass(chosen.type, info.window_samples), dim=info.dim)

    return AudioOnlyEncoder(info, embed_windows)
