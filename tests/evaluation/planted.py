"""An evaluation of a model whose skill is known: recordings and texts are sums of the directions of their tags."""

import numpy as np

from mulan.evaluation.control import shuffled_control
from mulan.evaluation.embed import EmbeddedSplit
from mulan.evaluation.evaluate import Evaluation
from mulan.evaluation.example_queries import best_hits, typical_queries
from mulan.evaluation.zero_shot import queries_and_gold, text_to_music, vocabulary, zero_shot_tagging

VOCABULARY = {
    "genre": ("ambient", "celtic", "classical", "country", "electronic", "hip hop", "jazz", "latin", "reggae", "rock"),
    "instrument": ("accordion", "cello", "drums", "electric guitar", "flute", "organ", "piano", "saxophone", "violin"),
    "mood": ("calm", "dark", "dreamy", "energetic", "happy", "melancholic"),
    "tempo": ("fast", "medium tempo", "slow"),
}


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def planted_evaluation(*, recordings: int = 120, noise: float = 1.0, dim: int = 48, seed: int = 0) -> Evaluation:
    """``noise`` 0 is a perfect model; the larger, the closer to chance."""
    rng = np.random.default_rng(seed)
    direction = {text: rng.normal(size=dim) for texts in VOCABULARY.values() for text in texts}
    chosen = [
        [
            ("genre", VOCABULARY["genre"][i % 10]),
            ("mood", rng.choice(VOCABULARY["mood"]).item()),
            ("tempo", rng.choice(VOCABULARY["tempo"]).item()),
            *(("instrument", name.item()) for name in rng.choice(VOCABULARY["instrument"], 2, replace=False)),
        ]
        for i in range(recordings)
    ]
    weight = {"genre": 2.0, "instrument": 1.0, "mood": 1.0, "tempo": 1.0}
    meaning = np.array([sum(weight[category] * direction[text] for category, text in pairs) for pairs in chosen])
    audio = unit(meaning + noise * rng.normal(size=meaning.shape) * np.sqrt(5))
    tags = tuple(tuple(f"{category}:{text}" for category, text in pairs) for pairs in chosen)
    texts = tuple((f"recording {i}: {', '.join(text for _, text in pairs)}",) for i, pairs in enumerate(chosen))
    ids = tuple(f"rec-{i:04d}" for i in range(recordings))
    prompts = {
        category: {text: unit(direction[text]) for text in names} for category, names in vocabulary(tags).items()
    }
    gold = queries_and_gold(texts)
    queries = unit(np.array([meaning[positions[0]] for positions in gold.values()]))
    golds = tuple(gold.values())
    examples = typical_queries(tags, texts)
    said = np.array([sum((v for name, v in direction.items() if name in text), np.zeros(dim)) for text in examples])
    return Evaluation(
        model_uri="runs/planted/model",
        data_uri="corpora/planted",
        split="test",
        sample_rate_hz=16_000,
        window_samples=48_000,
        recordings=EmbeddedSplit(ids, audio, texts, tags, {"rec-broken": "truncated audio: FLAC ends 12 frames early"}),
        prompts=prompts,
        queries=tuple(gold),
        query_embeddings=queries,
        query_gold=golds,
        zero_shot=zero_shot_tagging(audio, tags, prompts),
        retrieval=text_to_music(queries, audio, golds),
        control=shuffled_control(audio, tags, prompts, queries, golds),
        examples=best_hits(examples, unit(said), audio, ids, tags),
    )


def training_lines(steps: int = 400) -> list[dict[str, object]]:
    """What ``metrics.jsonl`` of a run looks like."""
    rng = np.random.default_rng(0)
    lines: list[dict[str, object]] = []
    for step in range(1, steps + 1):
        lines.append(
            {
                "step": step,
                "loss": 2.0 + 2.9 * np.exp(-step / 80) + rng.normal(0, 0.12),
                "temperature": 0.1 - 0.04 * step / steps,
                "learning_rate": 1e-3,
                "grad_norm": float(rng.gamma(8, 0.1)),
                "pairs_per_s": float(rng.normal(60, 3)),
                "data_wait_s": 0.01,
            }
        )
        if step % 100 == 0:
            lines.append({"step": step, "validation": {"recall10": step / 500, "mrr": step / 900, "median_rank": 9.0}})
    return lines
