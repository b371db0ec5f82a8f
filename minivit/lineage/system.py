"""What the list of the family says of a system; and its first part, the ancestors."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class System:
    """One line of the list.   year, paper: of its publication; new: its addition to earlier work; notebook: its file in
    notebooks/, "" if it has none; recordings: how names of its recordings begin, beside its own name."""

    year: int
    paper: str
    new: str
    notebook: str = ""
    recordings: tuple[str, ...] = ()


ANCESTORS: dict[str, System] = {  # with cheaper attention and muP
    "transformer2017": System(
        2017,
        "Vaswani et al., Attention Is All You Need, arXiv 1706.03762",
        "attention alone, without recurrence or convolution",
    ),
    "bert": System(
        2018,
        "Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers, arXiv 1810.04805",
        "an encoder learns from words that are hidden from it, and begins with a token for the whole: [CLS]",
    ),
    "linformer": System(
        2020,
        "Wang et al., Linformer: Self-Attention with Linear Complexity, arXiv 2006.04768",
        "keys and values of N tokens are projected to a fixed number",
        "31_attention_cheaper",
    ),
    "performer": System(
        2020,
        "Choromanski et al., Rethinking Attention with Performers, arXiv 2009.14794",
        "random features whose products are, on average, the exponentials of attention",
        "31_attention_cheaper",
    ),
    "flash": System(
        2023,
        "Dao, FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning, arXiv 2307.08691",
        "exact attention in tiles, without the matrix of weights",
        "31_attention_cheaper",
    ),
    "mup": System(
        2022,
        "Yang et al., Tensor Programs V: Tuning Large Neural Networks via Zero-Shot Hyperparameter Transfer, "
        "arXiv 2203.03466",
        "the best learning rate stays the same when the width grows",
        "32_widths_and_learning_rates",
    ),
}
