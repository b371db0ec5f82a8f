"""The checks that only the grader has. Lengths and values are drawn; what cases must hold is built into the drawing."""

import numpy as np

KEYS = ("a.weight", "a.bias", "weight", "table", "b.scale")


def _two(t, result, adapter, parts):
    """Both parts of a result that has two."""
    good = isinstance(result, (tuple, list)) and len(result) == 2
    t.require(good, f"{adapter} should return two things, ({parts})")
    return result if good else (None, None)


def _shapes(rng):
    """Five parameters of one to three axes, of different lengths and one square."""
    a, b, c = (int(n) for n in rng.choice(np.arange(2, 7), 3, replace=False))
    return dict(zip(KEYS, [(a, b), (b,), (c, c), (1, c, a), (c,)]))


def _arrays(rng, shapes, size=1.0):
    return {name: size * rng.normal(size=shape) for name, shape in shapes.items()}


def _adamw(t, params, grads, lrs, hyper, decay, what, rtol=1e-9):
    """Parameters after the updates, compared with the reference's."""
    args = (params, grads, lrs, hyper, decay)
    got, _ = _two(t, t.call("adamw", *args), "adamw", "parameters, state")
    t.close(got, t.ref("adamw", *args)[0], rtol, what=what)


def _hyper(rng, eps=1e-8, weight_decay=0.0):
    return {"betas": (rng.uniform(0.85, 0.95), rng.uniform(0.97, 0.999)), "eps": eps, "weight_decay": weight_decay}


def q1_h_fifty(t):
    """Fifty updates with gradients that grow from 1e-3 to 1e2, other rates each time, one of them 0, no decay."""
    shapes = _shapes(t.rng)
    grads = [_arrays(t.rng, shapes, 10 ** (-3 + step / 10)) for step in range(50)]
    lrs = [float(lr) for lr in t.rng.uniform(0.01, 0.3, 50)]
    lrs[int(t.rng.integers(5, 40))] = 0.0
    _adamw(t, _arrays(t.rng, shapes), grads, lrs, _hyper(t.rng), [], "the parameters after 50 updates without decay")


def q1_h_warm_rate(t):
    """The first rate is 0, as when a warm-up begins: parameters stay, moments go on; without decay, and with it."""
    shapes = _shapes(t.rng)
    for weight_decay in (0.0, 0.3):
        grads, hyper = [_arrays(t.rng, shapes) for _ in range(3)], _hyper(t.rng, weight_decay=weight_decay)
        what = f"the parameters, first rate 0, {'with' if weight_decay else 'without'} decay,"
        _adamw(t, _arrays(t.rng, shapes), grads, [0.0, 0.1, 0.2], hyper, ["a.weight", "table"], what)


def q1_h_decay(t):
    """Names that decay are those of the list, whatever they are called. Rates differ, and are large."""
    shapes = _shapes(t.rng)
    grads = [_arrays(t.rng, shapes) for _ in range(5)]
    lrs = [float(lr) for lr in t.rng.uniform(0.1, 0.5, 5)]
    hyper = _hyper(t.rng, weight_decay=float(t.rng.uniform(0.2, 0.5)))
    decay = ["a.bias", "weight", "table"]
    _adamw(t, _arrays(t.rng, shapes), grads, lrs, hyper, decay, "the parameters after 5 updates, some with decay,")


def q1_h_eps(t):
    """Gradients as small as eps, which then matters."""
    shapes = _shapes(t.rng)
    grads = [_arrays(t.rng, shapes, 0.01) for _ in range(4)]
    hyper = _hyper(t.rng, eps=1e-2)
    _adamw(t, _arrays(t.rng, shapes), grads, [0.1] * 4, hyper, [], "the parameters after updates with a large eps")


def q1_h_betas(t):
    """Unusual betas, among them a first of 0."""
    shapes = _shapes(t.rng)
    for betas in ((0.3, 0.6), (0.0, 0.9), (0.95, 0.5)):
        grads = [_arrays(t.rng, shapes) for _ in range(6)]
        hyper = {"betas": betas, "eps": 1e-8, "weight_decay": 0.0}
        _adamw(t, _arrays(t.rng, shapes), grads, [0.1] * 6, hyper, [], f"the parameters with betas {betas}")


def q1_h_names(t):
    """The dicts of gradients have their names in another order, and all shapes are alike."""
    names = list(KEYS)
    grads = [_arrays(t.rng, dict.fromkeys(t.rng.permutation(names).tolist(), (3, 3))) for _ in range(2)]
    params = _arrays(t.rng, dict.fromkeys(names, (3, 3)))
    _adamw(t, params, grads, [0.1, 0.2], _hyper(t.rng), [], "the parameters, gradients in another order of names,")


