"""What is told of the paper, claim by claim, and what holds.

`paper` quotes, with its place; `here` takes every figure from a table that is computed: {table|row|column}.
"""

from dataclasses import dataclass

OTHERS, MISSING = "other papers", "not in the paper"


@dataclass(frozen=True)
class Claim:
    """told: a statement as it is repeated.   paper: what the paper says, "" if `here` says all.   here: what we
    computed or reproduced, "" for nothing.   source: of what `paper` says."""

    told: str
    paper: str
    here: str = ""
    source: str = "quoted"


CONTRADICTED = (
    Claim(
        "88.55 % on ImageNet after pre-training on ImageNet-21k",
        "JFT-300M. From ImageNet-21k: H/14 {table-5|I21k → ImageNet|H/14} at 384 px (Table 5), L/16 85.30 at 512 px "
        "(Table 2)",
    ),
    Claim(
        "fine-tuned at 384 px for Table 2",
        "512 px (L/16) and 518 px (H/14), averaged weights (4.1); 384 px holds for Tables 5 and 6",
        "tokens: {tokens|512 px, patch 16|tokens} and {tokens|518 px, patch 14|tokens}, not "
        "{tokens|384 px, patch 16|tokens}",
    ),
    Claim(
        "R50+B/16: 84.0 at 8.4 exaFLOPs, below B/16 with 84.5",
        "{table-6|R50+B/16|ImageNet} at {table-6|R50+B/16|exaFLOPs}, above {table-6|B/16|ImageNet} at "
        "{table-6|B/16|exaFLOPs} (Table 6)",
        "{exaflops|R50+B/16|here} and {exaflops|B/16|here} exaFLOPs",
    ),
    Claim(
        "R50+L/16: 87.1 at 21.0 exaFLOPs, below L/16 with 87.7",
        "{table-6|R50+L/16|ImageNet} above {table-6|L/16|ImageNet} after 7 epochs, equal after 14 (Table 6)",
        "{exaflops|R50+L/16|here} and {exaflops|L/16|here} exaFLOPs for {exaflops|R50+L/16|epochs} epochs",
    ),
    Claim(
        "the plain ViT always beats its hybrid",
        "hybrids slightly ahead at small budgets, no difference for large models (4.4)",
        "in small: hybrid minus ViT {hybrids|hybrid minus ViT|accuracy} points",
    ),
    Claim(
        "from ImageNet-1k alone, R152x2 and L/16 tie at 76.5",
        "L/16 {table-5|ImageNet → ImageNet|L/16} (Table 5). For BiT no number is printed; the text calls it better",
    ),
    Claim(
        "R152x2 from JFT: 87.5; L/16 from JFT: 88.6",
        "R152x2 {table-6|R152x2|ImageNet}, 14 epochs {table-6|R152x2 (14 epochs)|ImageNet}; 87.54 is R152x4. L/16 "
        "{table-5|JFT → ImageNet|L/16} (384 px) or 87.76 (512 px); 88.55 is H/14 (Tables 2, 5, 6)",
    ),
    Claim(
        "VTAB: BiT-L 76.3, L/16 78.4, H/14 79.3",
        "BiT-L 76.29, L/16 76.28, H/14 77.63 (Table 2)",
        "L/16 {vtab|L/16 JFT|all 19}, H/14 {vtab|H/14 JFT|all 19}",
    ),
    Claim(
        "VTAB groups of H/14: 80.7, 86.7, 66.5",
        "tasks in Table 9",
        "{vtab|H/14 JFT|Natural}, {vtab|H/14 JFT|Specialized}, {vtab|H/14 JFT|Structured}",
    ),
    Claim(
        "VTAB groups of L/16: 79.2, 85.5, 64.7",
        "tasks in Table 9",
        "{vtab|L/16 JFT|Natural}, {vtab|L/16 JFT|Specialized}, {vtab|L/16 JFT|Structured}",
    ),
    Claim(
        "ViT wins all three groups of VTAB",
        "H/14 is ahead on Natural and Structured, similar to BiT on Specialized (4.2)",
    ),
    Claim(
        "subsets of JFT (10, 30, 100, 300 million) in Figure 5",
        "Figure 4; 9, 30, 90 million and all. Figure 5 is about compute (Table 6)",
    ),
    Claim(
        "with 10 million images ResNet and ViT tie; with 30 the ViT begins to overtake",
        "B/32 is much worse than R50 with 9 million, better from 90 million on (4.3)",
        "in small: the CNN leads by {data|500 images, 300 updates|CNN minus ViT} and "
        "{data|32,000 images, 300 updates|CNN minus ViT}; we found no lasting crossing",
    ),
    Claim(
        "a large model on a small set: Figure 4",
        "Figure 3 and Table 5",
        "L/16 minus B/16: {differences|L/16 minus B/16, pre-trained on ImageNet|value} from ImageNet, "
        "{differences|L/16 minus B/16, pre-trained on I21k|value} from ImageNet-21k, "
        "{differences|L/16 minus B/16, pre-trained on JFT|value} from JFT",
    ),
    Claim(
        "pre-trained with AdamW, rate 1e-3, decay 0.1",
        "Adam with a large weight decay; 1e-3 goes with 0.03 (ImageNet-21k), 0.1 with 3e-4 to 8e-4 (JFT) (Table 3)",
    ),
    Claim(
        "H/14 needs a quarter of BiT-L's wall-clock time",
        "2.5k against 9.9k core-days; durations are not given (Table 2)",
        "{core-days|H/14 JFT|of BiT-L's} of the core-days",
    ),
    Claim(
        "trained on 2,500 TPU cores for 30 days",
        "2.5k core-days in all (Table 2); 8 cores for about 30 days is L/16 from ImageNet-21k, 0.23k (4.2)",
        "the latter: {core-days|8 cores for 30 days|TPUv3-core-days} core-days",
    ),
    Claim(
        "4 to 10 times less compute than ResNets",
        "about 2 to 4 times (4.4)",
        "in Table 6: {cheaper|R101x1|ratio} (R101x1) to {cheaper|R152x2 (14 epochs)|ratio} (R152x2), but "
        "{cheaper|R50x1|ratio} for R50x1. Against BiT-L in core-days: {core-days|H/14 JFT|times less than BiT-L} "
        "(H/14), "
        "{core-days|L/16 JFT|times less than BiT-L} (L/16)",
    ),
    Claim(
        "pooling was tried and is 0.1 % behind [class]",
        "the first attempt was far behind because of its learning rate; at its own rate it is equal; no number (D.3)",
    ),
    Claim(
        "what failed is told in section 4.5",
        "4.5 looks inside the model; data 4.3, scaling 4.4, pooling D.3, positions D.4",
    ),
    Claim(
        "without positions 3 % top-1 less",
        "ImageNet 5-shot linear, B/16 (Table 8)",
        "{differences|no positions minus 1-D|value} points in Table 8; in small, on digits: "
        "{positions|none|minus learned (1-D)}",
    ),
    Claim(
        "resampling positions is the only place that knows 2-D structure",
        "two places: cutting patches is the other (3.2)",
    ),
    Claim(
        "positions are resampled bilinearly",
        '"2D interpolation" (3.2); the published code does it bilinearly',
        "in small: 2-D minus 1-D {resolution|1-D interpolation|2-D minus this}, 2-D minus fresh ones "
        "{resolution|fresh|2-D minus this} points",
    ),
    Claim("Noisy Student has no ReaL result", "{table-2|ReaL|Noisy Student (L2)} (Table 2)"),
    Claim(
        "H/14 only matches Noisy Student",
        "88.55 against 88.4, or 88.5 (Table 2)",
        "Noisy Student takes {differences|Noisy Student over H/14, core-days|value} H/14's core-days",
    ),
    Claim(
        "Cordonnier et al. are the main motivation",
        "the most related model, with patches of 2 × 2; ViT's step is scale (section 2)",
    ),
    Claim(
        "the encoder is BERT's, pre-LN",
        "BERT and the Transformer of 2017 are post-LN; ViT cites others for pre-LN (3.1)",
        "in small, with many blocks: post-LN fails in {norms|post-LN|runs that did not learn} runs, pre-LN in "
        "{norms|pre-LN|runs that did not learn}",
    ),
    Claim(
        "parameters by patch: 86M, 88M, 307M, 306M, 632M",
        "86M, 307M, 632M without patch sizes (Table 1)",
        "B/16 {sizes|B/16|head of 1,000 classes}, B/32 {sizes|B/32|head of 1,000 classes}, L/16 "
        "{sizes|L/16|head of 1,000 classes}, L/32 {sizes|L/32|head of 1,000 classes}, H/14 "
        "{sizes|H/14|head of 1,000 classes}",
    ),
    Claim(
        "patch 14 against 16 against 32, four times the FLOPs each",
        "14 and 16 are never compared at one size; B/32 {table-6|B/32|exaFLOPs}, B/16 {table-6|B/16|exaFLOPs} exaFLOPs "
        "(Table 6)",
        "B/16 over B/32: {differences|B/16 over B/32, GMAC|value}; Table 6: "
        "{differences|B/16 over B/32, exaFLOPs of the paper|value}. In small, patches of half the side: "
        "{shapes|patch_size 4 instead of 8|1000 updates} points",
    ),
    Claim(
        "scaling laws of language models followed ViT",
        "Kaplan et al., arXiv 2001.08361, came before ViT, arXiv 2010.11929",
        source=OTHERS,
    ),
    Claim("NFNet belongs to ViT's background of 2020", "arXiv 2102.06171 came after ViT", source=OTHERS),
    Claim(
        "Swin, DeiT, MAE, DINO, SegFormer within six months",
        "by arXiv number: DeiT 2012, Swin 2103, DINO 2104 yes; SegFormer 2105, MAE 2111 no",
        source=OTHERS,
    ),
    Claim(
        "the best result stays with pure ViTs over CoAtNet",
        "CoAtNet-7 90.88 (JFT-3B) against ViT-G/14 90.45 (arXiv 2106.04803, 2106.04560)",
        source=OTHERS,
    ),
    Claim(
        "DeiT and MAE replaced [class] by pooling, DeiT III dropped it",
        "DeiT adds a second token; DeiT III keeps [class]; MAE pre-trains with it and averages patches for fine-tuning",
        source=OTHERS,
    ),
    Claim(
        "iGPT-L has 72 % in a linear probe",
        "72.0 is iGPT-XL with 15,360 features; L has 60.3 (32 px) and 65.2 (48 px) (Chen et al. 2020)",
        source=OTHERS,
    ),
    Claim(
        "R50+B/32: 87.90 on ImageNet; ReaL of L/16: ± 0.05",
        "{table-6|R50+B/32|ImageNet} (Table 6); {table-2|ReaL|L/16 JFT} (Table 2)",
    ),
    Claim(
        "H/14: ImageNet 88.36, VTAB 77.16",
        "88.55, 77.63 (Table 2). Later surveys quote the others from the first version, which we have not seen",
    ),
)

