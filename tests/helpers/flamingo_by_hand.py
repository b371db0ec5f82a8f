"""A second implementation of Flamingo on NumPy arrays under the names of open_flamingo: slow, token by token and head
by head, and without gradients."""

import math

import numpy as np
from llava_by_hand import Language, below, erf_gelu, norm, softmax


def attend(w, q_from, kv_from, width, sees):
    """(N, D), (M, C) -> (N, D).   sees: for each token the numbers of what it sees, None for the mean of all."""
    q, pairs = q_from @ w["to_q.weight"].T, kv_from @ w["to_kv.weight"].T
    inner, out = q.shape[1], np.zeros_like(q)
    for at in range(0, inner, width):
        k, v = pairs[:, at : at + width], pairs[:, inner + at : inner + at + width]
        for n, numbers in enumerate(sees):
            if numbers is None:
                out[n, at : at + width] = v.mean(axis=0)
            elif numbers:
                a = softmax(np.array([q[n, at : at + width] @ k[m] / math.sqrt(width) for m in numbers]))
                out[n, at : at + width] = sum(x * v[m] for x, m in zip(a, numbers, strict=True))
    return out @ w["to_out.weight"].T


def ffw(w, x):
    return erf_gelu(norm(x, w, "0", 1e-5) @ w["1.weight"].T) @ w["3.weight"].T


def resample(w, features, width):
    """One text: (T, F, v, C) -> (T, R, C)."""
    found = []
    for t, image in enumerate(features):
        frames = [x + w["frame_embs"][f] if "frame_embs" in w else x for f, x in enumerate(image)]
        x, latents = np.concatenate(frames), w["latents"]
        if "media_time_embs" in w:
            x = x + w["media_time_embs"][t, 0]
        for i in range(len([name for name in w if name.endswith("0.to_q.weight")])):
            attention = below(w, f"layers.{i}.0.")
            asking = norm(latents, attention, "norm_latents", 1e-5)
            context = np.concatenate([norm(x, attention, "norm_media", 1e-5), asking])
            latents = latents + attend(attention, asking, context, width, [list(range(len(context)))] * len(asking))
            latents = latents + ffw(below(w, f"layers.{i}.1."), latents)
        found.append(norm(latents, w, "norm", 1e-5))
    return np.array(found)


def sight(ids, image, media, latents, immediate):
    """For each token the numbers of the latents that it sees, None for the mean of all."""
    found, count = [], 0
    for number in ids:
        count += number == image
        images = [count] if immediate else range(1, count + 1)
        numbers = [m for t in images if 1 <= t <= media for m in range((t - 1) * latents, t * latents)]
        found.append(numbers if numbers or (immediate and not count) else None)
    return found


def by_hand(config, weights, inputs, gates=True):
    """The arrays of a recording, but for gradients."""
    text, cross = config["text"], config["cross"]
    every = cross["every_n_layers"]
    language = {name.replace("decoder_layer.", ""): x for name, x in below(weights, "lang_encoder.model.").items()}
    llama = Language(
        {name: x for name, x in language.items() if "gated" not in name}, text["num_attention_heads"],
        text.get("rope_theta", 1e4), text["rms_norm_eps"], weights["lang_encoder.lm_head.weight"],
    )  # fmt: skip
    texts, losses = [], []
    for features, ids, seen, labels in zip(
        *(inputs[n] for n in ("features", "input_ids", "attention_mask", "labels")), strict=True
    ):
        latents = resample(below(weights, "perceiver."), features, config["resampler"]["dim_head"])
        found = {"resampled": latents}
        sees = sight(ids, config["media_token"], *latents.shape[:2], cross["only_attend_immediate_media"])

        def before(i, x, found=found, sees=sees, latents=latents):
            if (i + 1) % every:
                return x
            w = below(language, f"layers.{i}.gated_cross_attn_layer.")
            a, b = (math.tanh(w[name][0]) if gates else 0 for name in ("attn_gate", "ff_gate"))
            y = attend(
                below(w, "attn."), norm(x, w, "attn.norm", 1e-5), np.concatenate(latents), cross["dim_head"], sees
            )
            x = x + a * y
            x = x + b * ffw(below(w, "ff."), x)
            found.update({f"cross_attention{i}": y, f"cross_block{i}": x})
            return x

        x = np.array([language["embed_tokens.weight"][i] for i in ids])
        inner = {}
        found["logits"] = llama.logits(x, seen, inner, before)
        losses += [-math.log(softmax(found["logits"][n])[label]) for n, label in enumerate(labels[1:]) if label != -100]
        texts.append(found)
    together = {name: np.array([found[name] for found in texts]) for name in texts[0]}
    together["loss"] = np.array(np.mean(losses))
    if gates:
        together["gates_zero/logits"] = by_hand(config, weights, inputs, False)["logits"]
    return together
