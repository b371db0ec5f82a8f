"""DiT as published code has it: names and shapes of its arrays, and what was recorded of it."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import CheckpointError
from minivit.files import expanded
from minivit.lineage import diffusion
from minivit.lineage.dit import Denoising, DiT, DiTConfig
from minivit.lineage.modulated import time_features
from minivit.lineage.published import Arrays, beside, fill, renamed
from minivit.lineage.recorded import modules
from minivit.lineage.recorded.walks import flow_walks, schedules, walks
from minivit.lineage.verify import Case
from minivit.models import ViTConfig
from minivit.models.archive import read_arrays
from minivit.models.layouts import HEADS, Shapes
from minivit.tensor import Tensor

_OFFICIAL = (  # ours -> facebookresearch/DiT's
    (r"^embed\.", "x_embedder.proj."),
    (r"^positions$", "pos_embed"),
    (r"^conditions\.0\.time\.hidden", "t_embedder.mlp.0"),
    (r"^conditions\.0\.time\.out", "t_embedder.mlp.2"),
    (r"^conditions\.0\.classes\.table", "y_embedder.embedding_table.weight"),
    (r"^(blocks\.\d+\.)attention\.out", r"\1attn.proj"),
    (r"^(blocks\.\d+\.)attention", r"\1attn"),
    (r"mlp\.hidden", "mlp.fc1"),
    (r"mlp\.out", "mlp.fc2"),
    (r"^(blocks\.\d+\.)modulation\.linear", r"\1adaLN_modulation.1"),
    (r"^modulation\.linear", "final_layer.adaLN_modulation.1"),
    (r"^pixels", "final_layer.linear"),
)
_DIFFUSERS = (  # ours -> diffusers'
    (r"^embed\.", "pos_embed.proj."),
    (r"^positions$", "pos_embed.pos_embed"),
    (r"^conditions\.(\d+)\.time\.hidden", r"transformer_blocks.\1.norm1.emb.timestep_embedder.linear_1"),
    (r"^conditions\.(\d+)\.time\.out", r"transformer_blocks.\1.norm1.emb.timestep_embedder.linear_2"),
    (
        r"^conditions\.(\d+)\.classes\.table",
        r"transformer_blocks.\1.norm1.emb.class_embedder.embedding_table.weight",
    ),
    (r"^blocks\.(\d+)\.modulation\.linear", r"transformer_blocks.\1.norm1.linear"),
    (r"^blocks\.(\d+)\.attention\.out", r"transformer_blocks.\1.attn1.to_out.0"),
    (r"^blocks\.(\d+)\.attention", r"transformer_blocks.\1.attn1"),
    (r"^blocks\.(\d+)\.mlp\.hidden", r"transformer_blocks.\1.ff.net.0.proj"),
    (r"^blocks\.(\d+)\.mlp\.out", r"transformer_blocks.\1.ff.net.2"),
    (r"^modulation\.linear", "proj_out_1"),
    (r"^pixels", "proj_out_2"),
)
WORDS = (  # diffusers' names of inputs and outputs -> those of the recordings
    (r"^(forward/|)(grad_input/|)(hidden_states|latents)$", r"\1\2x"),
    (r"^(forward/|)timestep$", r"\1t"),
    (r"^(forward/|)class_labels$", r"\1y"),
    (r"^(forward/|)sample$", r"\1output"),
)
_MODULES = {  # what names of modules begin with, diffusers' and the official ones -> the common form
    r"transformer_blocks\.(\d+)\.norm1\.emb\.timestep_embedder\.linear_1$": r"conditions.\1.time.hidden",
    r"transformer_blocks\.(\d+)\.norm1\.emb\.timestep_embedder\.linear_2$": r"conditions.\1.time.out",
    r"transformer_blocks\.(\d+)\.norm1\.emb\.timestep_embedder$": r"conditions.\1.time",
    r"transformer_blocks\.(\d+)\.norm1\.emb\.class_embedder(\.embedding_table)?$": r"conditions.\1.classes",
    r"transformer_blocks\.(\d+)\.norm1\.emb$": r"conditions.\1",
    r"transformer_blocks\.(\d+)\.norm1\.linear$": r"blocks.\1.modulation.linear",
    r"(blocks\.\d+)\.adaLN_modulation(\.1)?$": r"\1.modulation.linear",
    r"final_layer\.adaLN_modulation(\.1)?$|proj_out_1$": "modulation.linear",
    r"final_layer(\.linear)?$|proj_out_2$": "head",
    r"pos_embed\.proj$|x_embedder(\.proj)?$": "patch_embed.proj",
    r"pos_embed$": "embedded",
    r"t_embedder\.mlp\.0$": "conditions.0.time.hidden",
    r"t_embedder(\.mlp(\.2)?)?$": "conditions.0.time",
    r"y_embedder(\.embedding_table)?$": "conditions.0.classes",
}
_WIDE = {1152: 16}  # heads of XL; the smaller ones are ViT's


def of_diffusers(names: Any) -> bool:
    """Whether these names of arrays are those of diffusers' port."""
    return "proj_out_1.weight" in names