ABSENT = (
    Claim("R152x2 from ImageNet-21k: 84.0", "no such number is printed", source=MISSING),
    Claim(
        "RandAugment and Mixup are mandatory, without them 1 to 2 points less",
        "neither is in the paper; DeiT brought both",
        "in small: RandAugment {augmentation|RandAugment (2, 5)|minus none}, mixup {augmentation|mixup|minus none} "
        "points",
        source=MISSING,
    ),
    Claim(
        "an ablation shows that pre-LN wins",
        "no such experiment",
        "in small, the loss with many blocks: pre-LN {norms|pre-LN, warm-up|loss at the best rate}, post-LN "
        "{norms|post-LN, warm-up|loss at the best rate}, both with warm-up",
        source=MISSING,
    ),
    Claim("VTAB groups of BiT-L: 78.7, 84.4, 60.3", "only bars (Figure 2)", source=MISSING),
    Claim(
        "ResNet-152 from scratch: 78.6",
        "no such number; B/16 has {table-5|ImageNet → ImageNet|B/16} (Table 5)",
        source=MISSING,
    ),
    Claim(
        "pre-trained with a sigmoid loss for several labels",
        "the authors said so beside their code",
        source=MISSING,
    ),
    Claim("the authors admit that patch tokens lack a theory", "they do not", source=MISSING),
    Claim("rejected by NeurIPS 2020", "we found no source at all", source=MISSING),
    Claim(
        "BiT-L has 928 million parameters, EfficientNet-L2 480",
        "neither is in the paper",
        "R152x4 without head: {sizes|R152x4|without head}",
        source=MISSING,
    ),
)

