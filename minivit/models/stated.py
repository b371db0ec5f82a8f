"""The meaning of config.json and similar files, field by field.

A field is taken, compared with the arrays, restricted to one value, or known to change nothing. Any other field is
refused by name, since it could change what the model computes.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from minivit.errors import shown
from minivit.models.config import ViTConfig, size_pair


@dataclasses.dataclass(frozen=True)
class Taken:
    """A field of ViTConfig, which the arrays may contradict.   values: theirs -> ours, where the names differ."""

    field: str
    values: Mapping[Any, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Compared:
    """A field that the arrays determine too.   fits: (value, the ViTConfig of the arrays) -> whether they agree."""

    fits: Callable[[Any, ViTConfig], bool]


@dataclasses.dataclass(frozen=True)
class Only:
    """A field with one allowed value, or several that mean the same."""

    values: tuple[Any, ...]


NOTHING = None  # the rule of what changes nothing in the function computed

Rule = Taken | Compared | Only | None
Table = Mapping[str, Rule]


def _table(**rules: Rule | str) -> dict[str, Rule]:
    """A table; a rule "a b c" stands for names that change nothing."""
    table: dict[str, Rule] = {}
    for name, rule in rules.items():
        table |= dict.fromkeys(rule.split(), NOTHING) if isinstance(rule, str) else {name: rule}
    return table


def _labels_fit(labels: Any, config: ViTConfig) -> bool:
    """Whether there is a label for every class. Numbers must match the classes, since labels go by their order."""
    if not isinstance(labels, dict | list):
        return False
    numbers = set(labels) if isinstance(labels, dict) and all(map(str.isdecimal, labels)) else None
    return len(labels) == config.num_classes and numbers in (None, set(map(str, range(config.num_classes))))


def _same(field: str) -> Compared:
    return Compared(lambda value, config: value == getattr(config, field))


def _same_size(field: str) -> Compared:
    return Compared(lambda value, config: size_pair(value, field) == getattr(config, field))


GELU = {"gelu": "erf", "gelu_python": "erf"}  # transformers has two names of the one and four of the other
GELU |= dict.fromkeys(("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate"), "tanh")
_OFF = Only((False, None))
_SWITCH = Only((True, False, None))

# Fields of every config.json of transformers, which timm's may have as well.
_ANY = _table(
    names="architectures _name_or_path label2id num_labels label_names label_descriptions labels license tags "
    "transformers_version model_type auto_map finetuning_task task_specific_params tokenizer_class processor_class "
    "_commit_hash _num_labels pipeline_tag library_name",
    types="dtype torch_dtype torchscript use_bfloat16 tf_legacy_loss attn_implementation _attn_implementation "
    "_attn_implementation_autoset _attn_implementation_internal use_cache",
    outputs="return_dict output_attentions output_hidden_states output_scores return_dict_in_generate "
    "chunk_size_feed_forward",
    text="max_length min_length max_position_embeddings do_sample early_stopping num_beams num_beam_groups "
    "diversity_penalty temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size "
    "encoder_no_repeat_ngram_size bad_words_ids num_return_sequences remove_invalid_values prefix bos_token_id "
    "pad_token_id eos_token_id sep_token_id decoder_start_token_id forced_bos_token_id forced_eos_token_id "
    "exponential_decay_length_penalty suppress_tokens begin_suppress_tokens tie_word_embeddings tie_encoder_decoder",
    training="initializer_range",
    id2label=Compared(lambda value, config: not (value and config.num_classes) or _labels_fit(value, config)),
    problem_type=Only((None, "single_label_classification", "multi_label_classification")),  # see `beside`
    is_encoder_decoder=_OFF,
    is_decoder=_OFF,
    add_cross_attention=_OFF,
    cross_attention_hidden_size=_OFF,
    pruned_heads=Only(({}, None)),
)

# config.json of ViT and DeiT by transformers.
HF: Table = _ANY | _table(
    training="hidden_dropout_prob attention_probs_dropout_prob",
    pretraining="encoder_stride",
    num_attention_heads=Taken("heads"),
    layer_norm_eps=Taken("norm_eps"),
    image_size=Taken("image_size"),
    hidden_act=Taken("gelu", GELU),
    hidden_size=_same("width"),
    num_hidden_layers=_same("depth"),
    intermediate_size=_same("mlp_width"),
    num_channels=_same("channels"),
    patch_size=_same_size("patch_size"),
    qkv_bias=_same("qkv_bias"),
    pooler_act=Only(("tanh",)),
    pooler_output_size=Compared(lambda v, c: c.representation_size is None or v in (None, c.representation_size)),
)

# model_args of timm's config.json: what is passed to the class VisionTransformer.
TIMM_ARGUMENTS: Table = _table(
    training="drop_rate pos_drop_rate patch_drop_rate proj_drop_rate attn_drop_rate drop_path_rate",
    before_loading="weight_init fix_init",
    images_of_other_sizes="dynamic_img_size dynamic_img_pad strict_img_size",
    types="device dtype",
    num_heads=Taken("heads"),
    img_size=Taken("image_size"),
    global_pool=Taken("classifier", {"token": "token", "avg": "gap"}),
    act_layer=Taken("gelu", {"gelu": "erf", "gelu_tanh": "tanh", None: "erf", "": "erf"}),
    no_embed_class=Taken("no_embed_class"),
    embed_dim=_same("width"),
    depth=_same("depth"),
    mlp_ratio=Compared(lambda value, config: int(config.width * value) == config.mlp_width),
    num_classes=_same("num_classes"),
    in_chans=_same("channels"),
    patch_size=_same_size("patch_size"),
    qkv_bias=_same("qkv_bias"),
    reg_tokens=Compared(lambda value, config: (value or 0) == config.register_tokens),
    class_token=Compared(lambda value, config: value == ("class_token" in config.prefix_tokens)),
    init_values=Compared(lambda value, config: bool(value) == (config.layer_scale is not None)),
    fc_norm=Compared(lambda value, config: value in (None, config.fc_norm)),
    pos_embed=Compared(lambda value, config: ("none" if value in ("", None) else value) == _positions(config)),
    qk_norm=_OFF,
    scale_attn_norm=_OFF,
    scale_mlp_norm=_OFF,
    pre_norm=_OFF,
    pool_include_prefix=_OFF,
    proj_bias=Only((True,)),
    final_norm=Only((True,)),
    norm_layer=Only((None, "", "layernorm", "LayerNorm")),  # of timm.layers, whose epsilon is 1e-6
    embed_norm_layer=Only((None, "")),
    embed_layer=Only((None, "", "PatchEmbed")),
    block_fn=Only((None, "", "Block")),
    mlp_layer=Only((None, "", "Mlp")),
    attn_layer=Only((None, "", "attn", "Attention")),
)

# The other fields of timm's config.json, of which pretrained_cfg may hold some: from what file the weights came.
TIMM: Table = _ANY | _table(
    places="tag url file state_dict hf_hub_id hf_hub_filename source origin_url paper_name paper_ids notes description",
    names="architecture first_conv classifier custom_load label_offset",
    num_features=_same("width"),
    images="mean std interpolation crop_pct crop_mode test_input_size test_crop_pct min_input_size pool_size "
    "test_pool_size input_size fixed_input_size do_pooling",  # sizes of images: see `of_timm`
    nested="model_args pretrained_cfg",
    num_classes=_same("num_classes"),
    global_pool=TIMM_ARGUMENTS["global_pool"],
)

# preprocessor_config.json of transformers; what is taken is read by `beside`.
PREPROCESSOR: Table = _table(
    names="image_processor_type feature_extractor_type processor_class _valid_processor_keys auto_map",
    taken="image_mean image_std rescale_factor size crop_size",
    do_normalize=_SWITCH,
    do_rescale=_SWITCH,
    do_resize=_SWITCH,
    do_center_crop=_SWITCH,
    interpolation="resample default_to_square do_convert_rgb crop_pct antialias",
    arrays="data_format input_data_format return_tensors device disable_grouping _processor_class",
    do_flip_channel_order=_OFF,
    do_grayscale=_OFF,
    do_pad=_OFF,
    do_reduce_labels=_OFF,
    rescale_offset=_OFF,
    offset=_OFF,
)


def _positions(config: ViTConfig) -> str:
    return "learn" if config.position == "learned" else config.position


def fields(values: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """The fields of ViTConfig stated by `values`. Raises ValueError for unsupported settings and unknown names."""
    found = {}
    for name, value in values.items():
        if name not in table:
            if value is not None:
                raise ValueError(
                    f'unknown field "{shown(name)}", {shown(value)}; if it changes nothing in the model, remove it'
                )
            continue
        rule = table[name]
        if isinstance(rule, Only) and value not in rule.values:
            raise ValueError(f"{name} is {_text(value)}, expected {' or '.join(map(_text, rule.values))}")
        if isinstance(rule, Taken):
            if rule.values is not None and (not isinstance(value, str | None) or value not in rule.values):
                names = ", ".join(str(name) for name in rule.values if name)
                raise ValueError(f"{name} is {_text(value)}, expected one of {names}")
            found[rule.field] = value if rule.values is None else rule.values[value]
    return {name: value for name, value in found.items() if value is not None}


def of_timm(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of timm's config.json, including nested ones, and the resulting arguments of the model's class.

    Raises ValueError for a model whose name alone shows that it computes something else.
    """
    nested = {name: values.get(name) or {} for name in ("pretrained_cfg", "model_args")}
    if wrong := [name for name, inner in nested.items() if not isinstance(inner, dict)]:
        raise ValueError(f"{wrong[0]} is {_text(values[wrong[0]])}, expected an object")
    source, arguments = (dict(inner) for inner in nested.values())
    if found := re.search("quickgelu|_rpn_", str(values.get("architecture"))):
        raise ValueError(f"architecture is {_text(values['architecture'])}: {_UNSUPPORTED[found[0]]}")
    if values.get("architecture") == "vit_base_patch16_gap_224":
        arguments.setdefault("num_heads", 16)  # timm's only model whose width would tell another number
    merged = {**source, **values}
    size = merged.get("input_size")
    if merged.get("fixed_input_size") and isinstance(size, list) and len(size) == 3:
        if not arguments.get("dynamic_img_size"):
            arguments.setdefault("img_size", size[1:])
        arguments.setdefault("in_chans", size[0])
    if arguments.get("global_pool") is not None:
        merged["global_pool"] = arguments["global_pool"]
    return merged, arguments


_UNSUPPORTED = {"quickgelu": "its activation is quick_gelu", "_rpn_": "its norms come after attention and MLP"}


def compare(values: Mapping[str, Any], table: Table, config: ViTConfig) -> None:
    """Raise ValueError for a value that contradicts the arrays, whose model is `config`."""
    for name, value in values.items():
        rule = table.get(name)
        if isinstance(rule, Compared) and not rule.fits(value, config):
            (patch_h, patch_w), classes = config.patch_size, config.num_classes
            raise ValueError(
                f"{name} is {_text(value)}, which the arrays contradict: they are of a {config.description}, patches "
                f"{patch_h}x{patch_w}, {config.channels} channels, MLP width {config.mlp_width}, {classes} classes"
            )


def _text(value: Any) -> str:
    return f"of {len(value)} entries" if isinstance(value, dict) and value else shown(repr(value))
