"""What the grader calls. Arguments and results are float64 arrays, numbers and tuples; arguments stay as they are.

clip_loss(image (B, D), text (B, D), log_scale) -> (loss, dimage, dtext, dlog_scale)
    Row i of image belongs to row i of text. Rows are brought to unit length; the logits are exp(log_scale) times
    their products, (B, B); the loss is the average of two mean cross-entropies, one over the texts for each image and
    one over the images for each text.

siglip_loss(image (B, D), text (B, D), log_scale, bias) -> (loss, dimage, dtext, dlog_scale, dbias)
    Unit rows and logits as before, plus the bias. Every pair is one yes-no question; the loss adds them over the texts
    and averages over images.

zero_shot(image (B, D), class_texts (K, P, D)) -> (B,) int64
    P prompts describe each class. Their unit vectors are averaged and brought to unit length again: the class with
    the largest cosine wins.

Gradients are those of the loss with respect to the arguments as they came, before they were brought to unit length.
"""

from contrast import clip_loss, siglip_loss, zero_shot

__all__ = ["clip_loss", "siglip_loss", "zero_shot"]
