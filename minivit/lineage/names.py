"""Where the objectives and networks of the family stand, by the names that a run knows them by."""

OBJECTIVES: dict[str, str] = {  # name -> "module:class", of what a run can minimise beside classification
    "deit": "deit:DeiT",
    "clip": "clip:CLIP",
    "blip2": "blip2:BLIP2",  # language
    "llava": "llava:LLaVA",
    "flamingo": "flamingo:Flamingo",
    "dino": "dino:DINO",
    "mae": "mae:MAE",
    # generation
    "dit": "dit:Denoising",
    "mmdit": "mmdit:TextFlow",
    "spacetime": "spacetime:ClipFlow",
    # dense labels
    "segmenter": "segmenter:Segmenter",
    # self-supervision: masked tokens
    "beit": "beit:BEiT",
    "masked_patch": "masked_patch:MaskedPatch",
    "simmim": "simmim:SimMIM",
    # self-supervision: pixels as a text, a sigmoid for every pair
    "igpt": "igpt:IGPT",
    "siglip": "siglip:SigLIP",
    "segformer": "segformer:SegFormer",
    # dense labels: prompts
    "sam": "sam:SAM",
    # self-supervision: DINOv2
    "dinov2": "dinov2_objective:DINOv2",
}
# A family of models by its name: where its `Family` stands, "file:NAME", and a pattern of the names of its variants.
# Its file is imported when it is used.
NETWORKS: dict[str, tuple[str, str]] = {
    # parts of the modern ViT
    "modern": ("modern:FAMILY", r"(eva02|beit|modern|vit_relpos)_.*|vit_.*(rope|dinov3).*"),
    # windows
    "swin": ("swin:FAMILY", r"swin-.*"),
    "hiera": ("hiera:FAMILY", r"hiera-.*"),
    # convolutions
    "convnext": ("convnext:FAMILY", r"convnext(v2)?-.*"),
    "efficientnet": ("efficientnet:FAMILY", r"efficientnet-.*"),
    "coatnet": ("coatnet:FAMILY", r"coatnet-.*"),
    "botnet": ("botnet:FAMILY", r"botnet-.*"),
    # attention in place of convolution
    "sasa": ("sasa:FAMILY", r"sasa-.*"),
    "cordonnier": ("cordonnier:FAMILY", r"attention-cnn.*"),
    "axial": ("axial:FAMILY", r"axial-.*"),
    "visual_transformer": ("visual_transformer:FAMILY", r"vt-.*"),
    # ancestors, cheaper attention, muP
    "transformer2017": ("transformer2017:FAMILY", r"transformer2017-.+"),
    "flash": ("flash:FAMILY", r"flash-.+"),
    "linformer": ("linformer:FAMILY", r"linformer-.+"),
    "performer": ("performer:FAMILY", r"performer-.+"),
    "mup": ("mup:FAMILY", r"mup-.+"),
    # sizes
    "map_head": ("map_head:FAMILY", r"map-.*"),
    "flexivit": ("flexivit:FAMILY", r"flexivit-.*"),
    "navit": ("navit:FAMILY", r"navit-.*"),
    "naflexvit": ("naflexvit:FAMILY", r"naflexvit-.*"),
    # video
    "vivit": ("vivit:FAMILY", r"vivit-.*"),
    "timesformer": ("timesformer:FAMILY", r"timesformer.*"),
    # dense labels
    "segformer": ("mit:FAMILY", r"mit-.*"),
    # self-supervision: DINOv2
    "dinov2": ("dinov2:FAMILY", r"dinov2[-_].*"),
    # dense labels: plain backbones
    "vitdet": ("vitdet:FAMILY", r"vitdet-.*"),
    "sam": ("sam_encoder:FAMILY", r"sam-.*"),
}