def _names(t, shapes, what):
    got, want = t.call("decay_names", shapes), t.ref("decay_names", shapes)
    t.require(isinstance(got, (list, tuple)), "decay_names should return a list of names")
    t.close(sorted(map(str, got)), sorted(want), what=what)


def q2_h_vit(t):
    """The names and shapes of a whole ViT, in any order."""
    d, f, k = 8, 20, 5
    shapes = {"class_token": (1, 1, d), "position_embedding": (1, 10, d), "norm.scale": (d,), "norm.bias": (d,)}
    shapes.update({"patch_embed.projection.weight": (12, d), "patch_embed.projection.bias": (d,)})
    for i in range(int(t.rng.integers(2, 4))):
        layers = {"attention.qkv": (d, 3 * d), "attention.out": (d, d), "mlp.hidden": (d, f), "mlp.out": (f, d)}
        for name, shape in layers.items():
            shapes.update({f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[1:]})
        shapes.update({f"blocks.{i}.norm{j}.{part}": (d,) for j in (1, 2) for part in ("scale", "bias")})
    shapes.update({"head.weight": (d, k), "head.bias": (k,)})
    names = list(shapes)
    _names(t, {names[i]: shapes[names[i]] for i in t.rng.permutation(len(names))}, "decay_names of a ViT, sorted,")


def q2_h_last_part(t):
    """The last part decides: not the number of axes, not a part of a word, not another part."""
    shapes = {"weight": (3, 4), "norm.weight": (4,), "weight.bias": (4,), "my_weight": (3, 4), "a.weights": (3, 4)}
    shapes.update({"deep.er.weight": (2, 3, 4), "weight_g": (3,), "a.weight.scale": (4, 4), "lightweight": (2, 2)})
    _names(t, shapes, "decay_names of unusual names, sorted,")


def q2_h_none(t):
    """No kernel at all: an empty list."""
    _names(t, {"norm.scale": (4,), "norm.bias": (4,), "class_token": (1, 1, 4)}, "decay_names, none of them a kernel,")


def _bits(t, got, want, what):
    """Ask for the same names and the same bits; whether the numbers are right is asked elsewhere.

    By how much they differ tells one mistake from another.
    """
    same = isinstance(got, dict) and isinstance(want, dict) and got.keys() == want.keys()
    same = same and all(np.shape(got[name]) == np.shape(want[name]) for name in want)
    seen = {name: np.asarray(got[name]) - np.asarray(want[name]) for name in want} if same else "other names or shapes"
    apart = f": they differ by up to {max(np.abs(x).max() for x in seen.values()):.1g}" if same else ""
    same = same and all(np.asarray(got[name]).tobytes() == np.asarray(want[name]).tobytes() for name in want)
    t.require(same, f"{what} are not the same, bit for bit{apart}", seen=seen)


def _run(t, params, grads, state=None):
    """A call of adamw with a constant rate, which may change params and grads: what is asked here is resuming alone."""
    hyper = {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}
    rest = () if state is None else (state,)
    params, grads = t.scratch(params), [t.scratch(g) for g in grads]
    result = t.call("adamw", params, grads, [0.05] * len(grads), hyper, ["a.weight"], *rest)
    return _two(t, result, "adamw", "parameters, state")


def q3_h_cut(t):
    """Nine updates, cut after 1, 4 and 8."""
    shapes = _shapes(t.rng)
    params, grads = _arrays(t.rng, shapes), [_arrays(t.rng, shapes) for _ in range(9)]
    whole, _ = _run(t, params, grads)
    moved = isinstance(whole, dict) and not np.array_equal(whole.get("a.bias"), params["a.bias"])
    t.require(moved, "nine updates change nothing")
    for cut in (1, 4, 8):
        half, state = _run(t, params, grads[:cut])
        t.require(isinstance(state, dict), "the state should be a dict")
        got, _ = _run(t, half, grads[cut:], state)
        _bits(t, got, whole, f"the parameters of 9 updates in one call, and stopped after {cut} and resumed,")


def q3_h_remembers(t):
    """Without the state, the second half must come out otherwise: there is something to remember."""
    shapes = _shapes(t.rng)
    params, grads = _arrays(t.rng, shapes), [_arrays(t.rng, shapes) for _ in range(6)]
    half, state = _run(t, params, grads[:3])
    with_it, _ = _run(t, half, grads[3:], state)
    without, _ = _run(t, half, grads[3:])
    differs = isinstance(with_it, dict) and not np.array_equal(with_it.get("a.bias"), without.get("a.bias"))
    t.require(differs, "updates after the first three come out the same with the state and without it")


