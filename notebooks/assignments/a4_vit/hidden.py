"""The hidden checks of A4. Every list of cases meets its requirements by how it is drawn."""

import math
from functools import partial

import numpy as np
from visible import block_shapes, mlp_shapes, vit_shapes


def distinct(rng, *ranges):
    """A whole number from each (first, last), all different."""
    while True:
        sizes = [int(rng.integers(first, last + 1)) for first, last in ranges]
        if len(set(sizes)) == len(sizes):
            return sizes


def widths(rng, *others):
    """(heads, D, ...): 2 to 4 heads, another number of features in each; D and the others all different."""
    heads, feature = distinct(rng, (2, 4), (2, 4))
    return heads, *distinct(rng, (heads * feature, heads * feature), *others)


def lengths(config):
    """(T, numbers in a patch)."""
    (h, w), (ph, pw) = config["image_size"], config["patch_size"]
    return h // ph * (w // pw) + (config["classifier"] == "token"), ph * pw * config["channels"]


def draw(rng, shapes):
    """Parameters in a random order: kernels of std sqrt(1 / fan_in), scales around 1, all else around 0."""
    params, names = {}, list(shapes)
    for name in (names[i] for i in rng.permutation(len(names))):
        scale = 1 / math.sqrt(shapes[name][0]) if name.endswith("weight") else 0.5
        params[name] = rng.normal(1.0 if name.endswith("scale") else 0.0, scale, shapes[name])
    return params


def holds(t, fact, sentence, *seen):
    """A property that must hold. What was seen tells mistakes apart, and no mistake where it held."""
    t.require(fact, sentence, [bool(fact), *seen])


def settings(heads, width, hidden, gelu, eps, **more):
    """A whole config; what a block does not read is of no model."""
    config = {"image_size": (4, 6), "patch_size": (2, 3), "channels": 2, "width": width, "depth": 2, "heads": heads}
    config.update({"mlp_width": hidden, "num_classes": 3, "classifier": "token", "gelu": gelu, "norm_eps": eps})
    return {**config, **more}


# q1


def points(rng):
    """Arrays of one to four axes."""
    return [rng.normal(0, 1.5, rng.integers(2, 6, axes)) for axes in (1, 2, 3, 4)]


def gelu_values(form, t):
    for x in points(t.rng):
        t.agree("gelu", x, form, what=f'gelu(x, "{form}")')


def gelu_gradients(form, t):
    for x in points(t.rng):
        t.agree("gelu_backward", x, form, t.rng.standard_normal(x.shape), what=f'gelu_backward(x, "{form}", g)')


q1_h_tanh = partial(gelu_values, "tanh")
q1_h_erf = partial(gelu_values, "erf")
q1_h_tanh_backward = partial(gelu_gradients, "tanh")
q1_h_erf_backward = partial(gelu_gradients, "erf")


def q1_h_far(t):
    far = np.concatenate([t.rng.uniform(-40, 40, 20), [-40.0, 40.0, 0.0]])
    tail = -t.rng.uniform(3, 5, 10)
    for form in ("tanh", "erf"):
        for x in (far, tail):
            t.agree("gelu", x, form, what=f'gelu(x, "{form}") for x from {x.min():.0f} to {x.max():.0f}')
            g = t.rng.standard_normal(x.shape)
            t.agree("gelu_backward", x, form, g, what=f'gelu_backward(x, "{form}", g) for x from {x.min():.0f}')


# q2


def mlp_cases(rng):
    """(x, parameters, form): a hidden layer wider than D and one narrower, in both forms, all lengths different."""
    for form in ("tanh", "erf"):
        for hidden in ((8, 12), (1, 3)):
            batch, tokens, width, hidden = distinct(rng, (2, 3), (2, 6), (4, 7), hidden)
            yield rng.standard_normal((batch, tokens, width)), draw(rng, mlp_shapes(width, hidden)), form


def q2_h_forward(t):
    for x, params, form in mlp_cases(t.rng):
        t.agree("mlp", x, params, form)


def q2_h_backward(t):
    for x, params, form in mlp_cases(t.rng):
        t.agree("mlp_backward", x, params, form, t.rng.standard_normal(x.shape))


def q2_h_square(t):
    n = int(t.rng.integers(3, 6))
    for form in ("tanh", "erf"):
        x, g = t.rng.standard_normal((2, n, n, n))
        params = draw(t.rng, mlp_shapes(n, n))
        t.agree("mlp", x, params, form, what="mlp, all lengths equal")
        t.agree("mlp_backward", x, params, form, g, what="mlp_backward, all lengths equal")
        params = {**params, "hidden.weight": params["hidden.weight"] / 100}  # too steep for difference quotients
        t.agree("mlp_backward", 100 * x, params, form, g, what="mlp_backward for large x")


