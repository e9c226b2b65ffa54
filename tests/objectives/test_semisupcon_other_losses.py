"""Tests SemiSupCon's loss at a usual batch size, against SupCon, and against the form with an epsilon.

Embeddings are 32-dimensional and uniform on the sphere, and half of the recordings have labels, three of 50 on average,
all from fixed seeds.
"""

import pytest
import torch

from mulan.config.objectives import SemiSupConConfig
from mulan.objectives.semisupcon import Labels, semisupcon_loss

RECORDINGS, VIEWS, DIM, CLASSES = 96, 2, 32, 50
SECTIONS = [SemiSupConConfig(), SemiSupConConfig(min_shared_tags=2), SemiSupConConfig(weighting="dice")]
Result = tuple[float, torch.Tensor]


def unit_views() -> torch.Tensor:
    """Returns float64 [RECORDINGS, VIEWS, DIM]."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(RECORDINGS, VIEWS, DIM, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=2)


def half_labelled() -> torch.Tensor:
    """Returns multi-hot labels, uint8 [RECORDINGS, CLASSES]."""
    tags = torch.rand(RECORDINGS, CLASSES, generator=torch.Generator().manual_seed(1)) < 3 / CLASSES
    return (tags & (torch.arange(RECORDINGS) < RECORDINGS // 2)[:, None]).to(torch.uint8)


def tiled(views: torch.Tensor, tags: torch.Tensor, section: SemiSupConConfig) -> Result:
    leaf = views.clone().requires_grad_()
    value = semisupcon_loss(leaf, Labels(torch.arange(len(views)), tags), section)
    value.backward()
    assert leaf.grad is not None
    return value.item(), leaf.grad


def whole_matrix(views: torch.Tensor, tags: torch.Tensor, section: SemiSupConConfig, *, epsilon: float = 0) -> Result:
    """Computes Guinot et al. 2024, equation 3, on the matrices of all views, with an epsilon inside the logarithm."""
    leaf = views.clone().requires_grad_()
    rows, count = leaf.flatten(0, 1), views.shape[0] * views.shape[1]
    recordings = torch.arange(len(views)).repeat_interleave(views.shape[1])
    shared = (tags.double() @ tags.double().T)[recordings][:, recordings]
    sizes = tags.double().sum(dim=1)[recordings]
    targets = (shared >= section.min_shared_tags).double()
    if section.weighting == "dice":
        targets = torch.where(targets > 0, 2 * shared / (sizes[:, None] + sizes), 0.0)
    targets = torch.where(recordings[:, None] == recordings, 1.0, targets) * (1 - torch.eye(count))
    exponentials = torch.exp(rows @ rows.T / section.temperature)
    shares = exponentials / (exponentials.sum(dim=1) - exponentials.diagonal())[:, None]
    value = -((targets * torch.log(shares + epsilon)).sum(dim=1) / targets.sum(dim=1)).mean()
    value.backward()
    assert leaf.grad is not None
    return value.item(), leaf.grad


def supcon(views: torch.Tensor, classes: list[int], temperature: float) -> Result:
    """Computes Khosla et al. 2020, equation 2, averaged over anchors, one anchor at a time."""
    leaf = views.clone().requires_grad_()
    rows, labels = leaf.flatten(0, 1), torch.tensor(classes).repeat_interleave(views.shape[1])
    total = torch.zeros((), dtype=torch.float64)
    for anchor in range(len(rows)):
        others = [index for index in range(len(rows)) if index != anchor]
        logits = rows[others] @ rows[anchor] / temperature
        total = total - torch.log_softmax(logits, dim=0)[labels[others] == labels[anchor]].mean()
    value = total / len(rows)
    value.backward()
    assert leaf.grad is not None
    return value.item(), leaf.grad


def relative_errors(one: Result, other: Result) -> tuple[float, float]:
    """Returns those of the value, and of the gradient."""
    return abs(one[0] / other[0] - 1), float((one[1] - other[1]).norm() / other[1].norm())


@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: f"{s.weighting} from {s.min_shared_tags}")
def test_a_batch_of_96_recordings_has_the_formula_s_value_and_gradient_to_rounding(section: SemiSupConConfig) -> None:
    """Compares with autograd through equation 3 on whole float64 matrices."""
    views, tags = unit_views(), half_labelled()
    value, gradient = relative_errors(tiled(views, tags, section), whole_matrix(views, tags, section))
    assert value < 2e-15
    assert gradient < 1e-14


@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: f"{s.weighting} from {s.min_shared_tags}")
def test_an_epsilon_of_1e_6_changes_the_value_by_less_than_a_thousandth(section: SemiSupConConfig) -> None:
    """Compares with equation 3 with 1e-6 added inside the logarithm, as in the code that its authors published.

    The gradient changes by one part in a hundred: that of a pair with a share of 1e-4 does.
    """
    views, tags = unit_views(), half_labelled()
    value, gradient = relative_errors(tiled(views, tags, section), whole_matrix(views, tags, section, epsilon=1e-6))
    assert value == pytest.approx(4.9e-4, rel=0.05)
    assert gradient == pytest.approx(0.0103, rel=0.1)


@pytest.mark.parametrize("classes", [10, RECORDINGS], ids=["labels only", "no labels"])
def test_with_labels_only_or_with_none_it_is_supcon(classes: int) -> None:
    """Compares with equation 2 of Khosla et al. 2020, for one label each, or for none, where each is its own class."""
    views, labels = unit_views(), [recording % classes for recording in range(RECORDINGS)]
    tags = torch.eye(classes, dtype=torch.uint8)[labels]
    if classes == RECORDINGS:
        tags = torch.zeros_like(tags)
    expected = supcon(views, labels, SemiSupConConfig().temperature)
    value, gradient = relative_errors(tiled(views, tags, SemiSupConConfig()), expected)
    assert value < 5e-15
    assert gradient < 1e-14