def views(state: Arrays, config: ViTConfig, diffusers: bool = False) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, as views under published names and in published shapes."""
    found = {}
    for name, x in state.items():
        theirs = renamed(name, _DIFFUSERS if diffusers else _OFFICIAL)
        if name == "embed.weight":
            x = x.reshape(*config.patch_size, config.channels, config.width).transpose(3, 2, 0, 1)
        elif name.endswith(".weight"):
            x = x.T
        if diffusers and ".qkv." in theirs:
            for part, values in zip("qkv", np.split(x, 3), strict=True):
                found[theirs.replace("qkv", f"to_{part}")] = values
        else:
            found[theirs] = x
    return found


def told_by(arrays: Arrays, config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """What the shapes of the arrays tell of the network, and a configuration of either library: fields of ViTConfig
    and `outputs`, `null`, `diffusers`. Raises CheckpointError."""
    shapes, hub = Shapes(arrays, source, "DiT's"), of_diffusers(arrays)
    width, channels, *patch = shapes("pos_embed.proj.weight" if hub else "x_embedder.proj.weight", 4)
    block = "transformer_blocks.0" if hub else "blocks.0"
    rows = shapes(f"{block}.norm1.emb.class_embedder.embedding_table.weight" if hub else
                  "y_embedder.embedding_table.weight", 2)[0]  # fmt: skip
    classes = config.get("num_embeds_ada_norm" if hub else "num_classes", rows - 1)
    if rows - classes not in (0, 1):
        raise CheckpointError(f"{source}: a table of {rows} classes, expected {classes} and perhaps one for none")
    table = "pos_embed.pos_embed" if hub else "pos_embed"
    side = config.get("sample_size" if hub else "input_size")
    if side is None:
        side = math.isqrt(shapes(table, 3)[1]) * patch[0] if table in arrays else 32
    heads = config.get("num_attention_heads" if hub else "num_heads")
    heads = heads or (width // config["attention_head_dim"] if config.get("attention_head_dim") else 0)
    heads = heads or _WIDE.get(width) or HEADS.get(width, max(1, width // 64))
    pixels = shapes("proj_out_2.weight" if hub else "final_layer.linear.weight", 2)[0]
    return {
        "image_size": tuple(side) if isinstance(side, list) else side,
        "patch_size": tuple(patch),
        "width": width,
        "depth": shapes.depth(rf"{block[:-2]}\.(\d+)\."),
        "heads": heads,
        "mlp_width": shapes(f"{block}.ff.net.0.proj.weight" if hub else f"{block}.mlp.fc1.weight", 2)[0],
        "channels": channels,
        "num_classes": classes,
        "outputs": pixels // (patch[0] * patch[1] * channels),
        "null": rows > classes,
        "diffusers": hub,
    }


def build(arrays: Arrays, config: Mapping[str, Any], dtype: str = "float64", source: str = "the file") -> DiT:
    """The network of published weights of either library. Raises CheckpointError and ConfigError."""
    fields = told_by(arrays, config, source)
    outputs, null, diffusers = (fields.pop(name) for name in ("outputs", "null", "diffusers"))
    shape = ViTConfig(**fields, classifier="gap", position="sincos2d")
    network = DiT(shape, outputs, null, None, dtype, diffusers, config.get("norm_eps", 1e-5))
    own = views({name: tensor.data for name, tensor in network.named_tensors()}, shape, diffusers)
    if diffusers and "pos_embed.pos_embed" not in arrays:  # it computes the table, and may not store it
        del own["pos_embed.pos_embed"]
    fill(own, arrays, source)
    return network


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> DiT:
    """The network of a file of published weights (.safetensors or .npz), official or diffusers'.

    fields: of the configuration, in the names of the library; a config.json is read where it lies beside the file.
    Without one, the shapes tell most. Raises CheckpointError and ConfigError.
    """
    path = expanded(path)
    return build(read_arrays(path)[0], {**beside(path, "dit"), **fields}, dtype, str(path))


def objective(case: Case, **fields: Any) -> Denoising:
    """The objective whose network is that of the recording, in training mode."""
    network = build(case.weights, case.config, source=case.name)
    learned = network.pixels.weight.shape[1] // network.embed.weight.shape[0] > 1
    return Denoising(DiTConfig(**{"learned_variance": learned, "drop": 0.1, "guidance": 1.0, **fields}), network)


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that DiT defines, by its name there: of `forward/`, `train/` and so on."""
    if of_diffusers(case.weights):  # its files have no table of positions, which would tell the size
        size = next((x.shape[-1] for name, x in case.arrays.items() if name.rpartition("/")[2] == "x"), 32)
        case.config = {"sample_size": size, **case.config}
    found: dict[str, np.ndarray] = {}
    for part in sorted({name.partition("/")[0] if "/" in name else "" for name in case.arrays}):
        if part in ("grad", "grad_input", "tap"):
            continue
        inside = f"{part}/" if part else ""
        names = {name.removeprefix(inside) for name in case.arrays if name.startswith(inside)}
        if "cotangent" in names:
            found |= _forward(case, inside)
        elif {"x0", "noise", "t"} <= names or {"x0", "eps", "t"} <= names:
            found |= _train(case, inside, names)
        elif part == "label_drop":
            found |= _label_drop(case, inside)
        elif "scale" in names and "x" in names:
            found |= _guidance(case, inside)
    found |= schedules(case)
    found |= walks(case, objective(case))
    return found | flow_walks(case, objective(case, path="flow"))


