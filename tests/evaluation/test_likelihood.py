"""The table of bits per dimension."""

import pytest
import torch
from scipy.stats import sem

from condiff.evaluation.likelihood import COLUMNS, summarize_bits


@pytest.mark.parametrize("n", [2, 25, 400])
def test_standard_error_of_the_mean(n):
    """Against scipy's, of a sample whose mean and deviation depend on the column."""
    generator = torch.Generator().manual_seed(n)
    columns = {name: 3 + index + (1 + index) * torch.randn(n, generator=generator) for index, name in enumerate(COLUMNS)}
    table, numbers = summarize_bits({"held out, AXT2": columns | {"by level": torch.zeros(n, 7)}})
    assert list(numbers["held out, AXT2"]) == list(COLUMNS)
    for index, (name, values) in enumerate(columns.items()):
        mean, error = values.double().mean().item(), sem(values.double().numpy())
        assert numbers["held out, AXT2"][name] == pytest.approx([mean, error], rel=1e-4)
        assert list(table.columns[index + 1].cells) == [f"{mean:.3f} ± {error:.3f}"]
