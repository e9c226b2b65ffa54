"""What ``metrics.jsonl`` of a run looks like."""

import numpy as np


def training_lines(steps: int = 400) -> list[dict[str, object]]:
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
