"""Point convolutions: who is near whom, sets of their own places, common places."""

import math

import pytest
import torch
from scipy.spatial import cKDTree
from torch.nn.functional import leaky_relu

from skimpute.nn.neighborhoods import (
    farthest_points,
    find_neighborhoods,
    lexicographic,
    nearest,
)
from skimpute.nn.pointconv import PointConv
from skimpute.nn.tableencoder import PlacedEncoder

from .common import normal, uniform

exactly = {"rtol": 0, "atol": 0}
DOUBLE = {"dtype": torch.float64}
D_OUT = 6
# Of two layers, of three of which the last sees all, and of one that does.
SIZES = {
    "two": {"n_centroids": (7, 3), "n_neighbors": (4, 3), "channels": (5, 6)},
    "all": {"n_centroids": (7, 3, 1), "n_neighbors": (4, 2, 9), "channels": (5, 4, 6)},
    "one": {"n_centroids": (1,), "n_neighbors": (5,), "channels": (4,)},
}
every_size = pytest.mark.parametrize("size", SIZES)
every_d_x = pytest.mark.parametrize("d_x", [1, 2, 3])
every_input = pytest.mark.parametrize("weightnet_input", ["fourier", "raw"])


def seeded(make, *args, dtype=torch.float32, seed=0, size="two", **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        options = {"n_frequencies": 8, "sigma": 0.5, **SIZES[size], **options}
        return make(*args, D_OUT, **options).to(dtype)


def make(d_x=2, d_y=2, **options):
    """Encoder of a fixed seed."""
    return seeded(PointConv, d_x, d_y, **options)


def make_placed(places, d_y=2, **options):
    return seeded(PlacedEncoder, places, d_y, **options)


def make_rows(d_x=2, d_y=2, n_rows=6, n_points=15, seed=0, dtype=torch.float32):
    """Rows of which the first knows all, then none, one, two and five points."""
    values = normal(n_rows, n_points, d_y, seed=seed, dtype=dtype)
    x = 2 * uniform(n_rows, n_points, d_x, seed=seed + 1, dtype=dtype) - 1
    context = uniform(n_rows, n_points, seed=seed + 2) < 0.7
    context[:5] = False
    context[0] = True
    context[2, 4] = context[3, 3] = context[3, 9] = True
    context[4, 1:11:2] = True
    return values, context, x


def grid(*lengths, dtype=torch.float32):
    """Points of a grid, full of points at the same distance, (n_points, d_x)."""
    axes = [torch.linspace(-1, 1, n, dtype=dtype) for n in lengths]
    return torch.cartesian_prod(*axes).reshape(-1, len(lengths))


def shuffled(*arrays, seed=0):
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(arrays[0].shape[1], generator=generator)
    return [a[:, order] for a in arrays]


# -- plain loops, to compare with


def squared_distance(a, b):
    """Of two places, in single precision and then to eleven bits."""
    total = torch.tensor(0.0)
    for u, v in zip(a.float(), b.float(), strict=True):
        total = total + (u - v).square()
    mantissa, exponent = math.frexp(float(total))
    return math.ldexp(math.floor(mantissa * 2**11 + 0.5), exponent - 11)


def farthest_by_loop(x, n):
    """Numbers of the points chosen among x of shape (n_points, d_x)."""
    middle = x.double().mean(0)

    def rank(j, square, sign):
        return (sign * square, *x[j].tolist())

    chosen = [
        min(range(len(x)), key=lambda j: rank(j, squared_distance(x[j], middle), 1))
    ]
    while len(chosen) < n:
        gaps = [min(squared_distance(a, x[j]) for j in chosen) for a in x]
        if max(gaps) == 0:
            break
        chosen.append(min(range(len(x)), key=lambda j: rank(j, gaps[j], -1)))
    return chosen


def neighbors_by_loop(x, centroid, k):
    """Numbers of the k points nearest to one of them; ties to the first."""
    squares = [squared_distance(a, x[centroid]) for a in x]
    return sorted(range(len(x)), key=lambda j: (squares[j], j))[:k]


def layer_by_loop(layer, fourier, h, x, centroids, groups):
    """Features of centroids at ``centroids``, which look at ``groups`` of points."""
    lengths = [
        float((x[j] - at).norm())
        for at, group in zip(centroids, groups, strict=True)
        for j in group
    ]
    unit = sum(lengths) / len(lengths) or 1.0
    made = []
    for at, group in zip(centroids, groups, strict=True):
        total = 0.0
        for j in group:
            if layer.weightnet_input == "fourier":
                offset = fourier(x[j]) - fourier(at)
            else:
                offset = (x[j] - at) / unit
            total = total + torch.outer(layer.weightnet(offset), h[j])
        total = total.flatten() * layer.n_neighbors / len(group)
        made.append(leaky_relu(layer.linear(torch.cat([total, fourier(at)])), 0.2))
    return torch.stack(made)


def encode_by_loop(encoder, values, context, x):
    """Code of one row, from its known points alone."""
    h, x = values[context], x[context]
    n_slots = encoder.n_centroids[-1]
    slots = h.new_zeros(n_slots, encoder.last.in_features // n_slots)
    if len(x):
        order = sorted(range(len(x)), key=lambda j: x[j].tolist())
        h, x = h[order], x[order]
        chosen = farthest_by_loop(x, encoder.n_centroids[0])
        layers = zip(encoder.layers, encoder.n_centroids, strict=True)
        for number, (layer, n) in enumerate(layers):
            n = min(n, len(chosen)) if n > 1 else 1
            numbers = chosen[:n] if number == 0 else range(n)
            centroids = x[list(numbers)]
            groups = [neighbors_by_loop(x, j, layer.n_neighbors) for j in numbers]
            if encoder.n_centroids[number] == 1:
                centroids, groups = x.mean(0, keepdim=True), [range(len(x))]
            h = layer_by_loop(layer, encoder.fourier, h, x, centroids, groups)
            x = centroids
        slots[: len(h)] = h
    return encoder.last(slots.flatten())


# -- who is near whom


def test_lexicographic_order_is_that_of_tuples():
    keys = torch.randint(0, 3, (4, 3, 40), generator=torch.Generator().manual_seed(0))
    order = lexicographic(*keys)
    for row in range(3):
        points = keys[:, row].T.tolist()
        assert [points[j] for j in order[row]] == sorted(points)
        assert order[row].sort().values.tolist() == list(range(40))


@pytest.mark.parametrize(
    "x",
    [
        normal(1, 60, 1),
        normal(2, 30, 2),
        normal(2, 30, 3),
        grid(6, 6)[None],
        grid(5, 7)[None],
        grid(9)[None],
        grid(3, 4, 3)[None],
        normal(2, 20, 2, **DOUBLE),
    ],
    ids=lambda x: str(tuple(x.shape)),
)
def test_farthest_points_are_those_of_a_loop(x):
    x = x.gather(1, lexicographic(*x.unbind(-1))[..., None].expand_as(x))
    known = torch.ones(x.shape[:2], dtype=torch.bool)
    index, found, squares = farthest_points(x, known, 12)
    assert found.all() or x.shape[1] < 12
    for row in range(len(x)):
        expected = farthest_by_loop(x[row], 12)
        assert index[row, : len(expected)].tolist() == expected
        of_points = x[row][index[row]][:, None] - x[row]
        of_points = of_points.square().sum(-1).float()
        torch.testing.assert_close(squares[row], of_points, rtol=1e-3, atol=0)


def test_farthest_points_are_chosen_among_the_known():
    x, known = normal(8, 30, 2), uniform(8, 30) < 0.4
    index, found, squares = farthest_points(x, known, 9)
    assert found.all() and (squares.isinf() == ~known[:, None]).all()
    for row in range(8):
        numbers = known[row].nonzero()[:, 0]
        expected = numbers[farthest_by_loop(x[row, known[row]], 9)]
        assert index[row].tolist() == expected.tolist()


def test_fewer_farthest_points_are_the_first_of_more():
    x, known = normal(4, 25, 2), uniform(4, 25) < 0.9
    many, few = farthest_points(x, known, 11), farthest_points(x, known, 4)
    for a, b in zip(many, few, strict=True):
        torch.testing.assert_close(a[:, :4], b, **exactly)


def test_no_place_is_chosen_twice():
    x = grid(3)[[0, 1, 1, 2, 2, 2]].expand(3, -1, -1)
    known = torch.ones(3, 6, dtype=torch.bool)
    known[1, 3:], known[2] = False, False
    index, found, _ = farthest_points(x, known, 9)
    assert index.shape == (3, 6)
    assert found.tolist() == [[j < n for j in range(6)] for n in (3, 2, 0)]
    assert sorted(x[0, index[0, :3], 0].tolist()) == [-1, 0, 1]


@every_d_x
def test_nearest_are_those_of_a_tree(d_x):
    x, known = normal(3, 50, d_x), uniform(3, 50) < 0.6
    centroids, _, squares = farthest_points(x, known, 10)
    table = nearest(squares, 6)
    assert table.known.all()
    for row in range(3):
        tree = cKDTree(x[row, known[row]])
        expected, _ = tree.query(x[row, centroids[row]], 6)
        assert known[row, table.points[row]].all()
        assert all(len(set(few)) == 6 for few in table.points[row].tolist())
        found = (x[row, table.points[row]] - x[row, centroids[row], None]).norm(dim=-1)
        expected = torch.as_tensor(expected, dtype=torch.float32)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)


def test_ties_of_nearest_go_to_the_first():
    x = grid(5, 5)
    squares = farthest_points(x[None], torch.ones(1, 25, dtype=torch.bool), 25)[2]
    index, _, _ = farthest_points(x[None], torch.ones(1, 25, dtype=torch.bool), 25)
    table = nearest(squares, 7)
    for j, found in zip(index[0].tolist(), table.points[0].tolist(), strict=True):
        assert found == neighbors_by_loop(x, j, 7)


@pytest.mark.parametrize("lengths", [(14, 14), (9, 12), (25,), (5, 4, 5)], ids=str)
@pytest.mark.parametrize("unit, origin", [(0.37, 0.7), (3.1, -2.9), (1 / 3, 1 / 7)])
def test_neighborhoods_on_a_grid_are_the_same_in_any_unit(lengths, unit, origin):
    """There, the same distance is rounded in many ways."""
    x = grid(*lengths)[None]
    known = uniform(1, x.shape[1]) < 0.9
    order, _, tables = find_neighborhoods(x, known, (49, 12), (9, 9))
    moved = find_neighborhoods(unit * x + origin, known, (49, 12), (9, 9))
    torch.testing.assert_close(moved.centroids, order, **exactly)
    for found, table in zip(moved.tables, tables, strict=True):
        torch.testing.assert_close(found.points, table.points, **exactly)


def test_nearest_of_too_few_points_are_marked():
    squares = torch.tensor([[[2.0, torch.inf, 0.0, torch.inf]]])
    table = nearest(squares, 3)
    assert table.points[0, 0, :2].tolist() == [2, 0]
    assert table.known.tolist() == [[[True, True, False]]]
    assert nearest(squares, 9).points.shape == (1, 1, 4)


def test_layers_look_at_the_centroids_of_the_layer_before():
    x, known = normal(2, 40, 2), torch.ones(2, 40, dtype=torch.bool)
    centroids, _, tables = find_neighborhoods(x, known, (12, 5, 1), (4, 3, 9))
    for row in range(2):
        points = x[row, centroids[row]]
        for j in range(5):
            expected = neighbors_by_loop(points, j, 3)
            assert tables[1].points[row, j].tolist() == expected
        assert tables[2].points[row, 0].tolist() == list(range(5))
    assert all(table.known.all() for table in tables)


# -- what the encoder computes


@every_input
@every_size
@every_d_x
def test_code_is_that_of_loops_over_known_points(d_x, size, weightnet_input):
    encoder = make(d_x, size=size, weightnet_input=weightnet_input, **DOUBLE)
    rows = make_rows(d_x, **DOUBLE)
    code = encoder(*rows)
    assert code.shape == (6, D_OUT)
    for row in range(6):
        expected = encode_by_loop(encoder, *(part[row] for part in rows))
        torch.testing.assert_close(code[row], expected, rtol=1e-9, atol=1e-9)


@every_input
def test_code_on_a_grid_is_that_of_loops(weightnet_input):
    encoder = make(weightnet_input=weightnet_input, weightnet_depth=3, **DOUBLE)
    values, context, _ = make_rows(n_points=20, **DOUBLE)
    x = grid(4, 5, **DOUBLE).expand(6, -1, -1)
    code = encoder(values, context, x)
    for row in (0, 4, 5):
        expected = encode_by_loop(encoder, values[row], context[row], x[row])
        torch.testing.assert_close(code[row], expected, rtol=1e-9, atol=1e-9)


def test_raw_offsets_have_no_unit():
    """Ten times as far apart, and features that know of it: the same code."""
    near, far = (make(weightnet_input="raw", sigma=s, **DOUBLE) for s in (0.5, 0.05))
    values, context, x = make_rows(**DOUBLE)
    code = near(values, context, x)
    found = far(values, context, 10 * x)
    torch.testing.assert_close(found, code, rtol=1e-5, atol=1e-6)


# -- what may depend on what


@every_input
@every_size
def test_order_of_points_does_not_matter(size, weightnet_input):
    encoder = make(size=size, weightnet_input=weightnet_input)
    rows = make_rows()
    expected = encoder(*rows)
    for seed in range(5):
        moved = encoder(*shuffled(*rows, seed=seed))
        torch.testing.assert_close(moved, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("lengths", [(6, 6), (13,), (3, 4, 3)], ids=str)
def test_order_does_not_matter_where_distances_are_equal(lengths):
    x = grid(*lengths)
    encoder = make(len(lengths))
    values, context, _ = make_rows(n_points=len(x))
    rows = values, context, x.expand(len(values), -1, -1)
    for seed in range(5):
        moved = encoder(*shuffled(*rows, seed=seed))
        torch.testing.assert_close(moved, encoder(*rows), rtol=0, atol=1e-5)


def test_order_does_not_matter_where_points_are_at_one_place():
    encoder = make()
    values, context, x = make_rows()
    rows = values, context, x.mul(2).round()
    for seed in range(5):
        moved = encoder(*shuffled(*rows, seed=seed))
        torch.testing.assert_close(moved, encoder(*rows), rtol=0, atol=1e-5)


@every_size
def test_rows_do_not_see_each_other(size):
    encoder, rows = make(size=size), make_rows()
    code = encoder(*rows)
    order = [3, 5, 0, 2, 1, 4]
    moved = encoder(*(part[order] for part in rows))
    torch.testing.assert_close(moved, code[order], rtol=0, atol=1e-5)
    for row in range(6):
        alone = encoder(*(part[row : row + 1] for part in rows))
        torch.testing.assert_close(alone[0], code[row], rtol=0, atol=1e-5)


def test_padding_may_be_anything_and_of_any_length():
    encoder = make()
    values, context, x = make_rows()
    expected = encoder(values, context, x)
    hidden = ~context[..., None]
    for filler in (7.0, torch.inf, torch.nan):
        spoilt = (
            values.masked_fill(hidden, filler),
            context,
            x.masked_fill(hidden, filler),
        )
        torch.testing.assert_close(encoder(*spoilt), expected, **exactly)
    longer = [torch.cat([part, part.roll(1, 0)], 1) for part in (values, context, x)]
    longer[1][:, 15:] = False
    torch.testing.assert_close(encoder(*longer), expected, rtol=0, atol=1e-5)
    for row in range(6):
        known = context[row]
        alone = [part[row : row + 1, known] for part in (values, context, x)]
        if known.any():
            torch.testing.assert_close(
                encoder(*alone)[0], expected[row], rtol=0, atol=1e-5
            )


@every_input
def test_code_is_blind_to_hidden_points_and_sees_known_ones(weightnet_input):
    encoder = make(size="one", weightnet_input=weightnet_input)
    values, context, x = (part.requires_grad_(part.ndim > 2) for part in make_rows())
    by_value, by_place = torch.autograd.grad(
        encoder(values, context, x).square().sum(), (values, x)
    )
    for slope in (by_value, by_place):
        assert ((slope != 0).all(-1) == context).all()


def test_empty_rows_have_one_code():
    encoder = make()
    values, _, x = make_rows()
    code = encoder(values, torch.zeros(6, 15, dtype=torch.bool), x)
    torch.testing.assert_close(code, encoder.last.bias.expand_as(code))
    code.square().sum().backward()
    for parameter in encoder.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()


# -- common places


@every_input
@every_size
@pytest.mark.parametrize("places", [grid(4, 4), grid(17), normal(15, 3)], ids=len)
def test_fixed_tables_are_those_of_full_rows(places, size, weightnet_input):
    """With all points known, PointConv of values and ones, place by place."""
    options = {"size": size, "weightnet_input": weightnet_input}
    placed = make_placed(places, **options)
    free = make(places.shape[1], 3, **options)
    free.load_state_dict(placed.pointconv.state_dict())
    values = normal(5, len(places), 2)
    context = torch.ones(5, len(places), dtype=torch.bool)
    known = torch.cat([values, torch.ones(5, len(places), 1)], -1)
    expected = free(known, context, places.expand(5, -1, -1))
    torch.testing.assert_close(placed(values, context), expected, rtol=1e-5, atol=1e-6)


def test_unknown_points_stay_as_zeros_with_a_mark():
    placed = make_placed(grid(4, 5))
    values, context, _ = make_rows(n_points=20)
    expected = placed(values, context)
    spoilt = torch.where(context[..., None], values, torch.nan)
    torch.testing.assert_close(placed(spoilt, context), expected, **exactly)
    shown = context[..., None].float()
    h = torch.cat([values * shown, shown], -1).transpose(0, 1)[None]
    pointconv = placed.pointconv
    hoods = find_neighborhoods(
        placed.places[None],
        torch.ones(1, 20, dtype=torch.bool),
        pointconv.n_centroids,
        pointconv.n_neighbors,
    )
    found = pointconv.encode(h, placed.places[None], hoods)
    torch.testing.assert_close(found, expected)


def test_rows_at_common_places_do_not_see_each_other():
    placed = make_placed(grid(4, 5))
    values, context, _ = make_rows(n_points=20)
    code = placed(values, context)
    for row in range(6):
        alone = placed(values[row : row + 1], context[row : row + 1])
        torch.testing.assert_close(alone[0], code[row], rtol=0, atol=1e-5)


@pytest.mark.parametrize("places", [grid(4, 5), normal(20, 2)], ids=["grid", "any"])
def test_order_of_common_places_does_not_matter(places):
    values, context, _ = make_rows(n_points=20)
    moved = shuffled(values, context, places[None])
    expected = make_placed(places)(values, context)
    torch.testing.assert_close(make_placed(moved[2][0])(*moved[:2]), expected)


def test_tables_are_saved():
    one, other = make_placed(grid(4, 5), seed=1), make_placed(normal(20, 2))
    values, context, _ = make_rows(n_points=20)
    assert not torch.allclose(other(values, context), one(values, context))
    other.load_state_dict(one.state_dict())
    torch.testing.assert_close(other(values, context), one(values, context), **exactly)


def test_weights_are_computed_once_for_all_rows():
    placed, seen = make_placed(grid(4, 5)), []
    for layer in placed.pointconv.layers:
        layer.weightnet.register_forward_hook(
            lambda net, args, made: seen[-1].append(made.numel())
        )
    for n_rows in (2, 30):
        seen.append([])
        values, context, _ = make_rows(n_rows=n_rows + 5, n_points=20)
        placed(values[:n_rows], context[:n_rows])
    assert seen[0] == seen[1]


@every_size
@pytest.mark.parametrize("places", [grid(1), grid(2, 1), grid(2)[[0, 0, 1]]], ids=len)
def test_few_common_places_suffice(places, size):
    placed = make_placed(places, size=size)
    values, context, _ = make_rows(n_points=15)
    code = placed(values[:, : len(places)], context[:, : len(places)])
    assert torch.isfinite(code).all() and (code[0] != code[1]).any()
    n_places = len(places.unique(dim=0))
    assert placed.pointconv.n_centroids[0] == min(
        n_places, SIZES[size]["n_centroids"][0]
    )


# -- training


@every_input
@every_size
@pytest.mark.parametrize("placed", [False, True], ids=["sets", "places"])
def test_every_parameter_gets_a_gradient(placed, size, weightnet_input):
    options = {"size": size, "weightnet_input": weightnet_input}
    values, context, x = make_rows()
    if placed:
        encoder = make_placed(x[0], **options)
        code = encoder(values, context)
    else:
        encoder = make(**options)
        code = encoder(values, context, x)
    code.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad != 0).any(), name
        assert parameter.ndim > 1 or name.endswith("bias")  # for weight decay


@pytest.mark.parametrize("placed", [False, True], ids=["sets", "places"])
def test_training_lowers_the_loss(placed):
    """Slopes of planes, seen at some points."""
    x = 2 * uniform(32, 20, 2, seed=1) - 1
    if placed:
        x = x[:1].expand(32, -1, -1)
    slopes = normal(32, 2, seed=2)
    values, context = x @ slopes[..., None], uniform(32, 20, seed=3) < 0.8
    if placed:
        encoder, given = make_placed(x[0], 1), (values, context)
    else:
        encoder, given = make(2, 1), (values, context, x)
    optimiser = torch.optim.Adam(encoder.parameters(), lr=2e-2)
    for _ in range(50):
        loss = (encoder(*given)[:, :2] - slopes).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1


# -- sizes and precision


@pytest.mark.parametrize(
    "options, message",
    [
        ({"channels": (5,)}, r"a number for every layer, got \(7, 3\), \(4, 3\) and"),
        ({"n_centroids": (3, 7)}, r"must not increase, .*got \(3, 7\)"),
        ({"weightnet_input": "rff"}, r"'fourier' or 'raw', got 'rff'"),
    ],
)
def test_sizes_that_do_not_fit_are_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
    with pytest.raises(ValueError, match=message):
        make_placed(normal(20, 2), **options)


@every_input
def test_double_precision_agrees_with_single(weightnet_input):
    rows = make_rows()
    options = {"weightnet_input": weightnet_input}
    code = make(**options)(*rows)
    values, context, x = rows
    found = make(**options, **DOUBLE)(values.double(), context, x.double())
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), code, rtol=1e-4, atol=1e-5)


@every_input
def test_autocast_agrees_roughly(weightnet_input):
    encoder, rows = make(weightnet_input=weightnet_input), make_rows()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encoder(*rows).float()
    torch.testing.assert_close(found, encoder(*rows), rtol=0.05, atol=0.05)


def test_wave_that_neighbours_share_is_not_seen():
    """Weights depend on differences of features, not on where on earth they are."""
    encoder = make(d_y=1, size="one", sigma=0.0)  # all features are those of 0
    values, context, x = make_rows(d_y=1)
    code = encoder(values, context, x)
    torch.testing.assert_close(encoder(values, context, x + math.pi), code)
