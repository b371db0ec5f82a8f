"""What the grader calls. Arguments and results are float64 arrays, numbers and tuples; arguments stay as they are.

hard_loss(class_logits (B, K), distil_logits (B, K), labels (B,) int64, teacher_logits (B, K))
    -> (loss, dclass (B, K), ddistil (B, K))
    Half the mean cross-entropy of class_logits with the labels, half that of distil_logits with the teacher's answer,
    its largest logit.

soft_loss(class_logits, distil_logits, labels, teacher_logits, alpha, tau) -> (loss, dclass, ddistil)
    (1 - alpha) times the mean cross-entropy of class_logits with the labels, plus alpha tau^2 times the mean over rows
    of KL(softmax(teacher_logits / tau) || softmax(distil_logits / tau)).

vit_distilled(params, config, images (B, h, w, C), training) -> (class_logits, distil_logits) in training,
    (class_logits + distil_logits) / 2 otherwise
    The ViT of A4 with two tokens in front of the patches: class, distillation. params has besides
    distillation_token (1, 1, D), distillation_head.weight (D, K) and distillation_head.bias (K,);
    position_embedding is (1, 2 + N, D). config["classifier"] is "token".

Nothing flows to the teacher.
"""

from teaching import hard_loss, soft_loss, vit_distilled

__all__ = ["hard_loss", "soft_loss", "vit_distilled"]