# q3


def block_cases(rng, eps):
    """(x, parameters, config) in both forms of GELU, all lengths different."""
    for gelu in ("tanh", "erf"):
        heads, width, batch, tokens, hidden = widths(rng, (2, 3), (2, 6), (5, 15))
        x = rng.standard_normal((batch, tokens, width))
        yield x, draw(rng, block_shapes(width, hidden)), settings(heads, width, hidden, gelu, eps)


def square_block(rng, gelu):
    x, eps = rng.standard_normal((4, 4, 4)), {"tanh": 1e-3, "erf": 1e-6}[gelu]  # another one at the next call
    return x, draw(rng, block_shapes(4, 4)), settings(int(rng.choice([2, 4])), 4, 4, gelu, eps)


def block_values(eps, t):
    for case in block_cases(t.rng, eps):
        t.agree("block", *case, what=f"block with norm_eps {eps}")


def block_gradients(eps, t):
    for case in block_cases(t.rng, eps):
        t.agree(
            "block_backward", *case, t.rng.standard_normal(case[0].shape), what=f"block_backward with norm_eps {eps}"
        )


def q3_h_square(t):
    for gelu in ("tanh", "erf"):
        t.agree("block", *square_block(t.rng, gelu), what="block, all lengths equal")


def q3_h_square_backward(t):
    for gelu in ("tanh", "erf"):
        case = square_block(t.rng, gelu)
        t.agree("block_backward", *case, t.rng.standard_normal((4, 4, 4)), what="block_backward, all lengths equal")
        small = case[0] / 100, *case[1:], t.rng.standard_normal((4, 4, 4))  # too steep for difference quotients
        t.agree("block_backward", *small, what="block_backward for small x")


q3_h_forward = partial(block_values, 1e-6)
q3_h_forward_eps = partial(block_values, 1e-2)
q3_h_backward = partial(block_gradients, 1e-6)
q3_h_backward_eps = partial(block_gradients, 1e-2)


# q4 and q5


def model(rng, batch, classifier, gelu, depth, eps, sides=(2, 4)):
    """(parameters, config, images, labels): grid and patches not square, all lengths different, two labels alike."""
    while True:
        rows, cols = distinct(rng, sides, sides)
        ph, pw, channels = distinct(rng, (1, 4), (1, 4), (1, 4))
        heads, width, hidden, classes = widths(rng, (5, 15), (4, 7))
        more = {"image_size": (rows * ph, cols * pw), "patch_size": (ph, pw), "channels": channels, "depth": depth}
        config = settings(heads, width, hidden, gelu, eps, num_classes=classes, classifier=classifier, **more)
        if len({batch, *lengths(config), width, hidden, classes}) == 6:
            return filled(rng, config, batch)


def filled(rng, config, batch):
    labels = rng.integers(0, config["num_classes"], batch)
    labels[-1] = labels[0]
    images = rng.standard_normal((batch, *config["image_size"], config["channels"]))
    return draw(rng, vit_shapes(config)), config, images, labels


def square_models(rng):
    """T = D = F = K = B: 4 with the mean, 5 with the class token. Nothing of one may be left when the next comes."""
    square = {"image_size": (4, 4), "patch_size": (2, 2), "channels": 1}
    for classifier, n, heads in (("token", 5, 1), ("gap", 4, 2), ("token", 5, 1)):
        more = {**square, "depth": 2, "num_classes": n, "classifier": classifier}
        yield filled(rng, settings(heads, n, n, "tanh", 1e-6, **more), n)


def kind(*choices):
    """Two models of a kind, one with 3 images, one with a single image."""
    return lambda rng: [model(rng, batch, *choices) for batch in (3, 1)]


def zero_heads(rng):
    """Models as they begin: no gradient gets below the head."""
    for params, *rest in kind("gap", "erf", 1, 1e-6)(rng):
        yield {**params, "head.weight": np.zeros_like(params["head.weight"])}, *rest


def logits(cases, words, t):
    for params, config, images, _ in cases(t.rng):
        t.agree("vit", params, config, images, rtol=1e-8, what=f"logits {words}")


