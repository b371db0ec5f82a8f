"""The systems of the family."""

from minivit.lineage.system import ANCESTORS, System

SYSTEMS: dict[str, System] = {
    "deit": System(
        2020,
        "Touvron et al., Training data-efficient image transformers & distillation through attention, arXiv 2012.12877",
        "a second token whose head learns the answers of a teacher",
        "24_distillation",
    ),
    "clip": System(
        2021,
        "Radford et al., Learning Transferable Visual Models From Natural Language Supervision, arXiv 2103.00020",
        "images and sentences in one space, so that a sentence is a classifier",
        "26_clip_in_small",
    ),
    "dino": System(
        2021,
        "Caron et al., Emerging Properties in Self-Supervised Vision Transformers, arXiv 2104.14294",
        "a student matches, from one crop of an image, the answer of its slower copy to another crop",
        "23_dino",
    ),
    "mae": System(
        2021,
        "He et al., Masked Autoencoders Are Scalable Vision Learners, arXiv 2111.06377",
        "predict the pixels of three patches of four from the fourth",
        "22_masked_autoencoders",
    ),
    # parts of the modern ViT, relative positions
    "modern": System(
        2023,
        "Fang et al., EVA-02: A Visual Representation for Neon Genesis, arXiv 2303.11331; with RoPE-ViT, DINOv3, BEiT",
        "rotary positions, RMSNorm, QK-norm, SwiGLU, registers, LayerScale: parts that later models exchange",
        "25_modern_vit",
        recordings=(
            "eva02",
            "rope_vit",
            "dinov3",
            "vit_modern",
            "vit_qknorm",
            "beit_relpos",
            "beit_shared_relpos",
            "vit_relpos",
        ),
    ),
    "relative": System(
        2020,
        "Dosovitskiy et al., An Image is Worth 16x16 Words, appendix D.4, arXiv 2010.11929; ALiBi, arXiv 2108.12409",
        "scores of attention that know how far apart two tokens are",
        recordings=("vit_rel1d", "alibi2d"),
    ),
    # convolutions
    "noisystudent": System(
        2019,
        "Xie et al., Self-training with Noisy Student improves ImageNet classification, arXiv 1911.04252",
        "a network labels images, a noised one of at least its size learns from them, and labels in its turn",
    ),
    "convnext": System(
        2022,
        "Liu et al., A ConvNet for the 2020s, arXiv 2201.03545; V2: Woo et al. 2023, arXiv 2301.00808",
        "a convolutional network with a Transformer's block: large depthwise windows instead of attention",
        "30_windows_hierarchies_convolutions",
        recordings=("convnextv2",),
    ),
    "efficientnet": System(
        2019,
        "Tan & Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, arXiv 1905.11946",
        "depth, width and image size grow together; blocks that are wide inside and weigh their channels",
        recordings=("mbconv",),
    ),
    "coatnet": System(
        2021,
        "Dai et al., CoAtNet: Marrying Convolution and Attention for All Data Sizes, arXiv 2106.04803",
        "stages of convolutions, then of attention with a learned weight for every difference of places",
    ),
    "botnet": System(
        2021,
        "Srinivas et al., Bottleneck Transformers for Visual Recognition, arXiv 2101.11605",
        "a ResNet whose last stage attends over the map, to relative rows and columns",
    ),
    # windows
    "swin": System(
        2021,
        "Liu et al., Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, arXiv 2103.14030",
        "attention inside windows, which move in every second block, and maps that shrink",
        "30_windows_hierarchies_convolutions",
    ),
    "hiera": System(
        2023,
        "Ryali et al., Hiera: A Hierarchical Vision Transformer without the Bells-and-Whistles, arXiv 2306.00989",
        "a hierarchy of plain blocks: queries are pooled, and windows are runs of a sequence in another order",
        "30_windows_hierarchies_convolutions",
    ),
    # attention in place of convolution
    "sasa": System(
        2019,
        "Ramachandran et al., Stand-Alone Self-Attention in Vision Models, arXiv 1906.05909",
        "every pixel attends to a window around it, in place of a 3x3 convolution",
        "29_what_attention_can_express",
    ),
    "cordonnier": System(
        2019,
        "Cordonnier et al., On the Relationship between Self-Attention and Convolutional Layers, arXiv 1911.03584",
        "attention by place alone, one head for each place of a kernel, is a convolution",
        "29_what_attention_can_express",
    ),
    "axial": System(
        2020,
        "Wang et al., Axial-DeepLab: Stand-Alone Axial-Attention for Panoptic Segmentation, arXiv 2003.07853",
        "attention along columns, then along rows, with places in queries, keys and values",
        "29_what_attention_can_express",
    ),
    "visual_transformer": System(
        2020,
        "Wu et al., Visual Transformers: Token-based Image Representation and Processing, arXiv 2006.03677",
        "a few tokens gather pixels by content, and attend to each other in place of the last convolutions",
    ),
    **ANCESTORS,
    # language
    "blip2": System(
        2023,
        "Li et al., BLIP-2: Bootstrapping Language-Image Pre-training with Frozen Image Encoders and Large Language "
        "Models, arXiv 2301.12597",
        "a few learned queries read a frozen ViT; they are trained to match, to tell apart and to write captions",
        "33_asked_about_pictures",
    ),
    "flamingo": System(
        2022,
        "Alayrac et al., Flamingo: a Visual Language Model for Few-Shot Learning, arXiv 2204.14198",
        "between the layers of a frozen language model, words read a few vectors of an image through gates",
        "33_asked_about_pictures",
    ),
    "llava": System(
        2023,
        "Liu et al., Visual Instruction Tuning, arXiv 2304.08485; version 1.5: arXiv 2310.03744",
        "projected tokens of a frozen ViT are the first words of a language model, which answers questions",
        "33_asked_about_pictures",
    ),
    # sizes
    "map_head": System(
        2021,
        "Zhai et al., Scaling Vision Transformers, arXiv 2106.04560",
        "a learned query reads all patches by attention, in place of a [class] token",
        "26_clip_in_small",
        recordings=("vit_map_head",),
    ),
    "flexivit": System(
        2022,
        "Beyer et al., FlexiViT: One Model for All Patch Sizes, arXiv 2212.08013",
        "the patch size is drawn in every step; kernels are resized by a pseudo-inverse",
    ),
    "navit": System(
        2023,
        "Dehghani et al., Patch n' Pack: NaViT, a Vision Transformer for any Aspect Ratio and Resolution, "
        "arXiv 2307.06304",
        "images of all sizes are packed into one sequence",
    ),
    "naflexvit": System(
        2025,
        "Tschannen et al., SigLIP 2: Multilingual Vision-Language Encoders, arXiv 2502.14786",
        "images keep their shape: positions are resized to each grid, and short sequences are filled up",
    ),
    # generation
    "dit": System(
        2022,
        "Peebles & Xie, Scalable Diffusion Models with Transformers, arXiv 2212.09748",
        "the network predicts the noise in a picture; time and class steer its norms",
        "27_dit_in_small",
    ),
    "mmdit": System(
        2024,
        "Esser et al., Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, arXiv 2403.03206",
        "text and image are two streams with weights of their own and one attention; images flow along straight lines",
    ),
    "spacetime": System(
        2024,
        "after OpenAI, Video generation models as world simulators, which has no code; compare Ma et al., Latte, "
        "arXiv 2401.03048",
        "clips are cut into patches of space and time, the tokens of a diffusion Transformer: a demonstration",
    ),
    # dense labels
    "segmenter": System(
        2021,
        "Strudel et al., Segmenter: Transformer for Semantic Segmentation, arXiv 2105.05633",
        "a class for every pixel: patches and learned class tokens agree by the cosine of their vectors",
    ),
    # video
    "vivit": System(
        2021,
        "Arnab et al., ViViT: A Video Vision Transformer, arXiv 2103.15691",
        "tokens are blocks of pixels in space and time; one encoder for space and a second for time",
        "35_time",
    ),
    "timesformer": System(
        2021,
        "Bertasius et al., Is Space-Time Attention All You Need for Video Understanding?, arXiv 2102.05095",
        "attention is divided: first along time at each place, then within each frame",
        "35_time",
    ),
    # self-supervision: masked tokens
    "beit": System(
        2021,
        "Bao et al., BEiT: BERT Pre-Training of Image Transformers, arXiv 2106.08254",
        "predict the visual tokens of masked blocks of patches",
        "21_masked_patch_prediction",
        recordings=("beit_mim",),
    ),
    "masked_patch": System(
        2020,
        "Dosovitskiy et al., An Image is Worth 16x16 Words, appendix B.1.2, arXiv 2010.11929",
        "predict the mean colours of corrupted patches",
        "21_masked_patch_prediction",
        recordings=("vit_masked_patch",),
    ),
    "simmim": System(
        2021,
        "Xie et al., SimMIM: A Simple Framework for Masked Image Modeling, arXiv 2111.09886",
        "predict the pixels of large masked squares by one matrix, all tokens in the encoder",
        "21_masked_patch_prediction",
    ),
    # self-supervision: pixels as a text, a sigmoid for every pair
    "igpt": System(
        2020,
        "Chen et al., Generative Pretraining from Pixels, ICML 2020",
        "an image is a text of pixels, and each is predicted from those before it",
    ),
    "siglip": System(
        2023,
        "Zhai et al., Sigmoid Loss for Language Image Pre-Training, arXiv 2303.15343",
        "every pair of an image and a text is a question of its own: do they belong together?",
        "26_clip_in_small",
    ),
    "segformer": System(
        2021,
        "Xie et al., SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers, "
        "arXiv 2105.15203",
        "a hierarchy without positions, whose maps a head mixes pixel by pixel",
    ),
    # self-supervision: DINOv2
    "dinov2": System(
        2023,
        "Oquab et al., DINOv2: Learning Robust Visual Features without Supervision, arXiv 2304.07193; registers: "
        "Darcet et al., arXiv 2309.16588",
        "DINO that also answers for masked patches, spreads its features, and learns from tokens beside the image",
    ),
    # dense labels: plain backbones, prompts
    "vitdet": System(
        2022,
        "Li et al., Exploring Plain Vision Transformer Backbones for Object Detection, arXiv 2203.16527",
        "a plain ViT reads large maps by windows and a few whole-map blocks; its last map alone makes a pyramid",
        "34_masks_on_request",
    ),
    "sam": System(
        2023,
        "Kirillov et al., Segment Anything, arXiv 2304.02643",
        "masks of what a click or a box points at: three, since a click may mean several things, each with a score",
        "34_masks_on_request",
    ),
}
