"""Each kind of an adapter's tensors, on two small layers that are known in full."""

import pytest
import torch
from torch import nn

from persongen_lib.adapters import overlay
from persongen_lib.adapters.adapted import adapted
from persongen_lib.adapters.spectral import spectrum
from persongen_lib.core.errors import UserError


@pytest.fixture
def modules():
    torch.manual_seed(0)
    network = nn.ModuleDict({"linear": nn.Linear(3, 4), "table": nn.Embedding(5, 2)})
    network["tied"] = nn.Embedding(5, 2)
    network["tied"].weight = network["table"].weight
    return {"network": network}


def test_a_whole_tensor_is_put_in_place_or_interpolated(modules):
    own, new = modules["network"]["linear"].weight.data, torch.ones(4, 3)
    name = "network.linear.weight"
    assert torch.equal(adapted(modules, {name: new})[name], new)
    torch.testing.assert_close(adapted(modules, {name: new}, 0.25)[name], 0.75 * own + 0.25 * new)
    assert adapted(modules, {name: new}, 0) == {}


def test_a_row_leaves_the_other_rows_alone(modules):
    own, row = modules["network"]["table"].weight.data.clone(), torch.ones(2)
    changed = adapted(modules, {"network.table.weight[3]": row}, 0.5)["network.table.weight"]
    torch.testing.assert_close(changed[3], 0.5 * own[3] + 0.5 * row)
    rest = [0, 1, 2, 4]
    assert torch.equal(changed[rest], own[rest])
    assert torch.equal(modules["network"]["table"].weight.data, own)


@pytest.mark.parametrize("table", ["table", "tied"])
def test_a_row_is_put_into_a_table_that_is_changed_as_well(modules, table):
    whole, row = torch.zeros(5, 2), torch.ones(2)
    changed = adapted(modules, {"network.tied.weight[1]": row, f"network.{table}.weight": whole})
    ((name, tensor),) = changed.items()
    assert name == f"network.{table}.weight"
    assert tensor.sum(1).tolist() == [0, 2, 0, 0, 0]


def test_low_rank_is_added(modules):
    down, up = torch.randn(2, 3), torch.randn(4, 2)
    names = {"network.linear.lora_A.weight": down, "network.linear.lora_B.weight": up}
    expected = modules["network"]["linear"].weight.data + 0.5 * up @ down
    torch.testing.assert_close(adapted(modules, names, 0.5)["network.linear.weight"], expected)


def test_low_rank_is_added_to_a_weight_that_is_replaced_as_well(modules):
    down, up, whole = torch.randn(2, 3), torch.randn(4, 2), torch.ones(4, 3)
    tensors = {
        "network.linear.lora_A.weight": down,
        "network.linear.lora_B.weight": up,
        "network.linear.weight": whole,
    }
    torch.testing.assert_close(adapted(modules, tensors)["network.linear.weight"], whole + up @ down)


@pytest.mark.parametrize("ranks", [(2, 3), (None, 2), (2, None)])
def test_halves_of_low_rank_that_do_not_fit_each_other_are_refused(modules, ranks):
    down, up = ranks
    tensors = {"network.linear.lora_A.weight": torch.zeros(down, 3)} if down else {}
    tensors |= {"network.linear.lora_B.weight": torch.zeros(4, up)} if up else {}
    with pytest.raises(UserError, match="network.linear.weight does not fit"):
        adapted(modules, tensors)


def test_a_shift_moves_the_singular_values(modules):
    values = spectrum(modules["network"]["linear"].weight.data)[1]
    shifted = adapted(modules, {"network.linear.weight.shift": torch.tensor([1.0, 0.5, 0.25])}, 2.0)
    found = spectrum(shifted["network.linear.weight"])[1]
    torch.testing.assert_close(found, values + torch.tensor([2.0, 1.0, 0.5]))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("network.nowhere.weight", (4, 3)),
        ("elsewhere.linear.weight", (4, 3)),
        ("network.linear.weight", (3, 4)),
        ("network.table.weight[5]", (2,)),
        ("network.table.weight[0]", (3,)),
        ("network.linear.weight.shift", (4,)),
        ("network.linear.lora_A.weight", (2, 3)),
    ],
)
def test_what_does_not_fit_is_refused(modules, name, shape):
    with pytest.raises(UserError, match="made for another model: .* does not fit"):
        adapted(modules, {name: torch.zeros(shape)})


def test_installed_tensors_are_taken_out_again(modules):
    own, new = modules["network"]["linear"].weight.data, torch.zeros(4, 3)
    with overlay.installed(modules, {"network.linear.weight": new}):
        assert modules["network"]["linear"].weight.data is not own
        assert modules["network"]["linear"].weight.sum() == 0
    assert torch.equal(modules["network"]["linear"].weight.data, own)
