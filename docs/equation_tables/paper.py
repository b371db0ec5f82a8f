"""Equations 1 to 8 of the paper."""

from equation_tables.equation import Equation

ATTENTION_TESTS = "tests/ops/test_attention.py::"
LAYER_TESTS = "tests/nn/test_layers.py::"
LAYER_GRADIENTS = "tests/nn/test_layer_gradients.py::test_gradients"
PUBLISHED_MODEL = "tests/models/test_published.py::test_float64"
Z = (r"\mathbf{z}", "tokens", "(B, N, D)")
HEAD_WIDTH = ("D_h", "width of a head, $D/H$; `Dh` in the code", "number")

NUMBERED = (
    Equation(
        id="eq-1",
        title="Embedding of patches",
        latex=r"\mathbf{z}_0 = [\mathbf{x}_{\text{class}};\ \mathbf{x}_p^1\mathbf{E};\ \mathbf{x}_p^2\mathbf{E};\ "
        r"\cdots;\ \mathbf{x}_p^{N_p}\mathbf{E}] + \mathbf{E}_{pos}",
        place="section 3.1, Eq. 1",
        symbols=(
            (r"\mathbf{x}_p^i", "pixels of patch i, by row, column, channel", "(B, P P C)"),
            (r"\mathbf{E}", "patch embedding (the code adds a bias)", "(P P C, D)"),
            (r"\mathbf{x}_{\text{class}}", "the [class] token, learned", "(1, 1, D)"),
            (r"\mathbf{E}_{pos}", "position embedding, learned", "(1, N, D)"),
            (r"\mathbf{z}_0", "tokens before the first block", "(B, N, D)"),
        ),
        ops=("minivit.nn.layers.patchify", "minivit.nn.layers.PatchEmbed", "minivit.models.vit.ViT.embed"),
        notebook="04_tokens_and_positions",
        tag="Eq. 1",
        tests=(
            LAYER_TESTS + "test_patchify_against_loops",
            LAYER_TESTS + "test_patch_embedding_is_a_convolution",
            "tests/models/test_vit.py::test_learned_positions_include_one_for_the_class_token",
            PUBLISHED_MODEL,
        ),
    ),
    Equation(
        id="eq-2",
        title="First half of a block: attention",
        latex=r"\mathbf{z}'_\ell = \mathrm{MSA}(\mathrm{LN}(\mathbf{z}_{\ell-1})) + \mathbf{z}_{\ell-1}, \qquad "
        r"\ell = 1 \ldots L",
        place="section 3.1, Eq. 2",
        symbols=(
            (r"\mathbf{z}_{\ell-1}", "tokens after the block before", "(B, N, D)"),
            (r"\mathbf{z}'_\ell", r"tokens in the middle of block $\ell$", "(B, N, D)"),
        ),
        ops=("minivit.nn.layers.EncoderBlock", "minivit.nn.layers.MultiHeadAttention"),
        notebook="10_residual_stream",
        tag="Eq. 2",
        tests=(LAYER_TESTS + "test_encoder_block_normalises_before_each_branch", LAYER_GRADIENTS, PUBLISHED_MODEL),
    ),
    Equation(
        id="eq-3",
        title="Second half of a block: MLP",
        latex=r"\mathbf{z}_\ell = \mathrm{MLP}(\mathrm{LN}(\mathbf{z}'_\ell)) + \mathbf{z}'_\ell, \qquad "
        r"\ell = 1 \ldots L",
        place="section 3.1, Eq. 3",
        symbols=(
            (r"\mathbf{z}'_\ell", r"tokens in the middle of block $\ell$", "(B, N, D)"),
            (r"\mathbf{z}_\ell", r"tokens after block $\ell$", "(B, N, D)"),
        ),
        ops=("minivit.nn.layers.EncoderBlock", "minivit.nn.layers.MLP", "minivit.ops.products.linear_gelu"),
        notebook="10_residual_stream",
        tag="Eq. 3",
        tests=(
            LAYER_TESTS + "test_encoder_block_normalises_before_each_branch",
            LAYER_TESTS + "test_mlp",
            LAYER_GRADIENTS,
            PUBLISHED_MODEL,
        ),
    ),
    Equation(
        id="eq-4",
        title="What the head reads",
        latex=r"\mathbf{y} = \mathrm{LN}(\mathbf{z}_L^0)",
        place="section 3.1, Eq. 4",
        symbols=(
            (r"\mathbf{z}_L^0", "the [class] token after the last block", "(B, D)"),
            (r"\mathbf{y}", "features of the image", "(B, D)"),
        ),
        ops=("minivit.models.vit.ViT.encode", "minivit.ops.normalisation.layer_norm"),
        notebook="11_vit",
        tag="Eq. 4",
        tests=("tests/models/test_vit.py::test_what_the_head_reads", PUBLISHED_MODEL),
    ),
    Equation(
        id="eq-5",
        title="Queries, keys, values",
        latex=r"[\mathbf{q}, \mathbf{k}, \mathbf{v}] = \mathbf{z}\mathbf{U}_{qkv}, \qquad "
        r"\mathbf{U}_{qkv} \in \mathbb{R}^{D \times 3D_h}",
        place="appendix A, Eq. 5",
        symbols=(
            Z,
            (
                r"\mathbf{U}_{qkv}",
                "projection to queries, keys and values, of all heads at once (the code adds a bias)",
                "(D, 3D)",
            ),
            (r"\mathbf{q}, \mathbf{k}, \mathbf{v}", "queries, keys, values", "(B, H, N, Dh) each"),
            HEAD_WIDTH,
        ),
        ops=("minivit.nn.layers.MultiHeadAttention", "minivit.ops.attention.split_heads"),
        notebook="07_attention",
        tag="Eq. 5",
        tests=(
            ATTENTION_TESTS + "test_queries_keys_and_values_are_views",
            "tests/nn/test_initialisers.py::test_queries_keys_and_values_are_initialised_each_for_itself",
            ATTENTION_TESTS + "test_attention_equals_the_published_code",
        ),
    ),
    Equation(
        id="eq-6",
        title="Attention weights",
        latex=r"A = \mathrm{softmax}\left(\mathbf{q}\mathbf{k}^\top / \sqrt{D_h}\right), \qquad "
        r"A \in \mathbb{R}^{N \times N}",
        place="appendix A, Eq. 6",
        symbols=(
            (r"\mathbf{q}, \mathbf{k}, \mathbf{v}", "queries, keys, values", "(B, H, N, Dh) each"),
            ("A", "attention weights: row i says how query i weights the tokens", "(B, H, N, N)"),
            HEAD_WIDTH,
        ),
        ops=("minivit.ops.attention.attention_weights", "minivit.ops.attention.attention"),
        notebook="07_attention",
        tag="Eq. 6",
        tests=(
            ATTENTION_TESTS + "test_attention_weights_of_a_query_sum_to_one",
            ATTENTION_TESTS + "test_attention_between_large_queries_and_keys",
            ATTENTION_TESTS + "test_attention",
        ),
    ),
    Equation(
        id="eq-7",
        title="Self-attention of one head",
        latex=r"\mathrm{SA}(\mathbf{z}) = A\mathbf{v}",
        place="appendix A, Eq. 7",
        symbols=(
            ("A", "attention weights", "(B, H, N, N)"),
            (r"\mathbf{q}, \mathbf{k}, \mathbf{v}", "queries, keys, values", "(B, H, N, Dh) each"),
            (r"\mathrm{SA}(\mathbf{z})", "output of a head", "(B, H, N, Dh)"),
        ),
        ops=("minivit.ops.attention.attention",),
        notebook="07_attention",
        tag="Eq. 7",
        tests=(ATTENTION_TESTS + "test_attention", ATTENTION_TESTS + "test_attention_equals_its_composition"),
    ),
    Equation(
        id="eq-8",
        title="Several heads",
        latex=r"\mathrm{MSA}(\mathbf{z}) = [\mathrm{SA}_1(\mathbf{z});\ \mathrm{SA}_2(\mathbf{z});\ \cdots;\ "
        r"\mathrm{SA}_H(\mathbf{z})]\,\mathbf{U}_{msa}, \qquad \mathbf{U}_{msa} \in \mathbb{R}^{H D_h \times D}",
        place="appendix A, Eq. 8",
        symbols=(
            ("H", "heads", "number"),
            (r"\mathbf{U}_{msa}", "projection of the joined heads (the code adds a bias)", "(D, D)"),
            (r"\mathrm{MSA}(\mathbf{z})", "output of the layer", "(B, N, D)"),
        ),
        ops=("minivit.ops.attention.merge_heads", "minivit.nn.layers.MultiHeadAttention"),
        notebook="08_multi_head",
        tag="Eq. 8",
        tests=(
            LAYER_TESTS + "test_attention",
            LAYER_TESTS + "test_attention_agrees_with_torch",
            ATTENTION_TESTS + "test_attention_equals_the_published_code",
        ),
    ),
)