def gradients(cases, words, t):
    """The loss, then the gradients, as the reference orders them: from the head down."""
    for case in cases(t.rng):
        got = t.call("vit_loss_and_gradients", *case)
        loss, grads = t.ref("vit_loss_and_gradients", *case)
        got = got if isinstance(got, (tuple, list)) and len(got) == 2 else (got, None)
        t.close(got[0], loss, 1e-8, what=f"loss {words}")
        t.close(got[1], grads, 1e-7, 1e-10, what=f"gradients {words}: ")


TOKEN = kind("token", "tanh", 2, 1e-6), "with the class token"
GAP = kind("gap", "erf", 2, 1e-6), 'with "gap" and "erf"'
THREE = kind("token", "erf", 3, 1e-3), "with 3 blocks and norm_eps 0.001"
TWELVE = kind("token", "tanh", 12, 1e-6, (1, 3)), "with 12 blocks"
SQUARE = square_models, "with many equal lengths"

q4_h_token, q5_h_token = partial(logits, *TOKEN), partial(gradients, *TOKEN)
q4_h_gap, q5_h_gap = partial(logits, *GAP), partial(gradients, *GAP)
q4_h_three_blocks, q5_h_three_blocks = partial(logits, *THREE), partial(gradients, *THREE)
q4_h_twelve_blocks, q5_h_twelve_blocks = partial(logits, *TWELVE), partial(gradients, *TWELVE)
q4_h_square, q5_h_square = partial(logits, *SQUARE), partial(gradients, *SQUARE)
q5_h_zero_head = partial(gradients, zero_heads, "with head.weight all 0")


# q6

LARGE = {"patch_size": (6, 8), "channels": 3, "width": 64, "depth": 6, "heads": 4}
KERNELS = ("attention.qkv.weight", "attention.out.weight", "mlp.hidden.weight", "mlp.out.weight")


def large(rng):
    rows, cols, hidden = distinct(rng, (5, 9), (5, 9), (240, 280))
    return {**settings(4, 64, hidden, "tanh", 1e-6), **LARGE, "image_size": (6 * rows, 8 * cols)}


def initial(t, config, seed):
    """The student's parameters; where one is not as it should be, a Wrong, or nan while mistakes are recorded."""
    got, params = t.call("init_params", config, seed), {}
    for name, shape in vit_shapes(config).items():
        value = got.get(name) if isinstance(got, dict) else None
        fits = isinstance(value, np.ndarray) and value.shape == shape and value.dtype.kind in "iuf"
        holds(t, fits, f"{name} should be an array of shape {shape}")
        params[name] = value.astype(float) if fits else np.full(shape, np.nan)
    return params


def spread(t, values, std, name, most=0.1):
    """The standard deviation around 0 should be within 10 % of what was asked."""
    ratio = float(np.sqrt(np.mean(values**2))) / std
    bucket = round(ratio, 1) if ratio < 3 else round(math.log10(ratio)) * 1000.0
    holds(t, abs(ratio - 1) < most, f"the std of {name} is {ratio:.2f} times what it should be", bucket)


def widest(t, values, low, high, name):
    """The largest entry should be between two bounds, and few should reach it."""
    most = float(np.abs(values).max())
    bucket = 0.0 if most < low else 1.0 if most <= high else 2.0
    holds(t, bucket == 1.0, f"the largest entry of {name} is {most:.3g}: not the distribution that is asked", bucket)
    holds(t, (np.abs(values) > most * (1 - 1e-9)).mean() < 1e-3, f"{name} piles up at its largest value")


def kernels(params, config):
    """Every kernel (fan_in, fan_out) of the blocks by name, queries, keys and values apart."""
    for name in (f"blocks.{i}.{kernel}" for i in range(config["depth"]) for kernel in KERNELS):
        parts = np.split(params[name], 3, axis=1) if "qkv" in name else [params[name]]
        yield from ((f"{name}{', ' + 'qkv'[j] if len(parts) > 1 else ''}", part) for j, part in enumerate(parts))


def q6_h_constants(t):
    for classifier in ("token", "gap"):
        config = {**large(t.rng), "classifier": classifier}
        params = initial(t, config, int(t.rng.integers(1000)))
        for name, value in params.items():
            if (name.endswith(("scale", "bias")) and "mlp" not in name) or name in ("class_token", "head.weight"):
                t.close(value, np.full(value.shape, float(name.endswith("scale"))), 0.0, what=name)


