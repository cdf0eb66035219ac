import torch

from crossrec_core.tensors.network.adapters import AdaptedLinear

DOMAINS = torch.tensor([[1, 2, 0], [3, 3, 1]])


def adapted(rank=2):
    torch.manual_seed(0)
    module = AdaptedLinear(4, 5, num_domains=3, rank=rank)
    module.zero_adapters()
    return module


def test_fresh_adapters_change_nothing():
    module = adapted()
    x = torch.randn(2, 3, 4)
    assert torch.equal(module(x, DOMAINS), module.linear(x))


def test_every_position_gets_the_low_rank_map_of_its_own_domain():
    module = adapted()
    torch.nn.init.normal_(module.adapters_up.weight)
    x = torch.randn(2, 3, 4)
    found = module(x, DOMAINS)
    for row in range(2):
        for place in range(3):
            expected = module.linear.weight @ x[row, place]
            if domain := int(DOMAINS[row, place]):
                own = slice(2 * (domain - 1), 2 * domain)
                down, up = module.adapters_down.weight[own], module.adapters_up.weight[:, own]
                expected = expected + up @ (down @ x[row, place])
            torch.testing.assert_close(found[row, place], expected)


def test_a_domain_teaches_only_its_own_adapter():
    module = adapted()
    torch.nn.init.normal_(module.adapters_up.weight)
    module(torch.randn(2, 3, 4), DOMAINS)[0, 1].sum().backward()
    taught = module.adapters_down.weight.grad.abs().sum(dim=1) > 0
    assert taught.tolist() == [False, False, True, True, False, False]


def test_the_first_step_moves_an_adapter_from_zero():
    module = adapted()
    module(torch.randn(2, 3, 4), DOMAINS).sum().backward()
    assert float(module.adapters_up.weight.grad.abs().sum()) > 0


def test_rank_0_has_no_parameters_of_adapters():
    assert not [name for name, _ in adapted(rank=0).named_parameters() if "adapters" in name]
    assert len([name for name, _ in adapted(rank=1).named_parameters() if "adapters" in name]) == 2
