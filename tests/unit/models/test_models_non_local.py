import pytest
import torch
from torch import Tensor, nn

from kinoray.models.layers.non_local import NON_LOCAL_KEYS, NonLocal3d, NonLocalKind
from kinoray.models.weights import rename_keys

KINDS: list[NonLocalKind] = ["dot_product", "embedded_gaussian", "gaussian"]


def block(kind: NonLocalKind, *, scale: bool = False) -> NonLocal3d:
    torch.manual_seed(0)
    made = NonLocal3d(4, kind, scale=scale).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made


def clip(height: int = 4, width: int = 4) -> Tensor:
    return torch.randn(2, 4, 3, height, width, generator=torch.Generator().manual_seed(1))


def by_the_definition(made: NonLocal3d, x: Tensor) -> Tensor:
    """The paper's equation 1, a place at a time."""
    embeds = made.kind != "gaussian"
    queries = (made.theta(x) if embeds else x).flatten(2)
    keys = made.pool(made.phi(x) if embeds else x).flatten(2)
    values = made.pool(made.g(x)).flatten(2)
    gathered = torch.zeros(x.shape[0], values.shape[1], queries.shape[2])
    for place in range(queries.shape[2]):
        likeness = (queries[:, :, place, None] * keys).sum(1)
        is_product = made.kind == "dot_product"
        weights = likeness / keys.shape[2] if is_product else (likeness * made.factor).softmax(1)
        gathered[:, :, place] = (weights[:, None] * values).sum(2)
    return x + made.bn(made.out(gathered.view(x.shape[0], -1, *x.shape[2:])))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(4, 4), (5, 3)])
def test_every_place_sees_all_others(kind: NonLocalKind, size: tuple[int, int]) -> None:
    made = block(kind)
    torch.testing.assert_close(made(clip(*size)), by_the_definition(made, clip(*size)), atol=1e-5, rtol=1e-5)


def test_scale_is_that_of_attention() -> None:
    made = block("embedded_gaussian", scale=True)
    assert made.factor == pytest.approx(2**-0.5)
    torch.testing.assert_close(made(clip()), by_the_definition(made, clip()), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(made(clip()), block("embedded_gaussian")(clip()))


@pytest.mark.parametrize("kind", KINDS)
def test_fresh_block_is_the_identity(kind: NonLocalKind) -> None:
    assert torch.equal(NonLocal3d(4, kind)(clip()), clip())


def test_mmcv_names_lead_to_ours() -> None:
    given = ["g.0.conv.weight", "theta.conv.weight", "phi.0.conv.bias", "conv_out.conv.weight", "conv_out.bn.bias"]
    state_dict = {f"layer2.1.non_local_block.{name}": torch.zeros(1) for name in given}
    expected = ["g.weight", "theta.weight", "phi.bias", "out.weight", "bn.bias"]
    assert list(rename_keys(state_dict, NON_LOCAL_KEYS)) == [f"layer2.1.non_local.{name}" for name in expected]
    assert {name for name in expected if "bias" not in name} <= NonLocal3d(4, "dot_product").state_dict().keys()
