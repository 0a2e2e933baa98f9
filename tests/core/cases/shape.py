"""Indexing, reshaping, joining, padding."""

from tests.core.bench import case, fixed, integers, mask, normal

X4 = (2, 3, 5, 4)


def moved(function, run, *given, **options):  # type: ignore[no-untyped-def]
    """A case of an operation that moves axes, so that no layout is promised."""
    return case(function, run, *given, keeps_layout=False, **options)


INDEXING = [
    moved("getitem", lambda F, x: F.getitem(x, 1), normal(*X4)),
    moved(
        "getitem",
        lambda F, x: F.getitem(x, (slice(None), 0, ..., slice(1, None, 2))),
        normal(*X4),
        label="slices",
    ),
    moved("getitem", lambda F, x: F.getitem(x, (None, ..., None)), normal(2, 3), label="new axes"),
    moved("getitem", lambda F, x: F.getitem(x, (1, 2)), normal(2, 3), label="one value"),
    moved(
        "getitem",
        lambda F, x, i: F.getitem(x, i),
        normal(4, 3),
        fixed([0, 2, 2, 0, 0]),
        label="repeated",
    ),
    moved(
        "getitem",
        lambda F, x, i, j: F.getitem(x, (i, j)),
        normal(4, 3),
        integers(4, 6),
        integers(3, 6),
        label="pairs",
    ),
    moved(
        "getitem",
        lambda F, x, i: F.getitem(x, (slice(None), i)),
        normal(*X4),
        integers(3, 5),
        label="channels",
    ),
    moved("getitem", lambda F, x, m: F.getitem(x, m), normal(4, 3), mask(4, 3), label="mask"),
    moved("embedding", lambda F, i, w: F.embedding(i, w), integers(5, 2, 7), normal(5, 3)),
    moved(
        "embedding",
        lambda F, i, w: F.embedding(i, w, padding_idx=0),
        fixed([0, 1, 0, 3, 3]),
        normal(5, 3),
        label="padding",
        numerical=False,
    ),
    moved(
        "one_hot",
        lambda F, i: F.one_hot(i, 4),
        integers(4, 2, 3),
        gradient=False,
        keeps_dtype=False,
    ),
]

RESHAPING = [
    moved("reshape", lambda F, x: F.reshape(x, (3, -1)), normal(*X4)),
    moved("flatten", lambda F, x: F.flatten(x, 1), normal(*X4)),
    moved("flatten", lambda F, x: F.flatten(x), normal(), label="scalar"),
    moved("permute", lambda F, x: F.permute(x, (0, 2, 3, 1)), normal(*X4)),
    moved("transpose", lambda F, x: F.transpose(x, 0, -1), normal(*X4)),
    moved("squeeze", lambda F, x: F.squeeze(x), normal(1, 3, 1, 4)),
    moved("squeeze", lambda F, x: F.squeeze(x, 0), normal(1, 3, 1), label="axis"),
    moved("unsqueeze", lambda F, x: F.unsqueeze(x, -1), normal(2, 3)),
    moved("expand", lambda F, x: F.expand(x, (2, 3, 4)), normal(3, 1)),
    moved("expand", lambda F, x: F.expand(x, (-1, 3)), normal(2, 1), label="keep"),
    moved("split", lambda F, x: F.split(x, 2, 1), normal(2, 5)),
    moved("split", lambda F, x: F.split(x, [1, 4], -1), normal(2, 5), label="sizes"),
    moved("chunk", lambda F, x: F.chunk(x, 2, 1), normal(*X4)),
    moved("flip", lambda F, x: F.flip(x, (0, 3)), normal(*X4)),
]

JOINING = [
    case("cat", lambda F, x, y: F.cat([x, y], 1), normal(2, 3, 5, 4), normal(2, 1, 5, 4)),
    case("cat", lambda F, x: F.cat([x, x, x]), normal(2, 3), label="itself"),
    case("stack", lambda F, x, y: F.stack([x, y], 1), normal(2, 3), normal(2, 3)),
    case("stack", lambda F, x, y: F.stack([x, y], -1), normal(2), normal(2), label="last"),
]

PADDING = [
    case("pad", lambda F, x: F.pad(x, (1, 2, 0, 3)), normal(*X4)),
    case("pad", lambda F, x: F.pad(x, (1, 1), value=-2.0), normal(3), label="value"),
    case(
        "pad", lambda F, x: F.pad(x, (1, 2, 3, 1), mode="replicate"), normal(*X4), label="replicate"
    ),
    case("pad", lambda F, x: F.pad(x, (3, 2, 1, 4), mode="reflect"), normal(*X4), label="reflect"),
    case("pad", lambda F, x: F.pad(x, (0, 3), mode="reflect"), normal(2, 4), label="reflect last"),
    case("pad", lambda F, x: F.pad(x, (2, 2), mode="replicate"), normal(2, 1), label="one"),
]

CASES = [*INDEXING, *RESHAPING, *JOINING, *PADDING]
