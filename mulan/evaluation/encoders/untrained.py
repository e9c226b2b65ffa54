"""The baseline of probes: the audio encoder of an exported model with random weights."""

import torch

from mulan import AudioBackbone
from mulan.evaluation.encoders.audio_only import AudioOnlyEncoder
from mulan.evaluation.encoders.digest import text_sha256
from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.evaluation.encoders.exported import read_exported_config
from mulan.model.inference.exported import build_audio_encoder
from mulan.model.inference.files import open_model_folder

KIND = "untrained"


def open_untrained(uri: str, *, name: str, device: str | None = None, seed: int = 0) -> AudioOnlyEncoder:
    """Builds the audio encoder of an exported model with random weights, as training initialises them.

    The projection of a joint model and the classifier of a tagger are left out, so that the vectors are those of the
    audio tower.

    Args:
        uri: Path or URI of a folder that mulan exported, whose weights are not used.
        name: Name of the encoder in reports.
        device: The device to compute on. If None, a CUDA device if available, otherwise the CPU.
        seed: Seed of the weights.

    Raises:
        ModelFolderError: The folder does not exist or is incomplete, or is not compatible with this version.
        StorageError: The storage does not respond.
    """
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with open_model_folder(uri) as folder:
        config = read_exported_config(folder)
        with torch.random.fork_rng(devices=[]):  # leaves the caller's generator unchanged
            torch.manual_seed(seed)
            encoder = build_audio_encoder(folder, config)
    model = AudioBackbone(encoder, config, chosen)
    # versions of torch may draw other weights from the same seed
    described = (KIND, config.model_dump_json(), str(seed), torch.__version__)
    info = EncoderInfo(
        name=name,
        kind=KIND,
        uri=uri,
        sha256=text_sha256(*described),
        sample_rate_hz=model.sample_rate_hz,
        window_samples=model.window_samples,
        dim=model.output_dim,
        is_unit=False,
        embeds_text=False,
    )
    return AudioOnlyEncoder(info, model.embed_windows)