def q3_h_twice(t):
    """A saved state is used twice, with other updates between: it is not used up, and nothing is kept elsewhere."""
    shapes = _shapes(t.rng)
    params, grads = _arrays(t.rng, shapes), [_arrays(t.rng, shapes) for _ in range(6)]
    half, state = _run(t, params, grads[:4])
    first, _ = _run(t, half, grads[4:], state)
    other = _arrays(t.rng, {"a.weight": (2, 2), "other": (3,)})
    _run(t, other, [_arrays(t.rng, {"a.weight": (2, 2), "other": (3,)}) for _ in range(3)])
    second, _ = _run(t, half, grads[4:], state)
    _bits(t, second, first, "the parameters when a saved state is used once and for the second time")
    whole, _ = _run(t, params, grads)
    _bits(t, second, whole, "the parameters of 6 updates in one call, and from a state saved before another run,")


def q3_h_two_runs(t):
    """Two runs in turn, one update at a time, as they would be alone."""
    shapes = _shapes(t.rng)
    params = [_arrays(t.rng, shapes) for _ in range(2)]
    grads = [[_arrays(t.rng, shapes) for _ in range(4)] for _ in range(2)]
    runs = [(params[i], None) for i in range(2)]
    for step in range(4):
        runs = [_run(t, runs[i][0], [grads[i][step]], runs[i][1]) for i in range(2)]
    for i in range(2):
        alone, _ = _run(t, params[i], grads[i])
        _bits(t, runs[i][0], alone, "the parameters of a run alone, and of two in turn, one update at a time,")


def _clip(t, grads, limit, what):
    got, before = _two(t, t.call("clip_by_global_norm", grads, limit), "clip_by_global_norm", "gradients, norm")
    want, norm = t.ref("clip_by_global_norm", grads, limit)
    t.close({"gradients": got, "norm": before}, {"gradients": want, "norm": norm}, what=f"the result {what}")


def _norm(grads):
    return float(np.sqrt(sum((g**2).sum() for g in grads.values())))


def q4_h_limits(t):
    """Limits above and below the norm, and at it; norms from 1e-3 to 1e3, where a tiny term would show."""
    shapes = _shapes(t.rng)
    for size in (1e-3, 1.0, 1e3):
        grads = _arrays(t.rng, shapes, size)
        for share in (0.1, 0.999, 1.001, 10.0):
            _clip(t, grads, share * _norm(grads), f"with a limit of {share} times the norm")
    grads = {"a": np.array([[0.0, 2.0], [4.0, 0.0]]), "b": np.array([4.0, 8.0])}
    _clip(t, grads, 10.0, "with a limit that is the norm")


def q4_h_global(t):
    """A limit below the largest norm of a single array; and just above it, below that of all."""
    grads = _arrays(t.rng, _shapes(t.rng))
    largest = max(float(np.sqrt((g**2).sum())) for g in grads.values())
    _clip(t, grads, 0.5 * largest, "with a limit below the norm of the largest array")
    _clip(t, grads, 1.001 * largest, "with a limit above the norm of each single array")


def q4_h_numbers(t):
    """Arrays of no axes, and of one entry."""
    grads = {"a": np.array(t.rng.normal()), "b": t.rng.normal(size=(1, 1, 1)), "c": np.array(-2.0)}
    _clip(t, grads, 0.5, "with arrays of no axes")
    _clip(t, grads, 50.0, "with arrays of no axes, limit above,")


def q4_h_zero(t):
    """All gradients zero."""
    grads = {name: np.zeros(shape) for name, shape in _shapes(t.rng).items()}
    _clip(t, grads, 1.0, "that are all zero")


def _rates(t, kind, total, warmup, final, steps, what):
    base = float(t.rng.uniform(0.5, 2.0))
    for step in steps:
        args = (step, kind, base, total, warmup, final)
        want = t.ref("learning_rate", *args)
        t.close(t.call("learning_rate", *args), want, 1e-9, 1e-12, f"the rate of step {step} of {total}, {what},")