def q6_h_patch(t):
    config, std = large(t.rng), 1 / 12
    for seed in t.rng.integers(1000, size=3):
        values = initial(t, config, int(seed))["patch_embed.projection.weight"]
        spread(t, values, std, "the patch projection", 0.06)
        widest(t, values, 2.2 * std, 2.2737 * std, "the patch projection")


def q6_h_positions(t):
    values = initial(t, large(t.rng), int(t.rng.integers(1000)))["position_embedding"]
    spread(t, values, 0.02, "position_embedding")
    widest(t, values, 0.05, 0.15, "position_embedding")


def q6_h_kernels(t):
    config = large(t.rng)
    for name, values in kernels(initial(t, config, int(t.rng.integers(1000))), config):
        limit = math.sqrt(6 / sum(values.shape))
        spread(t, values, limit / math.sqrt(3), name)
        widest(t, values, 0.98 * limit, limit * (1 + 1e-9), name)


def q6_h_mlp_biases(t):
    params = initial(t, large(t.rng), int(t.rng.integers(1000)))
    for name, most in (("hidden", 0.12), ("out", 0.25)):
        values = np.concatenate([params[f"blocks.{i}.mlp.{name}.bias"] for i in range(6)])
        spread(t, values, 1e-6, f"mlp.{name}.bias of all blocks", most)


def likeness(rows, names):
    """The largest correlation of two rows of other names, in units of its spread, and their names."""
    n = min(row.size for row in rows)
    cut = np.stack([row[:n] for row in rows])
    cut = cut / np.sqrt((cut**2).sum(axis=1, keepdims=True) + 1e-300)
    score = np.abs(cut @ cut.T) * math.sqrt(n) * (np.array(names)[:, None] != np.array(names))
    i, j = np.unravel_index(np.nanargmax(score) if np.isfinite(score).any() else 0, score.shape)
    return float(score[i, j]), f"{names[min(i, j)]} and {names[max(i, j)]}"


def q6_h_independent(t):
    config = large(t.rng)
    params = initial(t, config, int(t.rng.integers(1000)))
    drawn = dict(kernels(params, config))
    drawn["position_embedding"] = params["position_embedding"][0]
    drawn["patch_embed.projection.weight"] = params["patch_embed.projection.weight"]
    ways = [(name, way.ravel()) for name, value in drawn.items() for way in (value, value.T)]
    biases = [(name, value) for name, value in params.items() if name.endswith("mlp.hidden.bias")]
    found = [likeness([row for _, row in group], [name for name, _ in group]) for group in (ways, ways + biases)]
    for name, value in drawn.items():
        rows = [value[1:].ravel(), value[:-1].ravel(), value.T[1:].ravel(), value.T[:-1].ravel()]
        found += [likeness(rows[i : i + 2], [name, f"its neighbour in {name}"]) for i in (0, 2)]
    for score, names in found:
        holds(t, score < 7, f"not independent: {names}", names if score >= 7 else "")


def q6_h_seeds(t):
    config, seed = large(t.rng), int(t.rng.integers(1000))
    found = []
    for start in (seed, 0):
        first, *others, again = (initial(t, config, s) for s in (start, start + 1, start + 5040, start))
        found.append(all((first[name] == again[name]).all() for name in first))
        holds(t, found[-1], f"seed {start} should give the same parameters each time", *found)
        for more, other in zip((1, 5040), others):
            names = [name for name in first if np.ptp(first[name]) > 0 and (first[name] == other[name]).all()]
            holds(t, not names, f"seeds {start} and {start + more} give the same {', '.join(names)[:60]}", *names)


# q7


def count_cases(rng, classifier):
    """No image, no patch and no grid is square; the hidden layer's width is odd and no multiple of D."""
    for _ in range(4):
        rows, cols = distinct(rng, (2, 9), (2, 9))
        ph, pw, channels = distinct(rng, (2, 9), (2, 9), (1, 5))
        heads, width, depth, classes = widths(rng, (2, 13), (2, 99))
        more = {"image_size": (rows * ph, cols * pw), "patch_size": (ph, pw), "channels": channels, "depth": depth}
        hidden = 2 * int(rng.integers(10, 60)) + 1
        hidden += 2 * (hidden % width == 0)
        yield settings(heads, width, hidden, "erf", 1e-6, num_classes=classes, classifier=classifier, **more)


def large_count(rng, classifier):
    """A model whose multiply-adds do not fit into 32 bits."""
    (rows, cols), hidden = distinct(rng, (13, 18), (13, 18)), 2 * int(rng.integers(1500, 1600)) + 1
    more = {"image_size": (16 * rows, 14 * cols), "patch_size": (16, 14), "channels": 3, "depth": 12}
    return settings(12, 12 * int(rng.integers(60, 70)), hidden, "erf", 1e-6, classifier=classifier, **more)


