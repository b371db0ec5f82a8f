"""SAM: held to recorded outputs of published code, and to a slow second implementation."""

import json
import math
import re
from pathlib import Path

import dense_by_hand as by_hand
import numpy as np
import pytest
from recordings import write_case, wrong_arrays
from windows_by_hand import block, conv, enlarged

from minivit import functional as F
from minivit.data import Augment
from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import sam, verify
from minivit.lineage.recorded import sam as recorded
from minivit.lineage.sam import SAM, SAMConfig, errors, overlaps
from minivit.lineage.sam_decoder import PromptEncoder, TwoWayBlock, prompts
from minivit.lineage.sam_encoder import VARIANTS, ImageEncoder, SAMEncoderConfig
from minivit.models import ViT, ViTConfig, families
from minivit.models.archive import write_safetensors
from minivit.tensor import Tensor, grad

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "sam"
PARAMETERS = {"sam-b": 89_670_912, "sam-l": 308_278_272, "sam-h": 637_026_048}  # of the image encoder
PROMPTS, DECODER = 6_476, 4_058_340  # with the 256 numbers of the fixed matrix


def test_the_recording_of_the_published_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 23


def test_the_last_attention_may_be_wider():
    """Each head padded with zeros, and queries larger, since their products are divided by the root of more numbers."""
    case = verify.open_case(CASE)
    name, heads = "mask_decoder.transformer.final_attn_token_to_image", 2

    def padded(x):
        parts = x.reshape(heads, -1, *x.shape[1:])
        return np.concatenate([parts, np.zeros_like(parts)], axis=1).reshape(-1, *x.shape[1:])

    for letter in "qkv":
        for kind in ("weight", "bias"):
            x = case.weights[f"{name}.{letter}_proj.{kind}"]
            case.weights[f"{name}.{letter}_proj.{kind}"] = padded(x) * (math.sqrt(2) if letter == "q" else 1)
    case.weights[f"{name}.out_proj.weight"] = padded(case.weights[f"{name}.out_proj.weight"].T).T
    wrong = set(wrong_arrays(case))
    assert wrong
    assert all("grad" in name for name in wrong)


real_places, real_prompts, real_block, real_errors, real_grid = (
    PromptEncoder.places,
    prompts,
    TwoWayBlock.forward,
    errors,
    PromptEncoder.grid,
)


def x_for_y(self, points, kinds, image_size):
    return real_places(self, points[..., ::-1], kinds, image_size)


def without_a_half(self, points, kinds, image_size):
    return real_places(self, points - 0.5, kinds, image_size)


def not_a_point_added(self, points, kinds, image_size):
    code = real_places(self, points, kinds * 0, image_size) - self.kinds[:1]
    return real_places(self, points, kinds, image_size) + code * Tensor((kinds == -1)[..., None].astype(float))


def rows_for_columns(self, rows, columns):
    code = real_grid(self, rows, columns)
    return code.reshape(rows, columns, -1).transpose(1, 0, 2).reshape(1, rows * columns, -1)


def without_a_padding_point(points, labels, boxes):
    places, kinds = real_prompts(points, labels, boxes)
    return (places[:, :, :-1], kinds[:, :, :-1]) if boxes is None else (places, kinds)


def all_blocks_alike(self, tokens, image, at, grid):
    self.first = False
    return real_block(self, tokens, image, at, grid)


def values_with_positions(self, tokens, image, at, grid):
    tokens = self.norm1(self.own(tokens, tokens, tokens) if self.first else tokens + self.own(*[tokens + at] * 3))
    tokens = self.norm2(tokens + self.to_image(tokens + at, image + grid, image + grid))
    tokens = self.norm3(tokens + self.shown(F.relu(self.hidden(tokens))))
    return tokens, self.norm4(image + self.to_tokens(image + grid, tokens + at, tokens + at))


