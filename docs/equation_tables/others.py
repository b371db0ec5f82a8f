"""What the paper says in words or leaves to its code: parts of a block, losses, training, figures."""

from equation_tables.equation import Equation

OPTIMISER_TESTS = "tests/optim/test_optimizers.py::"
LAYER_TESTS = "tests/nn/test_layers.py::"

OTHERS = (
    Equation(
        id="layer-norm",
        title="LayerNorm",
        latex=r"\mathrm{LN}(\mathbf{x}) = \gamma \odot \frac{\mathbf{x} - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta",
        place="section 3.1, used in Eq. 2 to 4",
        symbols=(
            (r"\mu, \sigma^2", "mean and variance of a token, divided by D and not D - 1", "(B, N, 1)"),
            (r"\gamma, \beta", "scale and bias, learned", "(D,)"),
            (r"\epsilon", "small constant against a division by zero, 0.000001", "number"),
        ),
        ops=("minivit.ops.normalisation.layer_norm", "minivit.nn.layers.LayerNorm"),
        notebook="05_layer_norm",
        tag="LayerNorm",
        tests=(
            "tests/ops/test_normalisation.py::test_layer_norm",
            "tests/ops/test_normalisation.py::test_layer_norm_equals_the_published_code",
        ),
    ),
    Equation(
        id="gelu",
        title="GELU",
        latex=r"\mathrm{GELU}(x) = x\,\Phi(x) \approx \frac{x}{2}\left(1 + \tanh\left(\sqrt{2/\pi}\,"
        r"(x + 0.044715\,x^3)\right)\right)",
        place="section 3.1, in the MLP of Eq. 3",
        symbols=(("x", "hidden layer of the MLP", "(B, N, F)"), (r"\Phi", "normal distribution function", "function")),
        ops=("minivit.ops.activations.gelu", "minivit.ops.products.linear_gelu"),
        notebook="09_mlp_and_gelu",
        tag="GELU",
        tests=(
            "tests/ops/test_activations.py::test_gelu",
            "tests/ops/test_activations.py::test_gelu_equals_the_published_code",
            "tests/ops/test_activations.py::test_the_two_gelus_are_told_apart",
        ),
    ),
    Equation(
        id="cross-entropy",
        title="Softmax and cross-entropy",
        latex=r"\mathcal{L} = -\frac{1}{B}\sum_{n=1}^{B}\sum_{k} t_{nk} \log\frac{e^{z_{nk}}}{\sum_j e^{z_{nj}}}",
        place="not written out in the paper: the loss of fine-tuning in the published code",
        symbols=(
            ("z", "logits", "(B, K)"),
            ("t", "targets: one-hot, smoothed or mixed", "(B, K)"),
            (r"\mathcal{L}", "the loss", "()"),
        ),
        ops=("minivit.ops.losses.cross_entropy", "minivit.ops.normalisation.softmax"),
        notebook="06_softmax_and_loss",
        tag="cross-entropy",
        tests=(
            "tests/ops/test_losses.py::test_cross_entropy",
            "tests/ops/test_losses.py::test_a_loss_equals_the_published_code",
        ),
    ),
    Equation(
        id="sigmoid-cross-entropy",
        title="Sigmoid cross-entropy",
        latex=r"\mathcal{L} = -\frac{1}{B}\sum_{n=1}^{B}\sum_{k} \left[t_{nk} \log s(z_{nk}) + "
        r"(1 - t_{nk}) \log s(-z_{nk})\right], \qquad s(z) = \frac{1}{1 + e^{-z}}",
        place="not in the paper: the loss of pre-training on several labels, in big_vision",
        symbols=(("z", "logits", "(B, K)"), ("t", "targets in 0 to 1", "(B, K)")),
        ops=("minivit.ops.losses.sigmoid_cross_entropy",),
        notebook="06b_smoothing_sigmoid_temperature",
        tag="sigmoid cross-entropy",
        tests=(
            "tests/ops/test_losses.py::test_sigmoid_cross_entropy",
            "tests/ops/test_losses.py::test_a_loss_equals_the_published_code",
        ),
    ),
    Equation(
        id="sgd",
        title="SGD with momentum",
        latex=r"\mathbf{m} \leftarrow \beta\,\mathbf{m} + \mathbf{g}, \qquad "
        r"\theta \leftarrow \theta - \eta\,\mathbf{m}",
        place="appendix B.1.1, Table 4 (fine-tuning)",
        symbols=(
            (r"\theta, \mathbf{g}, \mathbf{m}", "parameters, their gradient, its running sum", "any, the same"),
            (r"\beta, \eta", "momentum 0.9, learning rate", "numbers"),
        ),
        ops=("minivit.optim.optimizers.SGD",),
        notebook="12_optimisers",
        tag="momentum",
        tests=(
            OPTIMISER_TESTS + "test_sgd_by_hand",
            OPTIMISER_TESTS + "test_sgd_with_momentum_and_clipping_as_in_the_published_fine_tuning",
        ),
    ),
    Equation(
        id="adam",
        title="Adam",
        latex=r"m \leftarrow \beta_1 m + (1 - \beta_1)\,g, \quad v \leftarrow \beta_2 v + (1 - \beta_2)\,g^2, \quad "
        r"\theta \leftarrow \theta - \eta\,\frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}",
        place="section 4.1 (pre-training)",
        symbols=(
            (r"\theta, g, m, v", "parameters, their gradient, averages of it and of its square", "any, the same"),
            (r"\beta_1, \beta_2", "rates of the averages, 0.9 and 0.999", "numbers"),
            (r"\epsilon", "small constant against a division by zero, 0.00000001", "number"),
            ("t", "number of the update, from 1", "number"),
        ),
        ops=("minivit.optim.optimizers.AdamW",),
        notebook="12_optimisers",
        tag="Adam",
        tests=(OPTIMISER_TESTS + "test_adamw_without_decay_is_adam",),
    ),
    Equation(
        id="adamw",
        title="AdamW: decoupled weight decay",
        latex=r"\theta \leftarrow \theta - \eta\left(\frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon} "
        r"+ \lambda\,\theta\right)",
        place="section 4.1 and Table 3, as Adam with weight decay",
        symbols=(
            (r"\theta, m, v", "parameters and averages, as in Adam", "any, the same"),
            (r"\eta, \lambda", "learning rate, weight decay", "numbers"),
        ),
        ops=("minivit.optim.optimizers.AdamW", "minivit.optim.optimizers.is_kernel"),
        notebook="12_optimisers",
        tag="AdamW",
        tests=(
            OPTIMISER_TESTS + "test_adamw_decaying_everything",
            OPTIMISER_TESTS + "test_adamw_is_not_adam_with_l2_regularisation",
            OPTIMISER_TESTS + "test_adamw_agrees_with_torch",
            "tests/models/test_training_trajectory.py::test_float64",
        ),
    ),
    Equation(
        id="clipping",
        title="Clipping at the global norm",
        latex=r"\mathbf{g} \leftarrow \mathbf{g}\,\min\left(1, \frac{c}{\lVert\mathbf{g}\rVert_2}\right)",
        place="appendix B.1 and B.1.1, at norm 1",
        symbols=((r"\mathbf{g}", "all gradients as one vector", "(parameters,)"), ("c", "largest norm", "number")),
        ops=("minivit.optim.gradients.clip_by_global_norm", "minivit.optim.gradients.clip_scale"),
        notebook="12_optimisers",
        tag="clipping",
        tests=(
            "tests/optim/test_clipping.py::test_clipped_gradients_equal_the_recorded_ones_of_optax",
            "tests/optim/test_clipping.py::test_norm_is_that_of_all_gradients_as_one_vector",
        ),
    ),
    Equation(
        id="schedules",
        title="Warm-up, then cosine or linear decay",
        latex=r"\eta_t = \min\left(1, \frac{t}{T_w}\right) \left(\eta_T + (\eta - \eta_T)\,f(s)\right), \quad "
        r"f(s) = \begin{cases} \frac{1}{2}(1 + \cos \pi s) & \text{cosine} \\ 1 - s & \text{linear} \end{cases} "
        r"\quad s = \max\left(0, \frac{t - T_w}{T - T_w}\right)",
        place="section 4.1, Tables 3 and 4",
        symbols=(
            ("T", "updates of a training run", "number"),
            ("t, T_w", "updates done, updates of warm-up", "numbers"),
            (r"\eta, \eta_T", "base learning rate and final one", "numbers"),
        ),
        ops=("minivit.optim.schedules.warmup_cosine", "minivit.optim.schedules.warmup_linear"),
        notebook="12_optimisers",
        tag="warm-up",
        tests=(
            "tests/optim/test_schedules.py::test_rates_equal_the_recorded_ones",
            "tests/optim/test_schedules.py::test_halfway_values",
        ),
    ),
    Equation(
        id="dropout",
        title="Dropout",
        latex=r"\mathbf{y} = \mathbf{x} \odot \frac{\mathbf{b}}{1 - p_\mathrm{drop}}, \qquad "
        r"b_i \sim \mathrm{Bernoulli}(1 - p_\mathrm{drop})",
        place="appendix B.1 (after dense layers but the one of Eq. 5, and after Eq. 1)",
        symbols=(
            (r"\mathbf{x}, \mathbf{y}, \mathbf{b}", "input, output, mask", "any, the same"),
            (r"p_\mathrm{drop}", "rate of dropout", "number"),
        ),
        ops=("minivit.ops.dropping.dropout", "minivit.nn.layers.Dropout"),
        notebook="14_augmentation",
        tag="dropout",
        tests=(
            "tests/ops/test_dropping.py::test_dropping",
            LAYER_TESTS + "test_dropout_zeroes_at_its_rate_and_scales_the_rest",
            "tests/models/test_vit.py::test_the_places_and_rates_of_noise",
        ),
    ),
    Equation(
        id="position-interpolation",
        title="Positions on another grid",
        latex=r"G' = R_h\, G\, R_w^\top",
        place="section 3.2, in words",
        symbols=(
            ("G", "one feature of the position embedding, as a grid", "(rows, columns)"),
            ("R_h, R_w", "resize rows and columns; each of their rows sums to 1", "(new, old)"),
        ),
        ops=("minivit.models.posemb.resize_posemb",),
        notebook="17_higher_resolution",
        tag="interpolation",
        tests=(
            "tests/models/test_resize_posemb.py::test_against_loops",
            "tests/models/test_resize_posemb.py::test_recorded_tables",
            "tests/models/test_resize_posemb.py::test_the_class_token_is_copied_and_touches_nothing_else",
        ),
    ),
    Equation(
        id="mean-pooling",
        title="Mean pooling instead of a [class] token",
        latex=r"\mathbf{y} = \frac{1}{N_p}\sum_{i=1}^{N_p} \mathrm{LN}(\mathbf{z}_L^i)",
        place="appendix D.3",
        symbols=(
            (r"\mathbf{z}_L^i", "token of patch i after the last block", "(B, D)"),
            (r"\mathbf{y}", "features of the image", "(B, D)"),
        ),
        ops=("minivit.models.vit.ViT.classify", "minivit.ops.reductions.mean"),
        notebook="19_class_token_or_pooling",
        tag="pooling",
        tests=("tests/models/test_vit.py::test_what_the_head_reads",),
    ),
    Equation(
        id="attention-distance",
        title="Mean attention distance",
        latex=r"d = \frac{1}{N_p}\sum_{i} \frac{\sum_{j} A_{ij}\, \lVert \mathbf{c}_i - \mathbf{c}_j \rVert_2}"
        r"{\sum_{j} A_{ij}}",
        place="section 4.5 and appendix D.7, Figures 7 and 11",
        symbols=(
            ("A", "attention weights of one head, patches only", "(..., N_p, N_p)"),
            (r"\mathbf{c}_i", "centre of patch i, in pixels", "(2,)"),
            ("d", "distance, in pixels", "(...)"),
        ),
        ops=("minivit.models.inside.attention_distance",),
        notebook="18_looking_inside",
        tag="attention distance",
        tests=(
            "tests/models/test_inside.py::test_attention_distance_in_loops",
            "tests/models/test_inside.py::test_distance_of_uniform_attention_in_a_row_of_patches",
        ),
    ),
    Equation(
        id="rollout",
        title="Attention rollout",
        latex=r"R = \prod_{\ell=L}^{1} \frac{1}{2}\left(\mathbf{I} + \frac{1}{H}\sum_{i=1}^{H} A_\ell^{(i)}\right)",
        place="section 4.5 and appendix D.8, Figures 6 and 14",
        symbols=(
            (r"A_\ell^{(i)}", "attention weights of head i in block ℓ", "(B, N, N)"),
            ("R", "share of input token j in output token i", "(B, N, N)"),
        ),
        ops=("minivit.models.inside.rollout",),
        notebook="18_looking_inside",
        tag="rollout",
        tests=(
            "tests/models/test_inside.py::test_rollout_is_the_definition_in_loops",
            "tests/models/test_inside.py::test_rollout_applies_the_first_layer_first",
        ),
    ),
)
