"""What Hugging Face's files of CLIP and SigLIP share, and their recordings: one tower for images, one for texts."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from minivit.errors import CheckpointError, shown
from minivit.lineage.matching import Matching
from minivit.lineage.published import GELUS, pair
from minivit.lineage.recorded import modules
from minivit.lineage.verify import Case
from minivit.models import ViTConfig
from minivit.tensor import Tensor

_PARTS = {  # what recorded names of modules begin with -> the same for ours
    r"vision_model\.head(?=\.|$)": "image_tower.pool",
    r"text_model\.head$": "text_head",
    r"text_model$": "text_tower.norm",
    r"vision_model\.": "image_tower.",
    r"text_model\.": "text_tower.",
    r"visual_projection$": "image_projection",
}
SHAPE = {  # ours -> Hugging Face's
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp_width": "intermediate_size",
}


def of_both(
    config: Mapping[str, Any], told: Mapping[str, Mapping[str, Any]], act: str, eps: float, source: str
) -> tuple[ViTConfig, dict[str, Any], dict[str, Any]]:
    """The shape of the image tower; the fields of the text tower that CLIPConfig and SigLIPConfig share; and all of it
    as Hugging Face calls them.   told: what the arrays tell of "vision" and of "text". act, eps: where the
    configuration does not say. Raises CheckpointError."""
    vision, text = ({**told[name], **config.get(f"{name}_config", {}), **config.get(name, {})} for name in told)
    acts, epsilons = (
        {config.get(key, tower.get(key, usual)) for tower in (vision, text)}
        for key, usual in (("hidden_act", act), ("layer_norm_eps", eps))
    )
    if len(acts) > 1 or len(epsilons) > 1 or not acts <= GELUS.keys():
        raise CheckpointError(
            f"{source}: hidden_act is {shown(str(acts))}, layer_norm_eps {shown(str(epsilons))}: expected one of each "
            f"for both towers, hidden_act one of {', '.join(GELUS)}"
        )
    image = ViTConfig(
        image_size=pair(vision["image_size"]),
        patch_size=pair(vision["patch_size"]),
        channels=vision["num_channels"],
        num_classes=0,
        **{ours: vision[theirs] for ours, theirs in SHAPE.items()},
    )
    own = {ours: text[theirs] for ours, theirs in SHAPE.items()}
    own |= {"vocabulary": text["vocab_size"], "context": text["max_position_embeddings"]}
    return image, own | {"gelu": GELUS[acts.pop()], "norm_eps": epsilons.pop()}, text


def parts(case: Case) -> list[str]:
    """The parts of a recording that have a loss, such as "full/"."""
    return [name.removesuffix("loss") for name in case.arrays if name.rpartition("/")[2] == "loss"]


def recompute(
    case: Case, objective: Matching, images: Tensor
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a part that have the same names in both systems; all gradients by our names; and the image tower's
    tap."""
    taps: dict[str, dict[str, Any]] = {"vision": {}, "text": {}}
    with modules.noted(objective) as inner:
        outputs = objective.image(images, tap=taps["vision"]), objective.text(case.input("input_ids"), tap=taps["text"])
    for tower, ours in (("vision", "image"), ("text", "text")):
        inner[f"{ours}_tower.embedded"] = taps[tower]["embedded"].data
    similar, loss = objective.similarity(outputs), objective.loss(outputs, {})
    named, differentiated = case.differentiated(loss, images, objective)
    found = {
        "logits_per_image": similar.data,
        "logits_per_text": similar.data.T,
        "image_embeds": outputs[0].data,
        "text_embeds": outputs[1].data,
        "loss": loss.data,
        **differentiated,
        "tap/text_embeddings": taps["text"]["embedded"].data,
        "tap/text_final_layer_norm": taps["text"]["encoded"].data,
    }
    for part in parts(case):
        names = modules.taps(case, part, inner, _PARTS)
        found |= {name.removeprefix(part): x for name, x in names.items()}
    for tower, tap in taps.items():
        for i in range(sum(name.endswith("/output") for name in tap)):
            found[f"tap/{tower}_block{i}"] = tap[f"block{i}/output"].data
    return found, named, taps["vision"]