def differentiated(case: Case, inside: str, loss: Tensor, inputs: dict[str, Tensor], network: DiT) -> dict[str, Any]:
    """Loss and gradients by their names in the recording, those of parameters in the layout of its weights."""
    named, found = case.differentiated(loss, inputs, network)
    layout = views(named, network.config, of_diffusers(case.weights))
    found |= {"loss": loss.data, **{f"grad/{name}": g for name, g in layout.items()}}
    return {f"{inside}{name}": x for name, x in found.items()}


def _forward(case: Case, inside: str) -> dict[str, np.ndarray]:
    """The network alone; the loss is the sum of output times cotangent."""
    network, tap = build(case.weights, case.config, source=case.name).eval(), dict[str, Any]()
    x, t = Tensor(case.images(f"{inside}x"), requires_grad=True), case.input(f"{inside}t")
    with modules.noted(network) as inner:
        output = network(x, t, case.input(f"{inside}y"), tap=tap)
    inner |= {"patch_embed.proj": inner["patch_embed"], "embedded": tap["embedded"].data, "head": tap["pixels"].data}
    loss = (output * case.images(f"{inside}cotangent")).sum()
    found = {"output": case.laid_out(output.data), "patch_embedded": (tap["embedded"] - network.positions).data}
    found |= {"embedded": tap["embedded"].data, "final_layer": tap["pixels"].data, "proj_out": tap["pixels"].data}
    for i, (block, c) in enumerate((block, tap[f"condition{i}"]) for i, block in enumerate(network.blocks)):
        found |= {f"block{i}": tap[f"block{i}"].data, f"block{i}_condition": c.data}
        found[f"block{i}_modulation"] = np.concatenate([part.data[:, 0] for part in block.modulation(c)], axis=1)
    found["condition"] = found["conditioning"] = found["c"] = tap["condition0"].data
    for i, condition in enumerate(network.conditions):
        features = time_features(t.astype(float), shift=condition.shift)
        here = {"t_frequency_features": features, "t_embedding": condition.of_time(t).data}
        found |= {f"block{i}_{name}": value for name, value in here.items()}
        found |= {} if i else here
    found = {f"{inside}{name}": value for name, value in found.items()} | modules.taps(case, inside, inner, _MODULES)
    return found | differentiated(case, inside, loss, {"x": x}, network)


