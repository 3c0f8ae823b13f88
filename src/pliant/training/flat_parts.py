"""What lies between the matrix products of a decoder, forward and backward, each a function of tensors alone.

Run operation by operation these are a third of a training step; compiled, each is one pass over its tensors. Norms,
rotations and losses are computed in the precision of the residual stream; what goes into a product is cast to
`product`, the precision of the products.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def norm(
    hidden: Float[Tensor, "tokens width"], gain: Float[Tensor, " width"], epsilon: float, product: torch.dtype
) -> tuple[Float[Tensor, "tokens width"], Float[Tensor, "tokens 1"]]:
    """gain x r with r = 1 / sqrt(mean(x^2) + epsilon), as it goes into a product; and r."""
    root = torch.rsqrt(hidden.square().mean(dim=-1, keepdim=True) + epsilon)
    return (hidden * root * gain).to(product), root


def norm_back(
    gradient: Float[Tensor, "tokens width"],
    hidden: Float[Tensor, "tokens width"],
    root: Float[Tensor, "tokens 1"],
    gain: Float[Tensor, " width"],
) -> tuple[Float[Tensor, "tokens width"], Float[Tensor, " width"]]:
    """The gradients of x, r (t - u mean(t u)) with u = x r and t = gradient gain, and of the gain, sum(gradient u)."""
    unit = hidden * root
    scaled = gradient * gain
    onto = (scaled * unit).mean(dim=-1, keepdim=True)
    return root * (scaled - unit * onto), (gradient * unit).sum(dim=0)


def read_after(
    stream: Float[Tensor, "tokens width"],
    added: Float[Tensor, "tokens width"],
    gain: Float[Tensor, " width"],
    epsilon: float,
) -> tuple[Float[Tensor, "tokens width"], Float[Tensor, "tokens width"], Float[Tensor, "tokens 1"]]:
    """Llama: the stream after `added`, its norm, and what the norm divided by."""
    stream = stream + added
    normed, root = norm(stream, gain, epsilon, added.dtype)
    return stream, normed, root


def read_after_back(
    gradient: Float[Tensor, "tokens width"],
    behind: Float[Tensor, "tokens width"],
    stream: Float[Tensor, "tokens width"],
    root: Float[Tensor, "tokens 1"],
    gain: Float[Tensor, " width"],
) -> tuple[Float[Tensor, "tokens width"], Float[Tensor, "tokens width"], Float[Tensor, " width"]]:
    """From the gradient of the norm and that of the stream `behind` it: the stream's, once more cast, the gain's."""
    through, of_gain = norm_back(gradient.to(stream.dtype), stream, root, gain)
    total = behind + through
    return total, total.to(gradient.dtype), of_gain


def add_normed(
    stream: Float[Tensor, "tokens width"],
    added: Float[Tensor, "tokens width"],
    gain: Float[Tensor, " width"],
    epsilon: float,
) -> tuple[Float[Tensor, "tokens width"], Float[Tensor, "tokens width"], Float[Tensor, "tokens 1"]]:
    """OLMo-2: the stream after the norm of `added`, cast for the next product, and what the norm divided by."""
    normed, root = norm(added.to(stream.dtype), gain, epsilon, stream.dtype)
    stream = stream + normed
    return stream, stream.to(added.dtype), root


def add_normed_back(
    gradient: Float[Tensor, "tokens width"],
    behind: Float[Tensor, "tokens width"],
    added: Float[Tensor, "tokens width"],
    root: Float[Tensor, "tokens 1"],
    gain: Float[Tensor, " width"],
) -> tuple[Float[Tensor, "tokens width"], Float[Tensor, "tokens width"], Float[Tensor, " width"]]:
    """From the gradient of the cast stream and that of the stream `behind` it: the stream's, of `added`, the gain's."""
    total = behind + gradient
    of_added, of_gain = norm_back(total, added.to(total.dtype), root, gain)
    return total, of_added.to(added.dtype), of_gain


def turn(
    heads: Float[Tensor, "batch length heads size"],
    cosine: Float[Tensor, "length half"],
    sine: Float[Tensor, "length half"],
) -> Float[Tensor, "batch length heads size"]:
    """Each pair (i, i + half) of a head turned by the angle of its position; with -sine, turned back."""
    left, right = heads.chunk(2, dim=-1)
    cosine, sine = cosine.unsqueeze(1), sine.unsqueeze(1)
    return torch.cat([left * cosine - right * sine, right * cosine + left * sine], dim=-1)


def gate(joint: Float[Tensor, "tokens two_hidden"], stream: torch.dtype) -> Float[Tensor, "tokens hidden"]:
    """silu(gate) up, of gate and up side by side."""
    left, right = joint.chunk(2, dim=-1)
    left, right = left.to(stream), right.to(stream)
    return (left * torch.sigmoid(left) * right).to(joint.dtype)


def gate_back(
    gradient: Float[Tensor, "tokens hidden"], joint: Float[Tensor, "tokens two_hidden"], stream: torch.dtype
) -> Float[Tensor, "tokens two_hidden"]:
    """silu'(g) = s (1 + g (1 - s)) with s = sigmoid(g)."""
    left, right = joint.chunk(2, dim=-1)
    left, right, gradient = left.to(stream), right.to(stream), gradient.to(stream)
    share = torch.sigmoid(left)
    of_gate = gradient * right * share * (1 + left * (1 - share))
    return torch.cat([of_gate.to(joint.dtype), (gradient * left * share).to(joint.dtype)], dim=-1)


