"""Prefixes before the names of arrays: one mechanism for all layouts; what stands outside is named or chosen away."""

import numpy as np
import pytest

from minivit.errors import CheckpointError
from minivit.models import export, load_pretrained
from minivit.models.archive import read_arrays, write_npz, write_safetensors

LAYOUTS = {"official": "gelu tanh", "timm": "gelu erf", "hf": "gelu erf"}
PREFIXES = ["module.", "model.", "backbone.", "encoder.", "student.", "_orig_mod.", "module._orig_mod.", "state_dict.",
            "model.module.", "base_model.vit.", "vit.", "teacher.backbone.", "a/b/"]  # fmt: skip


@pytest.fixture
def saved(tmp_path, tiny, perturbed):
    """saved(layout, change): a random model, and a file of it whose arrays went through `change`."""

    def save(layout, change):
        gelu = LAYOUTS[layout].split()[1]
        model = perturbed(tiny(image_size=8, patch_size=2, gelu=gelu))
        path = tmp_path / ("model.npz" if layout == "official" else "model.safetensors")
        export(model, path, layout)
        arrays, metadata = read_arrays(path)
        arrays = change(arrays)
        write_npz(path, arrays) if layout == "official" else write_safetensors(path, arrays, metadata)
        return model, path

    return save


def under(prefix):
    return lambda arrays: {prefix + name: array for name, array in arrays.items()}


def same(model, path, **options):
    loaded = load_pretrained(path, dtype="float64", **options)
    assert loaded.config == model.config
    state = loaded.state_dict()
    assert all(np.array_equal(array, state[name]) for name, array in model.state_dict().items())


def refused(path, **options):
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(path, **options)
    return str(caught.value)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_prefix_is_stripped(saved, layout, prefix):
    same(*saved(layout, under(prefix)))


@pytest.mark.parametrize("wrapper", ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
def test_what_pytorch_puts_between_names_is_left_out(saved, wrapper):
    def wrapped(arrays):
        return {name.replace("blocks.1.", f"blocks.1.{wrapper}."): array for name, array in arrays.items()}

    same(*saved("timm", wrapped))

    def twice(arrays):
        return arrays | {f"{wrapper}.norm.bias": arrays["norm.bias"]}

    assert "holds two arrays for one place in the model" in refused(saved("timm", twice)[1])


@pytest.mark.parametrize("pair", [("student.", "teacher."), ("state_dict.", "state_dict_ema."), ("", "ema.")])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_of_several_models_one_is_chosen_by_its_prefix(saved, layout, pair):
    def both(arrays):
        first = {pair[0] + name: array + 1 for name, array in arrays.items()}
        return first | under(pair[1])(arrays)

    model, path = saved(layout, both)
    message = refused(path)
    assert f'holds 2 models: choose one by its prefix (--prefix), "{pair[0]}" or "{pair[1]}"' in message
    same(model, path, prefix=pair[1])
    first = load_pretrained(path, dtype="float64", prefix=pair[0])
    np.testing.assert_array_equal(first.norm.bias.data, model.norm.bias.data + 1)
    assert f'has no model of prefix "x."; it has "{pair[0]}" or' in refused(path, prefix="x.")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_arrays_beside_a_model_are_named_or_left_out_by_choice(saved, layout):
    def with_another_head(arrays):
        return under("backbone.")(arrays) | {"decode_head.weight": np.ones((3, 3)), "steps": np.array(7.0)}

    model, path = saved(layout, with_another_head)
    assert refused(path).endswith(
        'has arrays outside of the model "backbone.": decode_head.weight; to leave them out, pass this prefix '
        "(--prefix backbone.)"
    )
    same(model, path, prefix="backbone.")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_state_of_an_optimiser_is_left_out(saved, layout):
    def with_state(arrays):
        moments = {f"optimizer.exp_avg.{name}": array * 0 for name, array in arrays.items()}
        return under("model.")(arrays) | moments

    same(*saved(layout, with_state))


def test_a_backbone_is_no_hybrid_but_the_backbone_of_its_patches_is(saved):
    stem = {"backbone.patch_embed.backbone.stem.conv.weight": np.ones((1, 1, 7, 7))}
    path = saved("timm", lambda arrays: under("backbone.")(arrays) | stem)[1]
    assert "hybrids are read from released .npz files" in refused(path)


def test_a_classifier_beside_the_vit_of_hugging_face_goes_with_it(saved):
    model, path = saved("hf", under("module."))
    names = read_arrays(path)[0]
    assert "module.classifier.weight" in names
    assert "module.vit.embeddings.cls_token" in names
    same(model, path)


def test_deit_with_one_head_reads_the_class_token_alone(tmp_path, vectors, vector_path):
    """The file of two heads without the second: the [class] row of the last norm, through the first head."""
    path = vector_path("published/hf_deit.safetensors")
    (tmp_path / "config.json").write_text(
        path.with_name("hf_deit.config.json").read_text(encoding="utf-8"), encoding="utf-8"
    )
    two = load_pretrained(path, dtype="float64").eval()
    arrays = {name: a for name, a in read_arrays(path)[0].items() if "distillation_classifier" not in name}
    write_safetensors(tmp_path / "model.safetensors", arrays, {})
    one = load_pretrained(tmp_path / "model.safetensors", dtype="float64").eval()
    x, tap = vectors("published/io")["hf_deit/x"], {}
    two(x, tap=tap)
    expected = tap["encoded"].data[:, 0] @ two.head.weight.data + two.head.bias.data
    np.testing.assert_allclose(one(x).data, expected, rtol=0, atol=1e-12)
    assert (one.config.register_tokens, one.config.distillation_token, one.config.no_embed_class) == (1, False, False)
    larger = load_pretrained(tmp_path / "model.safetensors", image_size=12, num_classes=7)
    assert (larger.config.grid, larger.config.num_classes) == ((6, 6), 7)
