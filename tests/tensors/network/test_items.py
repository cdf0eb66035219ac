import pytest
import torch

from crossrec_core.tensors.network.checkpoint import load_checkpoint, save_checkpoint
from crossrec_core.tensors.network.items import distinct, pick_hidden_ids
from tests.tensors.network.test_checkpoint import ABOUT
from tests.tensors.worlds import tiny_attributes, tiny_model


def text_vectors(num_items=20):
    vectors_IK = torch.zeros(num_items + 1, 4)
    drawn = torch.randn(10, 4, generator=torch.Generator().manual_seed(2))
    vectors_IK[1:11] = torch.nn.functional.normalize(drawn, dim=1)
    return vectors_IK


def test_padding_has_the_zero_vector():
    model = tiny_model(text_vectors_IK=text_vectors(), text_dimensions=4)
    assert not model.item_vectors(torch.tensor([0])).any()


def test_hidden_ids_leave_only_the_text():
    model = tiny_model(text_vectors_IK=text_vectors(), text_dimensions=4)
    nums = torch.arange(21)
    hidden_I = torch.zeros(21, dtype=torch.bool)
    hidden_I[[3, 15]] = True
    shown, hidden = model.item_vectors(nums), model.item_vectors(nums, hidden_I)
    changed = (shown != hidden).any(dim=1).nonzero().ravel().tolist()
    assert changed == [3, 15]
    torch.testing.assert_close(hidden[3], model.items.text_map(model.items.text_vectors_IK[3].float()))
    assert not hidden[15].any()


def test_hidden_ids_get_no_gradient():
    model = tiny_model(text_vectors_IK=text_vectors(), text_dimensions=4)
    hidden_I = torch.zeros(21, dtype=torch.bool)
    hidden_I[3] = True
    model.item_vectors(torch.tensor([3, 4]), hidden_I).sum().backward()
    assert not model.items.ids.grad[3].any()
    assert model.items.ids.grad[4].all()


def test_about_the_wanted_share_of_ids_is_hidden_and_a_seed_repeats_it():
    drawn = [pick_hidden_ids(9_999, 0.25, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(*drawn)
    assert abs(float(drawn[0].float().mean()) - 0.25) < 0.02
    assert pick_hidden_ids(10, 0.0, torch.Generator()) is None


def test_sparse_gradient_equals_the_dense_one():
    dense, sparse = tiny_model(), tiny_model()
    nums = torch.tensor([[1, 2, 2], [3, 0, 0]])
    dense.item_vectors(nums).square().sum().backward()
    sparse.item_vectors(nums, sparse=True).square().sum().backward()
    assert sparse.items.ids.grad.is_sparse
    torch.testing.assert_close(sparse.items.ids.grad.to_dense(), dense.items.ids.grad)


def test_a_new_item_is_described_by_its_text_alone(tmp_path):
    model = tiny_model(text_vectors_IK=text_vectors(), text_dimensions=4)
    save_checkpoint(str(tmp_path / "m"), model, ABOUT)
    grown = load_checkpoint(str(tmp_path / "m"), num_items=22).model
    assert not grown.item_vectors(torch.tensor([21, 22])).any()
    grown.items.text_vectors_IK[21] = model.items.text_vectors_IK[7]
    expected = grown.items.text_map(model.items.text_vectors_IK[7].float())
    torch.testing.assert_close(grown.item_vectors(torch.tensor([21]))[0], expected)


def test_items_of_the_same_text_differ_by_their_ids_alone():
    vectors_IK = text_vectors()
    vectors_IK[2] = vectors_IK[1]
    model = tiny_model(text_vectors_IK=vectors_IK, text_dimensions=4)
    one, two = model.item_vectors(torch.tensor([1, 2]))
    torch.testing.assert_close(one - two, model.items.ids[1] - model.items.ids[2])


def test_attributes_add_the_mean_of_each_kind():
    attributes, shape = tiny_attributes()
    model = tiny_model(attributes=attributes, **shape)
    vectors, embedded = model.item_vectors(torch.arange(21)), model.items.attributes.weight
    torch.testing.assert_close(vectors[1] - model.items.ids[1], (embedded[1] + embedded[2]) / 2)
    torch.testing.assert_close(vectors[3] - model.items.ids[3], embedded[3])
    assert torch.equal(vectors[4:], model.items.ids[4:])
    assert not vectors[0].any()


def test_attributes_learn_and_their_padding_does_not():
    attributes, shape = tiny_attributes()
    model = tiny_model(attributes=attributes, **shape)
    model.item_vectors(torch.tensor([[3, 0]])).sum().backward()
    assert model.items.attributes.weight.grad.any(dim=1).tolist() == [False, False, False, True]


def test_attributes_have_a_second_derivative():
    attributes, shape = tiny_attributes()
    model = tiny_model(attributes=attributes, **shape)
    table = model.items.attributes.weight
    (grad,) = torch.autograd.grad(model.item_vectors(torch.tensor([1])).pow(3).sum(), table, create_graph=True)
    (second,) = torch.autograd.grad(grad.sum(), table)
    assert second.any()


def test_grown_items_have_no_attributes_and_old_ones_keep_theirs(tmp_path):
    attributes, shape = tiny_attributes()
    model = tiny_model(attributes=attributes, **shape)
    save_checkpoint(str(tmp_path / "m"), model, ABOUT)
    grown = load_checkpoint(str(tmp_path / "m"), num_items=22).model
    assert torch.equal(grown.item_vectors(torch.arange(21)), model.item_vectors(torch.arange(21)))
    assert not grown.item_vectors(torch.tensor([21, 22])).any()


def test_a_config_with_attributes_and_none_given_is_refused():
    with pytest.raises(AssertionError, match="attributes go with a config"):
        tiny_model(num_attributes=3, attributes_per_item=2)


def test_attributes_train_under_autocast_which_has_no_sparse_product():
    attributes, shape = tiny_attributes()
    model = tiny_model(attributes=attributes, **shape)
    expected = model.item_vectors(torch.arange(21))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.item_vectors(torch.arange(21))
    found.square().sum().backward()
    torch.testing.assert_close(found, expected)
    assert model.items.attributes.weight.grad.any()


@pytest.mark.parametrize("num_rows", [25, 100_000])
def test_distinct_numbers_and_their_places(num_rows):
    nums = torch.tensor([[7, 0, 7], [24, 3, 0]])
    found_U, places = distinct(nums, num_rows)
    assert found_U.tolist() == [0, 3, 7, 24]
    assert torch.equal(found_U[places], nums)


def test_sequences_are_described_in_scoring_as_in_training():
    model = tiny_model(text_vectors_IK=text_vectors(), text_dimensions=4)
    nums_BL = torch.randint(0, 21, (5, 7), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(model.eval().items(nums_BL), model.train().items(nums_BL))