def positions_once(self, tokens, image, at, grid):
    return real_block(self, tokens, image, at * 0 if not self.first else at, grid)


def the_mean_of_all_masks(self, outputs, batch):
    masks, scores = outputs
    focal, dice = errors(masks, batch["target"])
    apart = scores - Tensor(overlaps(masks.data, batch["target"]))
    return (focal * 20 + dice + apart * apart).mean()


def other_balance(masks, target):
    """alpha for the background: the same errors of the opposite answer have it."""
    return real_errors(-masks, ~target)[0], real_errors(masks, target)[1]


def without_smoothing(masks, target):
    p, true = F.sigmoid(masks), target[:, :, None].astype(float)
    both, sides = (p * Tensor(true)).sum(axis=(3, 4)), p.sum(axis=(3, 4)) + Tensor(true.sum(axis=(3, 4)))
    return real_errors(masks, target)[0], 1 - both * 2 / sides


def of_probabilities(masks, target):
    """Without the threshold."""
    p, true = F.sigmoid(Tensor(masks)).data, target[:, :, None]
    return (p * true).sum(axis=(3, 4)) / np.maximum(p, true).sum(axis=(3, 4))


WRONG = [
    (PromptEncoder, "places", x_for_y, "points/prompt/sparse"),
    (PromptEncoder, "places", without_a_half, "points/prompt/sparse"),
    (PromptEncoder, "places", not_a_point_added, "points/prompt/sparse"),
    (PromptEncoder, "grid", rows_for_columns, "image_positional_encoding"),
    (recorded, "prompts", without_a_padding_point, "points/prompt/sparse"),
    (TwoWayBlock, "forward", all_blocks_alike, "points/decoder/tokens"),
    (TwoWayBlock, "forward", values_with_positions, "points/decoder/tokens"),
    (TwoWayBlock, "forward", positions_once, "points/decoder/tokens"),
    (SAM, "loss", the_mean_of_all_masks, "train/loss"),
    (recorded, "errors", other_balance, "train/focal"),
    (recorded, "errors", without_smoothing, "train/dice"),
    (recorded, "overlaps", of_probabilities, "train/iou_true"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


def test_the_epsilon_of_transformers_is_another():
    case = verify.open_case(CASE)
    apart = abs(case.arrays["official_eps/boxes_mask_image0_iou"] - case.arrays["boxes_mask/iou"][0]).max()
    assert 1e-8 < apart < 1e-3


@pytest.mark.parametrize("name", PARAMETERS)
def test_numbers_of_parameters(name):
    """Of few blocks: those with windows are alike, and so are those without."""

    def count(depth, whole):
        return ImageEncoder(SAMEncoderConfig(**{**VARIANTS[name], "depth": depth, "global_blocks": whole}), None)

    first = count(1, ())
    one, depth = first.num_parameters(), VARIANTS[name]["depth"]
    local, tables = count(2, ()).num_parameters() - one, count(1, (0,)).num_parameters() - one
    assert one + (depth - 1) * local + len(VARIANTS[name]["global_blocks"]) * tables == PARAMETERS[name]
    assert families.named_fields(name) == {"name": "sam", **VARIANTS[name]}
    objective = SAM(SAMConfig(), first, None)
    assert objective.prompt.num_parameters() + objective.prompt.gaussian.size == PROMPTS
    assert objective.decoder.num_parameters() == DECODER


SHAPE = {
    "image_size": 16, "patch_size": 4, "width": 8, "depth": 2, "heads": 2, "mlp_width": 6, "window": 3,
    "global_blocks": (1,), "filters": 16,
}  # fmt: skip
DECODING = {"depth": 2, "heads": 2, "mlp_width": 6, "narrowing": 2, "iou_width": 5, "iou_depth": 3, "mask_channels": 8}


def small(seed=0, dtype="float64", decoding=None, **fields):
    encoder = ImageEncoder(SAMEncoderConfig(**{**SHAPE, **fields}), seed, dtype)
    return SAM(SAMConfig(**{**DECODING, **(decoding or {})}), encoder, seed, dtype)


def drawn(objective, rng):
    """Weights by the names of transformers."""
    weights = {}
    for name, x in recorded.views(objective).items():
        gain = name.endswith("weight") and x.ndim == 1
        weights[name] = rng.normal(1 if gain else 0, 0.4, x.shape)
    return weights


def perceptron(x, weights, name):
    layers = sum(1 for key in weights if re.match(rf"{re.escape(name)}\.layers\.\d+\.bias", key))
    for layer in ("proj_in", *(f"layers.{i}" for i in range(layers))):
        x = np.maximum(by_hand.linear(x, weights, f"{name}.{layer}"), 0)
    return by_hand.linear(x, weights, f"{name}.proj_out")


def code(x, y, width, height, weights):
    turns = np.array([2 * x / width - 1, 2 * y / height - 1]) @ weights["shared_image_embedding.positional_embedding"]
    return np.concatenate([np.sin(2 * np.pi * turns), np.cos(2 * np.pi * turns)])


def asks(q, k, v, weights, name, heads):
    q, k, v = (by_hand.linear(x, weights, f"{name}.{n}_proj") for x, n in ((q, "q"), (k, "k"), (v, "v")))
    return by_hand.linear(by_hand.attention(q, k, v, heads), weights, f"{name}.out_proj")


def slow_encoder(weights, image, config):
    kernel = weights["vision_encoder.patch_embed.projection.weight"]
    x = conv(image, kernel, kernel.shape[-1], bias=weights["vision_encoder.patch_embed.projection.bias"])
    x = x + weights.get("vision_encoder.pos_embed", np.zeros((1, 1, 1, 1)))[0]
    depth = 1 + max(int(m[1]) for name in weights if (m := re.match(r"vision_encoder\.layers\.(\d+)", name)))
    for b in range(depth):
        window = 0 if b in config["global_attn_indexes"] else config["window_size"]
        words, heads = ("layer_norm", "attn", "mlp.lin"), config["num_attention_heads"]
        x = block(x, weights, f"vision_encoder.layers.{b}", words, heads, window)
    for i, border in ((1, 0), (2, 1)):
        x = conv(x, weights[f"vision_encoder.neck.conv{i}.weight"], border=border)
        x = by_hand.norm(x, weights, f"vision_encoder.neck.layer_norm{i}", 1e-6)
    return x


def slow_prior(weights, mask):
    """(4R, 4C) -> (R, C, E)."""
    x, name = mask[:, :, None], "prompt_encoder.mask_embed"
    for i in (1, 2):
        x = conv(x, weights[f"{name}.conv{i}.weight"], 2, bias=weights[f"{name}.conv{i}.bias"])
        x = by_hand.gelu(by_hand.norm(x, weights, f"{name}.layer_norm{i}", 1e-6))
    return conv(x, weights[f"{name}.conv3.weight"], bias=weights[f"{name}.conv3.bias"])


def slow_prompt(weights, points, labels, box, size):
    """One prompt: points (n, 2), labels (n,), a box (4,) or None -> (T, E)."""
    height, width = size
    kinds = [weights[f"prompt_encoder.point_embed.{i}.weight"][0] for i in range(4)]
    none = weights["prompt_encoder.not_a_point_embed.weight"][0]
    tokens = []
    for (x, y), label in zip(points, labels, strict=True):
        own = code(x + 0.5, y + 0.5, width, height, weights)
        tokens.append(none if label == -1 else 0 * none if label == -10 else own + kinds[label])
    if box is None:
        tokens.append(none)
    else:
        for i in (0, 1):
            tokens.append(code(box[2 * i] + 0.5, box[2 * i + 1] + 0.5, width, height, weights) + kinds[2 + i])
    return np.array(tokens)


def slow_decoder(weights, image, tokens, config):
    """(R, C, E), (T, E) -> all masks (1 + M, 4R, 4C), scores (1 + M,)."""
    rows, columns, width = image.shape
    heads, eps = config["num_attention_heads"], config["layer_norm_eps"]
    grid = np.array([code(j + 0.5, i + 0.5, columns, rows, weights) for i, j in np.ndindex(rows, columns)])
    own = [weights[f"mask_decoder.{name}.weight"] for name in ("iou_token", "mask_tokens")]
    at = x = np.concatenate([*own, tokens])
    y = image.reshape(-1, width)
    depth = len({m[1] for n in weights if (m := re.match(r"mask_decoder\.transformer\.layers\.(\d+)\.", n))})
    for b in range(depth):
        name = f"mask_decoder.transformer.layers.{b}"
        if b:
            x = x + asks(x + at, x + at, x, weights, f"{name}.self_attn", heads)
        else:
            x = asks(x, x, x, weights, f"{name}.self_attn", heads)
        x = by_hand.norm(x, weights, f"{name}.layer_norm1", eps)
        x = x + asks(x + at, y + grid, y, weights, f"{name}.cross_attn_token_to_image", heads)
        x = by_hand.norm(x, weights, f"{name}.layer_norm2", eps)
        hidden = np.maximum(by_hand.linear(x, weights, f"{name}.mlp.lin1"), 0)
        x = by_hand.norm(x + by_hand.linear(hidden, weights, f"{name}.mlp.lin2"), weights, f"{name}.layer_norm3", eps)
        y = y + asks(y + grid, x + at, x, weights, f"{name}.cross_attn_image_to_token", heads)
        y = by_hand.norm(y, weights, f"{name}.layer_norm4", eps)
    name = "mask_decoder.transformer"
    x = x + asks(x + at, y + grid, y, weights, f"{name}.final_attn_token_to_image", heads)
    x = by_hand.norm(x, weights, f"{name}.layer_norm_final_attn")
    z = enlarged(y.reshape(rows, columns, width), weights, "mask_decoder.upscale_conv1")
    z = by_hand.gelu(by_hand.norm(z, weights, "mask_decoder.upscale_layer_norm", 1e-6))
    z = by_hand.gelu(enlarged(z, weights, "mask_decoder.upscale_conv2"))
    count = len(weights["mask_decoder.mask_tokens.weight"])
    kernels = [perceptron(x[1 + i], weights, f"mask_decoder.output_hypernetworks_mlps.{i}") for i in range(count)]
    scores = perceptron(x[0], weights, "mask_decoder.iou_prediction_head")
    return np.array([z @ kernel for kernel in kernels]), scores


OTHERS = {
    "points": ("points", {}, {}),
    "oblong, one mask for boxes": ("boxes_single", {"image_size": (12, 20), "window": 2}, {"heads": 1}),
    "masks, two answers": ("points_mask", {"relative": False, "qkv_bias": False}, {"masks": 2, "iou_depth": 4}),
    "three blocks, no positions": (
        "points_boxes_mask",
        {"absolute": False, "channels": 1},
        {"depth": 3, "narrowing": 1},
    ),
}


@pytest.mark.parametrize(("group", "fields", "decoding"), OTHERS.values(), ids=OTHERS)
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, group, fields, decoding):
    objective, rng, eps = small(decoding=decoding, **fields), np.random.default_rng(1), 1e-4
    shape, weights = objective.encoder.config, drawn(objective, rng)
    (height, width), (rows, columns) = shape.image_size, shape.grid
    vision = {
        "num_attention_heads": 2, "window_size": shape.window, "global_attn_indexes": [1],
        "image_size": list(shape.image_size),
    }  # fmt: skip
    decoder = {"num_attention_heads": objective.config.heads, "layer_norm_eps": eps}
    given = {
        "image": rng.normal(size=(2, shape.channels, height, width)),
        "points": rng.integers(0, 12, (2, 2, 3, 2)).astype(float),
        "point_labels": np.array([[[1, 0, -1], [1, -10, 1]], [[0, 0, 1], [-1, 1, -10]]]),
        "boxes": rng.uniform(0, 12, (2, 2, 4)),
        "mask_input": rng.normal(size=(2, 1, 4 * rows, 4 * columns)),
    }
    words = group.split("_")
    own = slice(0, 1) if "single" in words else slice(1, None)

    def answers(weights):
        masks, scores = [], []
        for b, image in enumerate(given["image"]):
            encoded = slow_encoder(weights, np.moveaxis(image, 0, -1), vision)
            none = weights["prompt_encoder.no_mask_embed.weight"][0]
            encoded = encoded + (slow_prior(weights, given["mask_input"][b, 0]) if "mask" in words else none)
            for p in range(2):
                box = given["boxes"][b, p] if "boxes" in words else None
                points = (given["points"][b, p], given["point_labels"][b, p]) if "points" in words else ((), ())
                tokens = slow_prompt(weights, *points, box, (height, width))
                mask, score = slow_decoder(weights, encoded, tokens, decoder)
                masks.append(mask[own])
                scores.append(score[own])
        return [np.array(x).reshape(2, 2, *np.array(x).shape[1:]) for x in (masks, scores)]

    masks, scores = answers(weights)
    cotangents = [rng.normal(size=x.shape) for x in (masks, scores)]

    def loss(weights):
        return sum((x * g).sum() for x, g in zip(answers(weights), cotangents, strict=True))

    along, slope = by_hand.slope(loss, weights, rng, 1e-7)  # norms of two channels bend
    found = {"masks": masks, "iou": scores, "cotangent_masks": cotangents[0], "cotangent_iou": cotangents[1]}
    found = {f"{group}/{name}": x for name, x in (found | {"loss": np.asarray(loss(weights))}).items()}
    config = {"vision_config": vision, "mask_decoder_config": decoder}
    case = write_case(tmp_path, "sam", config, weights, found | given)
    case.given.update(given)  # not every case has every prompt
    assert wrong_arrays(case) == []
    computed = recorded.recompute(case)
    total = sum((computed[f"{group}/grad/{name}"] * x).sum() for name, x in along.items())
    assert total == pytest.approx(slope, rel=1e-5)


def in_official_names(weights):
    found = {}
    for name, x in weights.items():
        for ours, theirs in (
            (r"^vision_encoder\.", "image_encoder."),
            (r"image_encoder\.layers\.(\d+)\.layer_norm", r"image_encoder.blocks.\1.norm"),
            (r"image_encoder\.layers", "image_encoder.blocks"), ("patch_embed.projection", "patch_embed.proj"),
            (r"neck\.conv1", "neck.0"), (r"neck\.layer_norm1", "neck.1"), (r"neck\.conv2", "neck.2"),
            (r"neck\.layer_norm2", "neck.3"),
            (r"^shared_image_embedding\..*", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
            (r"(?<=encoder\.)point_embed\.", "point_embeddings."), (r"mask_embed\.conv1", "mask_downscaling.0"),
            (r"mask_embed\.layer_norm1", "mask_downscaling.1"), (r"mask_embed\.conv2", "mask_downscaling.3"),
            (r"mask_embed\.layer_norm2", "mask_downscaling.4"), (r"mask_embed\.conv3", "mask_downscaling.6"),
            (r"(transformer\.layers\.\d+)\.layer_norm", r"\1.norm"), ("layer_norm_final_attn", "norm_final_attn"),
            ("upscale_conv1", "output_upscaling.0"), ("upscale_layer_norm", "output_upscaling.1"),
            ("upscale_conv2", "output_upscaling.3"), (r"(mlps\.\d|prediction_head)\.layers\.0", r"\1.layers.1"),
            (r"proj_in", "layers.0"), (r"(mlps\.\d|prediction_head)\.proj_out", r"\1.layers.2"),
        ):  # fmt: skip
            name = re.sub(ours, theirs, name)
        found[name] = x
    return found


def in_hub_names(weights):
    again = weights["shared_image_embedding.positional_embedding"]
    return {**weights, "prompt_encoder.shared_embedding.positional_embedding": again}


@pytest.mark.parametrize("layout", [in_official_names, in_hub_names])
def test_published_layouts_load(tmp_path, layout):
    weights, path = drawn(small(), np.random.default_rng(0)), tmp_path / "model.safetensors"
    write_safetensors(path, layout(weights), {})
    stated = {
        "model_type": "sam", "mask_decoder_config": {"num_attention_heads": 2},
        "vision_config": {"num_attention_heads": 2, "window_size": 3, "global_attn_indexes": [1]},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(stated), encoding="utf-8")
    objective = recorded.open_pretrained(path, "float64", norm_eps=1e-6)
    for name, x in recorded.views(objective).items():
        assert np.array_equal(x, weights[name]), name
    assert (objective.config.norm_eps, objective.encoder.config.image_size) == (1e-6, (16, 16))
    missing = {name: x for name, x in layout(weights).items() if not name.endswith("mlp.lin1.bias")}
    write_safetensors(path, missing, {})
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        recorded.open_pretrained(path)


def test_official_names_are_those_of_the_official_code():
    names = in_official_names(drawn(small(), np.random.default_rng(0)))
    for name in (
        "image_encoder.blocks.1.attn.rel_pos_h", "image_encoder.neck.3.bias", "image_encoder.blocks.0.mlp.lin2.weight",
        "prompt_encoder.mask_downscaling.6.weight", "mask_decoder.transformer.layers.1.norm4.weight",
        "mask_decoder.transformer.final_attn_token_to_image.out_proj.bias", "mask_decoder.output_upscaling.3.bias",
        "mask_decoder.output_hypernetworks_mlps.3.layers.2.bias", "mask_decoder.iou_prediction_head.layers.1.weight",
    ):  # fmt: skip
        assert name in names


def test_a_box_is_two_places_and_points_alone_get_one_more():
    points, labels, boxes = np.ones((1, 2, 1, 2)), np.ones((1, 2, 1), int), np.arange(8.0).reshape(1, 2, 4)
    places, kinds = prompts(points, labels, boxes)
    assert kinds.tolist() == [[[1, 2, 3]] * 2]
    assert places[0, 1].tolist() == [[1, 1], [4, 5], [6, 7]]
    assert prompts(points, labels, None)[1].tolist() == [[[1, -1]] * 2]
    assert prompts(None, None, boxes)[1].tolist() == [[[2, 3]] * 2]


def test_clicks_lie_in_their_shapes(monkeypatch):
    objective, data = sam.tiny("float64")
    columns = {**data.columns(range(16), objective.columns)}
    for whole in (False, True):
        objective = small(decoding={"prompts": 3, "whole": whole}, image_size=16)
        batch = objective.prepare(columns, Augment((16, 16), flip=True), np.random.default_rng(0))
        batch |= objective.draw(batch, 0, np.random.default_rng(0))
        shapes = columns["whole" if whole else "instances"]
        assert batch["shapes"].sum() == shapes.sum()
        assert not np.array_equal(batch["shapes"], shapes)  # some are mirrored
        x, y = np.moveaxis(batch["points"][:, :, 0].astype(int), -1, 0)
        assert batch["target"].shape == (16, 3, 16, 16)
        assert np.take_along_axis(batch["target"].reshape(48, -1), (y * 16 + x).reshape(48, 1), 1).all()
        assert batch["kinds"].tolist() == [[[1, -1]] * 3] * 16
        image, shape = batch["images"][0], batch["shapes"][0, 0]
        assert np.abs(image[shape].std(axis=0)).max() < image.reshape(-1, 3).std(axis=0).max()


def test_a_click_means_any_shape_under_it_and_further_clicks_say_which():
    """Shape 1 lies in shape 0, shape 2 beside them."""
    objective = small(decoding={"prompts": 400, "whole": True, "clicks": 3}, image_size=16)
    shapes = np.zeros((1, 3, 16, 16), bool)
    shapes[0, 0, :10, :10] = shapes[0, 1, 2:5, 2:5] = shapes[0, 2, 12:, 12:] = True
    found = objective.draw({"shapes": shapes}, 0, np.random.default_rng(0))
    target, kinds = found["target"][0], found["kinds"][0]
    x, y = np.moveaxis(found["points"][0].astype(int), -1, 0)
    here = np.stack([target[i, y[i], x[i]] for i in range(400)])  # (400, 4): whether each place is in its target
    assert here[:, 0].all()
    assert set(kinds[:, 0]) == {1}
    assert set(kinds[:, 3]) == {-1}
    inside = shapes[0, 1, y[:, 0], x[:, 0]]
    outer = (target & shapes[0, 0]).sum(axis=(1, 2)) == 100
    assert 0.4 < outer[inside].mean() < 0.6  # the inner shape is as likely as the outer one
    for i in (1, 2):
        given = kinds[:, i] >= 0
        assert (kinds[given, i] == here[given, i]).all()
        assert shapes[0].any(axis=0)[y[given, i], x[given, i]].all()  # in some shape
        assert 0.4 < kinds[given, i].mean() < 0.6
        assert abs(given.mean() - (3 - i) / 3) < 0.1
    alone = objective.draw({"shapes": shapes[:, :1]}, 0, np.random.default_rng(0))
    x, y = np.moveaxis(alone["points"][0].astype(int), -1, 0)
    background = alone["kinds"][0] == 0
    assert background.any()  # without another shape they lie on the ground
    assert not shapes[0, 0][y, x][background].any()


def test_targets_have_the_resolution_of_the_answers():
    objective = small(patch_size=8, image_size=32)
    shapes = np.zeros((1, 2, 32, 32), bool)
    shapes[:, 0, 4:12, 6:9] = True
    target = objective.draw({"shapes": shapes}, 0, np.random.default_rng(0))["target"]
    wanted = np.zeros((16, 16), bool)
    wanted[2:6, 3:5] = True  # half of the pixels of a cell are enough
    assert np.array_equal(target[0, 0], wanted)
    with pytest.raises(ConfigError, match="patch_size is 2, expected a multiple of 4"):
        small(patch_size=2).draw({"shapes": shapes}, 0, np.random.default_rng(0))


def test_controls_see_no_click_or_give_one_mask():
    blind, single = small(decoding={"blind": True}), small(decoding={"single": True})
    rng = np.random.default_rng(0)
    batch = {"images": rng.normal(size=(2, 16, 16, 3)), "shapes": rng.random((2, 2, 16, 16)) > 0.5}
    drawn = blind.draw(batch, 0, rng)
    assert set(drawn["kinds"].ravel()) == {-1}
    masks = blind({**batch, **drawn})[0].data
    assert np.array_equal(masks[:, 0], masks[:, 1])
    seen = {**batch, **single.draw(batch, 0, rng)}
    outputs = single(seen)
    assert [x.shape for x in outputs] == [(2, 2, 1, 16, 16), (2, 2, 1)]
    assert not np.array_equal(outputs[0].data[:, 0], outputs[0].data[:, 1])
    assert np.isfinite(single.loss(outputs, seen).data)


def test_only_the_best_mask_learns_its_shape():
    rng = np.random.default_rng(0)
    target = rng.random((1, 1, 4, 4)) > 0.5
    logits = np.stack([np.where(target[0, 0], good, -good) for good in (0.1, 2.0, -1.0)])[None, None]
    masks, scores = Tensor(logits, requires_grad=True), Tensor(np.zeros((1, 1, 3)), requires_grad=True)
    loss = small().loss((masks, scores), {"target": target})
    in_masks, in_scores = grad(loss, [masks, scores])
    assert [bool(in_masks[0, 0, i].any()) for i in range(3)] == [False, True, False]
    assert in_scores.tolist() == [[[0, -2, 0]]]  # the true overlap of the best is 1


def test_scores_of_all_masks_learn_if_asked():
    """Of two masks one is right, and one is wrong everywhere."""
    target = np.array([[[[True, False], [False, False]]]])
    logits = np.where(target[0, 0], 5.0, -5.0)
    masks, scores = Tensor(np.stack([logits, -logits])[None, None], requires_grad=True), np.full((1, 1, 2), 0.5)
    scores = Tensor(scores, requires_grad=True)
    loss = small(decoding={"scored": "all"}).loss((masks, scores), {"target": target})
    in_masks, in_scores = grad(loss, [masks, scores])
    assert np.allclose(in_scores, [[[-0.5, 0.5]]])  # 2 (0.5 - 1) / 2, 2 (0.5 - 0) / 2
    assert not in_masks[0, 0, 1].any()
    best = small().loss((masks, scores), {"target": target})
    assert loss.data - best.data == pytest.approx((0.25 + 0.25) / 2 - 0.25)


def test_codes_of_a_smaller_spread_are_more_alike():
    wide, narrow = (small(decoding={"spread": spread}).prompt for spread in (1.0, 0.25))
    assert np.allclose(narrow.gaussian.data, wide.gaussian.data / 4)


def test_overlaps_of_nothing_are_none():
    target = np.zeros((1, 2, 2, 2), bool)
    target[0, 1] = True
    masks = np.array([-np.ones((2, 2)), np.ones((2, 2))])
    assert overlaps(np.broadcast_to(masks, (1, 2, 2, 2, 2)), target).tolist() == [[[0, 0], [0, 1]]]
    objective, outputs = (
        small(),
        (Tensor(np.broadcast_to(masks, (1, 2, 2, 2, 2))), Tensor(np.array([[[0, 1], [1, 0.0]]]))),
    )
    assert {k: float(x) for k, x in objective.sums(outputs, {"target": target}).items()} == {"iou": 0.0, "oracle": 0.5}


def test_it_classifies_by_the_mean_of_its_map():
    network = ImageEncoder(SAMEncoderConfig(**{**VARIANTS["sam-mini"], "num_classes": 4}), 0)
    tap = {}
    assert network(np.zeros((2, 32, 32, 3)), tap).shape == (2, 4)
    assert tap["features"].shape == (2, 48)
    assert math.prod(network.config.grid) == network.config.num_tokens == 64


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SAMEncoderConfig(heads=5), "5 heads do not divide width 768"),
        (lambda: SAMEncoderConfig(image_size=100), "is not of whole patches of 16"),
        (lambda: SAMEncoderConfig(global_blocks=(12,)), "global_blocks is .12,., expected numbers from 0 to 11"),
        (lambda: SAMConfig(masks=0), "masks is 0, expected at least 1"),
        (lambda: SAMConfig(mask_channels=2), "mask_channels is 2, expected at least 4"),
        (lambda: SAMConfig(scored="some"), "scored"),
        (lambda: SAMConfig(spread=0), "spread is 0.*, expected a number above 0"),
        (lambda: small(filters=12), "filters is 12, expected a multiple of 8"),
        (lambda: small(decoding={"heads": 3}), "and of 3 heads"),
        (lambda: SAM(SAMConfig(), ViT(ViTConfig(), None), None), "SAM needs its encoder, such as --model sam-mini"),
        (lambda: recorded.build({}, drawn(small(), np.random.default_rng(0))), "does not say how many heads"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises((ConfigError, CheckpointError), match=message):
        make()