def q5_h_warmup(t):
    """Inside of the warm-up and at both of its ends."""
    warmup = int(t.rng.integers(7, 12))
    for kind in ("cosine", "linear"):
        steps = (50, 0, 1, warmup // 2, warmup - 1, warmup, warmup + 1)
        _rates(t, kind, 50, warmup, 0.1, steps, f"{kind}, {warmup} of warm-up")


def q5_h_cosine(t):
    total = int(t.rng.integers(40, 60))
    steps = (total, 9, 10, 15, 20, 30, total // 2, total - 2, total - 1)
    _rates(t, "cosine", total, 9, float(t.rng.uniform(0.05, 0.2)), steps, "cosine")


def q5_h_linear(t):
    total = int(t.rng.integers(40, 60))
    steps = (total, 9, 10, 15, 20, 30, total // 2, total - 2, total - 1)
    _rates(t, "linear", total, 9, float(t.rng.uniform(0.05, 0.2)), steps, "linear")


def q5_h_beyond(t):
    """After the end the rate stays; the final rate may be 0 or more."""
    for kind in ("cosine", "linear"):
        for final in (0.0, 0.2):
            _rates(t, kind, 20, 5, final, (20, 21, 27, 35, 50, 100), f"{kind}, final rate {final}")


def q5_h_no_warmup(t):
    for kind in ("cosine", "linear"):
        _rates(t, kind, 17, 0, 0.05, (0, 1, 2, 8, 16, 17, 18), f"{kind}, no warm-up")


def q5_h_all_warmup(t):
    """The warm-up takes all steps: nothing is left to divide by."""
    for kind in ("cosine", "linear"):
        _rates(t, kind, 8, 8, 0.05, (0, 1, 4, 7, 8, 9), f"{kind}, nothing but warm-up")


def _batch(t, n, size, seed, step):
    """One batch as a list of whole numbers; it must have the right length and range."""
    got = np.asarray(t.call("batch_indices", n, size, seed, step))
    good = got.shape == (size,) and got.dtype.kind in "iu" and got.min() >= 0 and got.max() < n
    sentence = f"a batch of {size} of {n} images should be {size} whole numbers of 0..{n - 1}"
    t.require(good, sentence, seen=[bool(good), *got.shape])
    return [int(i) for i in got.ravel()]


def _epochs(t, n, size, seed, count):
    """The batches of the first epochs: [epoch][batch][place]."""
    per = n // size
    return [[_batch(t, n, size, seed, e * per + i) for i in range(per)] for e in range(count)]


def _order(batches):
    """The numbers of several batches, one after the other."""
    return [i for batch in batches for i in batch]


CASES = ((23, 5), (16, 4), (9, 9))  # with some left over, without, one batch an epoch


def q6_h_permutation(t):
    """Within an epoch nothing comes twice."""
    seed = int(t.rng.integers(1000))
    twice, whole = {}, True
    for n, size in CASES:
        orders = [_order(batches) for batches in _epochs(t, n, size, seed, 3)]
        twice[n, size] = any(len(set(order)) < len(order) for order in orders)
        whole = whole and all(len(order) == n - n % size for order in orders)
    for (n, size), fault in twice.items():
        sentence = f"of {n} images in batches of {size}, one comes twice in an epoch"
        t.require(not fault, sentence, seen=[*twice.values(), whole])


def _alike(orders, batches):
    """What epochs have in common that they should not: order, batches, neighbours, the order of the file."""
    n = len(orders[0])
    together = [frozenset(map(frozenset, epoch)) for epoch in batches]
    pairs = [set(zip(order, order[1:] + order[:1])) for order in orders]
    common = [len(a & b) for a, b in zip(pairs, pairs[1:])]  # noqa: RUF007 - Python 3.9
    sorted_like = np.mean([abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) for order in orders])
    return [
        len(set(map(tuple, orders))) < len(orders) - (n < 10),
        len(batches[0]) > 1 and len(set(together)) < len(together),
        n > 10 and max(common) > n / 2,
        bool(n > 10 and sorted_like > 0.75),
    ]


def q6_h_epochs(t):
    """Every epoch has an order of its own."""
    seed = int(t.rng.integers(1000))
    for n, size in CASES:
        epochs = _epochs(t, n, size, seed, 4)
        orders = [_order(batches) for batches in epochs]
        alike = _alike(orders, epochs)
        facts = [*alike, *(orders[i] == orders[j] for i in range(4) for j in range(i))]
        where = f"with {n} images in batches of {size}"
        t.require(not alike[0], f"{where}, two epochs have the same order", seen=facts)
        t.require(not alike[1], f"{where}, the same images meet in a batch in every epoch", seen=facts)
        t.require(not alike[2], f"{where}, the same image follows another in epoch after epoch", seen=facts)
        t.require(not alike[3], f"{where}, the order is nearly that of the data set", seen=facts)


def q6_h_seeds(t):
    """Another seed, another order, in the first epoch and in a later one."""
    seed = int(t.rng.integers(1, 1000))
    for step in (0, 9):
        batches = [_batch(t, 40, 20, s, step) for s in (seed, seed + 1, 0, seed + 2**20)]
        distinct = len(set(map(tuple, batches)))
        facts = [step, distinct, batches[0] == sorted(batches[0])]
        t.require(distinct == 4, f"two seeds give the same batch in step {step}", seen=facts)


def q6_h_history(t):
    """A function of its arguments alone: steps in any order, asked again, with other calls between."""
    seed = int(t.rng.integers(1000))
    steps = list(range(8))
    first = [_batch(t, 23, 5, seed, step) for step in steps]
    again = _batch(t, 23, 5, seed, 7)
    later = {}
    for step in t.rng.permutation(8):
        _batch(t, 16, 4, seed + 1, int(step))
        later[int(step)] = _batch(t, 23, 5, seed, int(step))
    facts = [again == first[7], all(later[step] == first[step] for step in steps)]
    t.require(facts[0], "the same arguments give another batch when they come again", seen=facts)
    t.require(facts[1], "a batch depends on which steps were asked for before", seen=facts)


def q6_h_left_over(t):
    """Those who are left over take turns."""
    seed = int(t.rng.integers(1000))
    orders = [_order(batches) for batches in _epochs(t, 23, 5, seed, 12)]
    left = [frozenset(range(23)) - set(order) for order in orders]
    facts = [len(set(map(tuple, orders))) > 1, len(set(left)) > 6, orders[0] == sorted(orders[0])]
    t.require(facts[1], "it is always the same images that are left over at the end of an epoch", seen=facts)


def _images(rng, *shape, low=1, high=256):
    return rng.integers(low, high, shape).astype(np.uint8)


def q7_h_statistics(t):
    """Lengths all different, all equal, and one image; channels with means and spreads of their own."""
    n, h, w, c = (int(i) for i in t.rng.choice(np.arange(2, 9), 4, replace=False))
    for shape in ((n, h, w, c), (3, 3, 3, 3), (1, 17, 19, 2), (4, 9, 30, 1)):
        images = _images(t.rng, *shape)
        images[..., 0] = images[..., 0] // 8 + 200
        got = _two(t, t.call("channel_statistics", images), "channel_statistics", "mean, std")
        want = t.ref("channel_statistics", images)
        t.close(got[0], want[0], what=f"the mean of images {shape}")
        t.close(got[1], want[1], what=f"the standard deviation of images {shape}")


def q7_h_normalize(t):
    """With statistics that are not those of the images, other for each channel."""
    n, h, w, c = (int(i) for i in t.rng.choice(np.arange(2, 7), 4, replace=False))
    for shape in ((n, h, w, c), (3, 3, 3, 3), (1, 2, 5, 1)):
        mean, std = t.rng.uniform(0.2, 0.8, shape[3]), t.rng.uniform(0.1, 0.4, shape[3])
        t.agree("normalize", _images(t.rng, *shape, low=0), mean, std, what=f"images {shape}, normalised,")


def _augmented(t, images, padding, seed):
    got = np.asarray(t.call("augment", images, padding, seed))
    good = got.shape == images.shape and got.dtype == np.uint8
    t.require(good, "augment should return uint8 images of the same shape", seen=[*got.shape, got.dtype == np.uint8])
    return got if got.shape == images.shape else np.zeros_like(images)


def _places(images, got, padding):
    """For each image which window of it, mirrored or not, came out: (number of the window, mirrored), -1 for none."""
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    place, mirrored = np.full(len(images), -1), np.zeros(len(images), bool)
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            window = padded[:, top : top + height, left : left + width]
            for flip in (False, True):
                hit = (got == (window[:, :, ::-1] if flip else window)).all(axis=(1, 2, 3))
                place[hit], mirrored[hit] = top * (2 * padding + 1) + left, flip
    return place, mirrored


NO_WINDOW = "some images that come out are not windows of their own image with zeros around, mirrored or not"


def _none_or_all(*properties):
    """Of each property, whether no image has it, some have it, or all."""
    return [int(x.any()) + int(x.all()) for x in properties]


def q7_h_windows(t):
    """Each image that comes out is a window of its own image, mirrored or not, with zeros from outside."""
    for shape, padding in (((40, 5, 7, 2), 2), ((30, 4, 4, 3), 1), ((1, 6, 3, 1), 2), ((20, 3, 5, 1), 0)):
        images = _images(t.rng, *shape)
        got = _augmented(t, images, padding, int(t.rng.integers(1000)))
        own, turned, recoloured, other = (
            _places(images, changed, padding)[0] >= 0 for changed in (got, got[:, ::-1], got[..., ::-1], got[::-1])
        )
        facts = [bool(own.all()), *(bool((own | guess).all()) for guess in (turned, recoloured, other))]
        facts += [bool((got == 0).any()), bool((got.sum((1, 2)) == images.sum((1, 2))).all())]
        sentence = (
            f"with padding {padding}, an image is not a window of its own image with zeros around, mirrored or not"
        )
        t.require(facts[0], sentence, seen=facts)


def q7_h_all_places(t):
    """Of 1500 images with padding 2, about 60 are at each of the 25 places, half of them mirrored."""
    images = _images(t.rng, 1500, 4, 5, 2)
    place, mirrored = _places(images, _augmented(t, images, 2, int(t.rng.integers(1000))), 2)
    # A statistic of 24 degrees of freedom exceeds 75, or one of 49 exceeds 120, less than once in a million.
    counts = np.bincount(place[place >= 0], minlength=25)
    both = np.bincount(2 * place[place >= 0] + mirrored[place >= 0], minlength=50)
    found, even = int((counts > 0).sum()), bool(((counts - 60) ** 2).sum() / 60 < 75)
    facts = [found, even, bool((place == 12).all()), int((both == 0).sum()), *_none_or_all(place >= 0, mirrored)]
    t.require((place >= 0).all(), NO_WINDOW, seen=facts)
    t.require(found == 25, f"of the 25 places that padding 2 allows, {found} occur in 1500 images", seen=facts)
    t.require(even, "the places of the windows are not equally likely", seen=facts)
    shares = np.array([both[::2].sum(), both[1::2].sum()]) / 25
    apart = ((both.reshape(25, 2) - shares) ** 2 / np.maximum(shares, 1)).sum() < 120
    t.require(apart, "whether an image is mirrored should not depend on its place", seen=facts)


def q7_h_share(t):
    """Between 35 % and 65 % of 300 images are mirrored, for six seeds; not the same ones each time."""
    images = _images(t.rng, 300, 3, 4, 2)
    results = []
    for seed in (int(s) for s in t.rng.choice(1000, 6, replace=False)):
        results.append(_places(images, _augmented(t, images, 1, seed), 1))
    places, flips = np.array([place for place, _ in results]), np.array([mirrored for _, mirrored in results])
    shares = [float(flip[place >= 0].mean()) if (place >= 0).any() else -1.0 for place, flip in results]
    kinds = [[-1.0, 0.0, 1.0].index(s) if s in (-1.0, 0.0, 1.0) else 3 + (s > 0.35) + (s > 0.65) for s in shares]
    settled = [bool((x == x[0]).all(axis=0).mean() > 0.5) for x in (flips, places)]
    facts = [bool((places >= 0).all()), *settled, *sorted(set(kinds))]
    t.require(facts[0], NO_WINDOW, seen=facts)
    worst = max(shares, key=lambda share: abs(share - 0.5))
    t.require(set(kinds) == {4}, f"{max(worst, 0):.0%} of 300 images are windows of mirrored ones", seen=facts)
    t.require(not settled[0], "the same images are mirrored whatever the seed", seen=facts)
    t.require(not settled[1], "the images have the same places whatever the seed", seen=facts)


def q7_h_seeds(t):
    """The same seed, the same images; another seed, others."""
    images, seed = _images(t.rng, 40, 3, 4, 2), int(t.rng.integers(1000))
    first, other, again = (_augmented(t, images, 1, s) for s in (seed, seed + 1, seed))
    facts = [np.array_equal(first, again), not np.array_equal(first, other)]
    t.require(facts[0], "the same seed gives other images when it comes again", seen=facts)
    t.require(facts[1], "two seeds give the same images", seen=facts)


def _config(rng, classifier, gelu, **changes):
    """A small ViT of two blocks for images that are not square."""
    rows, cols, ph, pw = (int(i) for i in rng.permutation([2, 3, 1, 2]))
    config = {"image_size": (rows * ph, cols * pw), "patch_size": (ph, pw), "channels": int(rng.integers(1, 4))}
    config.update({"width": 8, "depth": 2, "heads": 2, "mlp_width": 12, "num_classes": 4, "classifier": classifier})
    return {**config, "gelu": gelu, "norm_eps": 1e-6, **changes}


def _params(rng, config):
    """Parameters for a configuration, none of them zero."""
    d, f, k = config["width"], config["mlp_width"], config["num_classes"]
    (h, w), (ph, pw), token = config["image_size"], config["patch_size"], config["classifier"] == "token"
    shapes = {"class_token": (1, 1, d)} if token else {}
    shapes["position_embedding"] = (1, h // ph * (w // pw) + token, d)
    layers = {"patch_embed.projection": (ph * pw * config["channels"], d), "head": (d, k)}
    norms = ["norm"]
    for i in range(config["depth"]):
        sizes = {"attention.qkv": (d, 3 * d), "attention.out": (d, d), "mlp.hidden": (d, f), "mlp.out": (f, d)}
        layers.update({f"blocks.{i}.{name}": size for name, size in sizes.items()})
        norms += [f"blocks.{i}.norm1", f"blocks.{i}.norm2"]
    for name, size in layers.items():
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = size, size[1:]
    shapes.update({f"{name}.{part}": (d,) for name in norms for part in ("scale", "bias")})
    return {name: 0.3 * rng.normal(size=shape) + name.endswith("scale") for name, shape in shapes.items()}


def _data(rng, config, count):
    """Images and labels. All classes occur if there are enough images."""
    images = rng.normal(size=(count, *config["image_size"], config["channels"]))
    return images, rng.permutation(np.arange(count) % config["num_classes"])


def _evaluation(t, params, config, images, labels, sizes, what):
    """Loss and accuracy for several sizes of the batch."""
    want = t.ref("evaluate", params, config, images, labels, len(images))
    for size in sizes:
        got = t.call("evaluate", params, config, images, labels, size)
        good = isinstance(got, dict) and {"loss", "accuracy"} <= set(got)
        t.require(good, 'evaluate should return a dict with "loss" and "accuracy"')
        if size == sizes[0]:
            again = t.call("evaluate", params, config, images, labels, size)
            t.require(again == got, "evaluate gives another result when it is called again", seen=[again == got])
        said = f"the result for {len(images)} images in batches of {size}, {what},"
        t.close({name: got[name] for name in want} if good else got, want, 1e-8, what=said)


def _half_right(t, params, config, images):
    """Labels, five of them what the model says, three of these at the end: a short last batch has a mean of its own."""
    labels = np.zeros(len(images), np.int64)
    for i in range(len(images)):
        one = (params, config, images[i : i + 1])
        said = next(k for k in range(4) if t.ref("evaluate", *one, np.array([k]), 1)["accuracy"] == 1)
        labels[i] = said if i < 2 or i >= len(images) - 3 else (said + 1 + i % 3) % 4
    return labels


def q8_h_batches(t):
    """Eleven images in batches of 1, 3, 4, 11 and 50."""
    config = _config(t.rng, "token", "tanh")
    params, images = _params(t.rng, config), _data(t.rng, config, 11)[0]
    labels = _half_right(t, params, config, images)
    _evaluation(t, params, config, images, labels, (1, 11, 3, 4, 50), "classifier token")


def q8_h_gap(t):
    config = _config(t.rng, "gap", "erf")
    params, images = _params(t.rng, config), _data(t.rng, config, 7)[0]
    _evaluation(t, params, config, images, _half_right(t, params, config, images), (7, 2), "classifier gap")


def q8_h_large(t):
    """Logits in the thousands, all of one sign or the other, with usual differences; and labels of tiny probability."""
    config = _config(t.rng, "token", "tanh")
    params, images = _params(t.rng, config), _data(t.rng, config, 6)[0]
    labels = _half_right(t, params, config, images)
    for shift in (2000.0, -2000.0):
        moved = {**params, "head.bias": params["head.bias"] + shift}
        _evaluation(t, moved, config, images, labels, (6, 4), f"logits near {shift:.0f}")
    sharp = {**params, "head.bias": 20 * np.arange(4.0)}
    _evaluation(t, sharp, config, images, np.zeros(6, np.int64), (6, 4), "labels of tiny probability")


def _recipe(rng, batch_size, **changes):
    recipe = {"betas": (0.9, 0.98), "eps": 1e-8, "weight_decay": 0.3, "batch_size": batch_size, "total_steps": 12}
    recipe.update({"warmup_steps": 3, "base_lr": 0.02, "final_lr": 0.002, "kind": "cosine", "clip_norm": None})
    return {**recipe, "seed": int(rng.integers(1, 1000)), **changes}


def _train(t, *args):
    """What train returns, with its three parts."""
    got = t.call("train", *args)
    good = isinstance(got, dict) and {"step", "params", "losses"} <= set(got)
    t.require(good, 'train should return a dict with at least "step", "params" and "losses"')
    good = good and isinstance(got["params"], dict) and isinstance(got["losses"], (list, tuple))
    t.require(good, 'of what train returns, "params" should be a dict and "losses" a list')
    return got if good else {"step": -1, "params": {}, "losses": []}


def _against(t, got, want, what, losses=1e-6, params=1e-5):
    """Compare step, losses and parameters of two states."""
    t.close(got["step"], want["step"], 0.0, what=f"the step {what}")
    t.close(got["losses"], want["losses"], losses, what=f"the losses {what}")
    t.close(got["params"], want["params"], params, what=f"the parameters {what}")


def _full(t, what, classifier, gelu, **changes):
    """Eight updates with all images in each batch, so that their order does not matter."""
    config = _config(t.rng, classifier, gelu)
    params, (images, labels) = _params(t.rng, config), _data(t.rng, config, 6)
    args = (params, config, _recipe(t.rng, 6, **changes), images, labels, 8)
    _against(t, _train(t, *args), t.ref("train", *args), f"after 8 updates, {what},")


def q9_h_train(t):
    _full(t, "cosine with warm-up and decay", "token", "tanh")


def q9_h_clipped(t):
    """A limit that some gradients exceed much and others little, and no warm-up."""
    _full(t, "with clipping", "token", "erf", clip_norm=0.3, warmup_steps=0, eps=1e-3)


def q9_h_linear(t):
    """Past the end of the schedule, too."""
    _full(
        t,
        "linear",
        "gap",
        "tanh",
        kind="linear",
        total_steps=6,
        warmup_steps=2,
        weight_decay=0.1,
        eps=1e-2,
        betas=(0.8, 0.95),
    )


def q9_h_batches(t):
    """Update s takes batch_indices(s): its loss is that of these images under the parameters before it."""
    config = _config(t.rng, "token", "tanh")
    params, (images, labels) = _params(t.rng, config), _data(t.rng, config, 11)
    recipe = _recipe(t.rng, 4, base_lr=0.05, warmup_steps=1)
    states = [_train(t, params, config, recipe, images, labels, until) for until in range(6)]
    losses = states[5]["losses"]
    t.require(len(losses) == 5, "after 5 updates there should be 5 losses", seen=len(losses))
    seeds, first = (recipe["seed"], 0), np.arange(4)
    picks = [[np.asarray(t.call("batch_indices", 11, 4, seed, step)) for step in range(5)] for seed in seeds]
    fits = np.ones(6, bool)
    grows = all(list(state["losses"]) == list(losses[:until]) for until, state in enumerate(states))
    begins = all(list(state["losses"])[:1] == list(losses)[:1] for state in states[1:])
    for step in range(min(5, len(losses))):
        pick, old = picks[0][step], picks[0][0]
        pairs = [(pick, pick), (pick, pick), (first, first), (old, old), (picks[1][step],) * 2, (pick, first)]
        for guess, (x, y) in enumerate(pairs):
            now = states[step + (guess == 1)]["params"]
            want = t.ref("evaluate", now, config, images[x], labels[y], 4)["loss"]
            fits[guess] &= bool(abs(losses[step] - want) <= 1e-6 * want)
    sentence = "the loss of an update is not that of its batch, under the parameters before the update"
    t.require(fits[0], sentence, seen=[len(losses), begins, grows, *fits.tolist()])


def _batches_of_two(t):
    config = _config(t.rng, "token", "tanh")
    recipe = _recipe(t.rng, 2, clip_norm=1.0)
    return (_params(t.rng, config), config, recipe, *_data(t.rng, config, 5))


def q9_h_resume(t):
    """Eight updates with batches of two, stopped after 0, 1, 4 and 7: the same bits."""
    params, *rest = _batches_of_two(t)
    whole = _train(t, params, *rest, 8)
    t.require(any(not np.array_equal(p, whole["params"].get(name)) for name, p in params.items()), "nothing changes")
    for cut in (0, 1, 4, 7):
        state = _train(t, params, *rest, cut)
        t.require(
            len(state["losses"]) == cut, f"after {cut} updates there should be {cut} losses", seen=len(state["losses"])
        )
        _against(
            t, _train(t, None, *rest, 8, state), whole, f"of 8 updates, stopped after {cut} and resumed,", 0.0, 0.0
        )


def q9_h_twice(t):
    """A saved state is used twice, once to do nothing."""
    params, *rest = _batches_of_two(t)
    state = _train(t, params, *rest, 3)
    _against(t, _train(t, None, *rest, 3, state), state, "when there is nothing left to do", 0.0, 0.0)
    first = _train(t, None, *rest, 6, state)
    _train(t, {name: p + 0.1 for name, p in params.items()}, *rest, 2)
    _against(t, _train(t, None, *rest, 6, state), first, "when a saved state is used again", 0.0, 0.0)


def q9_h_overfit(t):
    """Sixteen images by heart in 200 updates."""
    config = _config(t.rng, "token", "tanh", depth=1, image_size=(4, 4), patch_size=(2, 2))
    params, (images, labels) = _params(t.rng, config), _data(t.rng, config, 16)
    recipe = _recipe(
        t.rng, 8, base_lr=0.03, total_steps=200, warmup_steps=20, final_lr=0.0, weight_decay=0.01, clip_norm=1.0
    )
    losses = _train(t, params, config, recipe, images, labels, 200)["losses"]
    good = len(losses) == 200 and float(np.mean(losses[-10:])) < 0.1
    t.require(good, "after 200 updates on 16 images, the mean of the last 10 losses is not below 0.1")