def split_heads(
    joint: Float[Tensor, "tokens three_width"],
    cosine: Float[Tensor, "length half"],
    sine: Float[Tensor, "length half"],
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys, turned, and values, each (batch, heads, length, size) in the stream's precision."""
    length, half = cosine.shape
    heads = joint.shape[1] // (6 * half)
    parts = joint.view(-1, length, 3 * heads, 2 * half).to(cosine.dtype)
    turned = turn(parts[:, :, : 2 * heads], cosine, sine).transpose(1, 2)
    return turned[:, :heads], turned[:, heads:], parts[:, :, 2 * heads :].transpose(1, 2)


def join_heads(
    queries: Float[Tensor, "batch heads length size"],
    keys: Float[Tensor, "batch heads length size"],
    values: Float[Tensor, "batch heads length size"],
    cosine: Float[Tensor, "length half"],
    sine: Float[Tensor, "length half"],
    product: torch.dtype,
) -> Float[Tensor, "tokens three_width"]:
    """The gradient of what `split_heads` split."""
    backwards = [turn(x.transpose(1, 2), cosine, -sine).to(product) for x in (queries, keys)]
    return torch.cat([*backwards, values.transpose(1, 2).to(product)], dim=2).view(
        -1, 3 * queries.shape[1] * queries.shape[3]
    )


def normed_heads(
    joint: Float[Tensor, "tokens three_width"],
    query_gain: Float[Tensor, " width"],
    key_gain: Float[Tensor, " width"],
    cosine: Float[Tensor, "length half"],
    sine: Float[Tensor, "length half"],
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`split_heads` with queries and keys normed before they are turned; and what the norms divided by."""
    queries, keys, values = joint.to(cosine.dtype).chunk(3, dim=-1)
    queries, query_root = norm(queries, query_gain, epsilon, cosine.dtype)
    keys, key_root = norm(keys, key_gain, epsilon, cosine.dtype)
    split = split_heads(torch.cat([queries, keys, values], dim=-1), cosine, sine)
    return *split, query_root, key_root


def normed_heads_back(
    queries: Float[Tensor, "batch heads length size"],
    keys: Float[Tensor, "batch heads length size"],
    values: Float[Tensor, "batch heads length size"],
    joint: Float[Tensor, "tokens three_width"],
    roots: tuple[Tensor, Tensor],
    gains: tuple[Tensor, Tensor],
    cosine: Float[Tensor, "length half"],
    sine: Float[Tensor, "length half"],
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of what `normed_heads` split, of the gain of queries and of that of keys."""
    before_queries, before_keys, _ = joint.to(cosine.dtype).chunk(3, dim=-1)
    of_queries = turn(queries.transpose(1, 2), cosine, -sine).reshape(before_queries.shape)
    of_keys = turn(keys.transpose(1, 2), cosine, -sine).reshape(before_keys.shape)
    of_queries, query_gain = norm_back(of_queries, before_queries, roots[0], gains[0])
    of_keys, key_gain = norm_back(of_keys, before_keys, roots[1], gains[1])
    of_values = values.transpose(1, 2).reshape(before_keys.shape)
    parts = [part.to(joint.dtype) for part in (of_queries, of_keys, of_values)]
    return torch.cat(parts, dim=-1), query_gain, key_gain


def losses_of(
    logits: Float[Tensor, "tokens vocabulary"],
    targets: Int[Tensor, " tokens"],
    share: Float[Tensor, " tokens"],
) -> tuple[Float[Tensor, ""], Float[Tensor, "tokens vocabulary"]]:
    """sum of share x -ln p(target), and its gradient share (p - one-hot), cast as the logits were."""
    scores = logits.to(share.dtype)
    index = targets.clamp_min(0).unsqueeze(1)
    largest = scores.amax(dim=-1, keepdim=True)
    powers = (scores - largest).exp()
    total = powers.sum(dim=-1, keepdim=True)
    surprise = (largest + total.log() - scores.gather(1, index)).squeeze(1)
    # a weight of 0 times an infinite surprise would be NaN: rows that are not scored are left out by choice
    loss = torch.where(share > 0, share * surprise, 0.0).sum()
    scale = share.unsqueeze(1) / total
    gradient = powers * scale
    if torch.compiler.is_compiling():
        hit = torch.arange(logits.shape[1], device=logits.device) == index
        return loss, torch.where(hit, gradient - share.unsqueeze(1), gradient).to(logits.dtype)
    return loss, gradient.scatter_add_(1, index, -share.unsqueeze(1)).to(logits.dtype)
