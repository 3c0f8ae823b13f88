"""Sizes of tensors against budget, the confound of every noise figure."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from pliant.report import captions
from pliant.report.figure import Figure, Ledger, Trace
from pliant.report.figures_loss import points, slug, ticks, titled
from pliant.report.study import Study
from pliant.statistics import Series

_KINDS = (
    ("embedding", ("embed", "wte", "wpe")),
    ("output head", ("lm_head", "output.weight")),
    ("attention", ("attn", "attention")),
    ("MLP", ("mlp", "feed_forward", "ffn")),
    ("gains", ("norm", "ln_")),
)
"""What a tensor's canonical name gives away; gains are asked for first, since they sit inside blocks."""


def size_figures(study: Study, ledger: Ledger) -> Iterator[Figure]:
    """Root mean square of each tensor (its norm where no rms was recorded), one line a tensor."""
    for metric, name in (("rms", "root mean square"), ("norm", "L2 norm")):
        found = list(study.matching(evaluation="weights", metric=metric, modification="none", split=None))
        if not found:
            continue
        for _, group in groupby(found, key=lambda s: (s.key.trajectory, s.key.members)):
            yield _figure(study, list(group), ledger, name)
        return


def _figure(study: Study, some: Sequence[Series], ledger: Ledger, name: str) -> Figure:
    key = some[0].key
    where = study.places[key.trajectory, key.members]
    seen: set[str] = set()
    traces = []
    for series in some:
        tensor = series.key.tensor or "all tensors"
        kind = kind_of(tensor)
        traces.append(
            Trace(
                name=tensor,
                group=kind,
                role="mean",
                points=points(series.curve(), series, None, ledger),
                hue=[k for k, _ in _KINDS].index(kind) if kind != "other" else len(_KINDS),
                legend=kind if kind not in seen else None,
            )
        )
        seen.add(kind)
    return Figure(
        id=slug(study.name, "norms", where),
        title=titled("Tensor sizes", where),
        caption=captions.SIZES,
        kind="curves",
        y_name=name,
        unit=None,
        factor=None,
        ticks=ticks(some),
        traces=tuple(traces),
        y_log=True,
    )


def kind_of(tensor: str) -> str:
    """ "model.layers.0.self_attn.q_proj.weight" -> "attention"."""
    lowered = tensor.lower()
    for kind, marks in (_KINDS[-1], *_KINDS[:-1]):
        if any(mark in lowered for mark in marks):
            return kind
    return "other"