def _train(case: Case, inside: str, names: set[str]) -> dict[str, np.ndarray]:
    """A loss of training: of a flow if the times are no whole numbers, or if the recording has a velocity."""
    t, noise = case.input(f"{inside}t"), "noise" if "noise" in names else "eps"
    flow = t.dtype.kind == "f" or "flow" in inside
    own = objective(case, path="flow" if flow else "diffusion").eval()
    x0 = Tensor(case.images(f"{inside}x0"), requires_grad=True)
    batch: dict[str, Any] = {"images": x0, "noise": case.images(f"{inside}{noise}"), "labels": case.input(f"{inside}y")}
    batch |= {"time": t, "at": own.at(t)}
    if flow and "normal" in names:
        case.input(f"{inside}normal")
    outputs = own(batch)
    losses = own.losses(outputs, batch)
    channels = own.shape[-1]
    target = batch["noise"] - x0.data if flow else batch["noise"]
    mse = np.square(outputs[0].data[..., :channels] - target).mean(axis=(1, 2, 3))
    noised, output = case.laid_out(own.noised(batch).data), case.laid_out(outputs[0].data)
    found = dict.fromkeys(("x_t", "z_t", "z", "xt", "x"), noised)
    found |= dict.fromkeys(("output", "prediction", "model_output", "v_hat", "v_pred", "pred"), output)
    found |= {name: case.laid_out(target) for name in ("target", "v", "velocity", "v_target")}
    found |= {"mse_per_sample": mse, "vb_per_sample": losses.data - mse, "loss_per_sample": losses.data}
    found |= {"mse": mse, "eps_weight": t / np.where(t == 1, 1, 1 - t)} if flow else {}
    found |= {"t_network": 1000 * t, "timestep": 1000 * t} if flow else {}
    found = {f"{inside}{name}": value for name, value in found.items()}
    return found | differentiated(case, inside, losses.mean(), {"x0": x0}, own.network)


def _label_drop(case: Case, inside: str) -> dict[str, np.ndarray]:
    """Embeddings of labels of which some are dropped."""
    network, dropped = build(case.weights, case.config), case.input(f"{inside}force_drop_ids") == 1
    labels = np.where(dropped, network.config.num_classes, case.input(f"{inside}labels"))
    return {f"{inside}embedding": network.conditions[0].classes(labels).data}


def _guidance(case: Case, inside: str) -> dict[str, np.ndarray]:
    """Guidance of three channels, as in the published sampling, and of all."""
    own = objective(case)
    x, labels = case.images(f"{inside}x"), case.input(f"{inside}y")
    scale, t = float(case.input(f"{inside}scale")), case.input(f"{inside}t")
    found = {}
    for name, channels in {"three": min(3, own.shape[-1]), "all": own.shape[-1]}.items():
        output = diffusion.with_guidance(own.predictor(labels), scale, channels)(x, t)
        found[f"{inside}output_{name}_channels"] = case.laid_out(output)
    return found | {f"{inside}output": found[f"{inside}output_all_channels"]}