DISAGREES = (  # with itself
    Claim(
        "exaFLOPs of R50+L/16",
        "{table-6|R50+L/16|exaFLOPs} for 7 epochs, {table-6|R50+L/16 (14 epochs)|exaFLOPs} for 14 (Table 6)",
        "{exaflops|R50+L/16|here} and {exaflops|R50+L/16 (14 epochs)|here}; the last over the first in the paper: "
        "{differences|R50+L/16, 14 over 7 epochs, exaFLOPs of the paper|value}",
    ),
    Claim(
        "H/14 from JFT at 384 px",
        "ImageNet {table-5|JFT → ImageNet|H/14}, ReaL {table-5|JFT → ReaL|H/14} (Table 5) or "
        "{table-6|H/14|ImageNet}, {table-6|H/14|ReaL} (Table 6); CIFAR-100, Pets and Flowers differ as well",
    ),
    Claim(
        "hybrids are trained like their ViT (B.1)",
        "R50+L/32 {table-3|R50+L/32 JFT|rate}, L/32 {table-3|L/32 JFT|rate} (Table 3)",
    ),
    Claim(
        "the rate 0.06 of fine-tuning on ImageNet",
        "by the text only for ResNets and hybrids, by Table 4 for all",
    ),
    Claim(
        "307 million parameters of Large",
        "Table 1, without a patch size",
        "L/16 {sizes|L/16|head of 1,000 classes}, L/32 {sizes|L/32|head of 1,000 classes}",
    ),
)