def counted(name, classifier, t):
    cases = list(count_cases(t.rng, classifier))
    for config in cases if name == "count_parameters" else [*cases, large_count(t.rng, classifier)]:
        t.agree(name, config, rtol=0.0, what=f'{name} with "{classifier}"')


q7_h_parameters = partial(counted, "count_parameters", "token")
q7_h_parameters_gap = partial(counted, "count_parameters", "gap")
q7_h_multiply_adds = partial(counted, "count_multiply_adds", "token")
q7_h_multiply_adds_gap = partial(counted, "count_multiply_adds", "gap")


# q8


def dropped(t, name, shape, rate):
    """Which elements became 0: the right share. All others must have been multiplied by 1 / (1 - rate)."""
    x = t.rng.choice([-1, 1], shape) * t.rng.uniform(0.5, 2, shape)
    y = t.call(name, x, rate, int(t.rng.integers(1000)), True)
    fits = isinstance(y, np.ndarray) and y.shape == shape and y.dtype.kind in "biuf"
    holds(t, fits, f"{name} of an array of shape {shape} should have this shape", *np.shape(y))
    factor = np.round(y / x, 9) + 0.0 if fits else np.full(shape, np.nan)
    counted = factor[(slice(None), *[0] * (len(shape) - 1))] if name == "drop_path" else factor
    values, share = np.unique(factor)[:4], float((counted == 0).mean())
    right = np.isclose(factor, 0, atol=1e-9) | np.isclose(factor, 1 / (1 - rate), rtol=1e-8)
    seen = values, round(share, 1)
    holds(t, right.all(), f"{name} at rate {rate} multiplies elements by {values.tolist()}", *seen)
    sigma = math.sqrt(rate * (1 - rate) / counted.size)
    holds(t, abs(share - rate) < 5 * sigma, f"{name} at rate {rate} drops {100 * share:.0f} %", *seen)
    return factor == 0


def whole(t, zero):
    """Samples must be dropped as a whole."""
    along = [bool((np.diff(zero.astype(int), axis=axis) == 0).all()) for axis in range(1, zero.ndim)]
    holds(t, all(along), "drop_path should drop a sample as a whole, or nothing of it", *along)


def q8_h_dropout(t):
    for rate in (0.1, 0.3, 0.75):
        dropped(t, "dropout", (400, 5, 3), rate)


def q8_h_dropout_elements(t):
    zero = dropped(t, "dropout", (400, 5, 3), 0.3)
    alike = [float((np.diff(zero.astype(int), axis=axis) == 0).mean()) for axis in range(3)]
    near = [abs(share - 0.58) < 0.05 for share in alike]
    holds(t, all(near), "dropout should draw for each element apart", *near)


def q8_h_drop_path(t):
    for rate in (0.1, 0.3, 0.75):
        whole(t, dropped(t, "drop_path", (400, 5, 3), rate))


def q8_h_drop_path_axes(t):
    for shape in ((300,), (300, 4), (300, 2, 3, 2)):
        whole(t, dropped(t, "drop_path", shape, 0.3))


def q8_h_evaluation(t):
    for name in ("dropout", "drop_path"):
        for shape, rate, training in (((30, 4), 0.3, False), ((30,), 0.75, False), ((30, 2, 3), 0.0, True)):
            x = t.rng.standard_normal(shape)
            y = t.call(name, x, rate, int(t.rng.integers(1000)), training)
            t.close(y, x, 0.0, what=f"{name} at rate {rate}, training {training}")


def q8_h_seeds(t):
    x, seed = t.rng.uniform(0.5, 2, (200, 3)), int(t.rng.integers(1, 1000))
    for name in ("dropout", "drop_path"):
        for start in (seed, 0):
            seeds = (start, start, start + 1, start + 5040)
            first, *rest = (t.call(name, x, 0.5, s, True) for s in seeds)
            same, *alike = (np.shape(first) == np.shape(y) and bool(np.all(first == y)) for y in rest)
            holds(t, same, f"{name} with seed {start} should drop the same elements each time")
            mixed = bool(0.1 < np.mean(first == 0) < 0.9)  # tells this mistake from dropping all or nothing
            for other, held in zip(seeds[2:], alike):
                holds(t, not held, f"{name} with seeds {start} and {other} drops the same", mixed)