AGREES = (
    Claim("ImageNet 1.3 million images, ImageNet-21k 14, JFT 303 with 18,000 classes", "4.1"),
    Claim("H/14: ImageNet 88.55, ReaL 90.72", "Table 2"),
    Claim(
        "L/16: 87.76, 90.54, 680 core-days",
        "Table 2",
        "{core-days|L/16 JFT|of BiT-L's} of BiT-L's core-days",
    ),
    Claim("BiT-L: 87.54, 90.54, 9,900 core-days; Noisy Student: 88.4, 12,300", "Table 2"),
    Claim("H/14 is one point above BiT-L", "Table 2", "{differences|H/14 minus BiT-L, ImageNet|value}"),
    Claim("L/16 from ImageNet-21k: 85.3", "Table 2: 85.30 at 512 px; 85.15 at 384 px (Table 5)"),
    Claim("B/16 from scratch: 77.9", "Table 5: 77.91 (300 epochs at 224 px, then fine-tuned at 384)"),
    Claim("12, 24 and 32 layers; widths 768, 1024, 1280; MLP 3072, 4096, 5120; heads 12, 16, 16", "Table 1"),
    Claim("batches of 4,096, 10,000 steps of warm-up", "Table 3"),
    Claim(
        "224 px: 196 patches and [class]; H/14: 257 tokens; at 384 px the grid is 24 × 24",
        "N = HW/P² (3.1)",
        "{tokens|224 px, patch 16|tokens}, {tokens|224 px, patch 14|tokens}; {tokens|384 px, patch 16|grid}",
    ),
    Claim(
        "1-D, 2-D and relative positions are equal",
        "within 0.003 (Table 8)",
        "in small, minus learned 1-D: learned 2-D {positions|learned2d|minus learned (1-D)}, fixed sines "
        "{positions|sincos2d|minus learned (1-D)}",
    ),
    Claim(
        "depth helps most, width least; smaller patches help",
        "D.2, Figure 8, for a far larger base",
        "in small only patches agree: {shapes|patch_size 4 instead of 8|1000 updates}; more blocks: "
        "{shapes|depth 8 instead of 3|1000 updates}; twice the width: {shapes|width 96 instead of 48|1000 updates}",
    ),
    Claim("global heads in low layers; positions learn a 2-D grid", "4.5, some heads"),
    Claim(
        "self-supervision: B/16 79.9, 2 above scratch, 4 below supervised",
        "4.6",
        "{differences|self-supervised B/16 minus from scratch|value} and "
        "{differences|self-supervised B/16 minus supervised on I21k|value}; in small, with MAE: "
        "{masked|scratch|75 % minus this} above scratch; for equal time {masked|scratch, longer|75 % minus this}",
    ),
    Claim(
        "from ImageNet-21k, Large is about as good as Base",
        '"similar" (4.3); {table-5|I21k → ImageNet|B/16} and {table-5|I21k → ImageNet|L/16}, '
        "{table-5|I21k → ImageNet|B/32} and {table-5|I21k → ImageNet|L/32} (Table 5)",
        "L/16 minus B/16: {differences|L/16 minus B/16, pre-trained on I21k|value}",
    ),
    Claim("detection, segmentation and self-supervision are left open", "4.6, 5"),
    Claim("ObjectNet, H/14: top-1 61.7, top-5 82.1", "D.9"),
    Claim("twelve authors, ICLR 2021", "title page"),
)
