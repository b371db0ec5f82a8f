"""What was recorded of Noisy Student: selection and loss of a second implementation, with a teacher's answers."""

import numpy as np

from minivit import functional as F
from minivit.lineage.noisystudent import choose, hardened, loss, smoothed
from minivit.lineage.verify import Case
from minivit.tensor import Tensor, grad


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording, by its name there."""
    config, labels = case.config, case.input("labels")
    temperature = config.get("temperature", 1.0)
    p = F.softmax(Tensor(case.input("teacher_logits") * (1 / temperature))).data
    threshold = config.get("threshold", 0.3)
    chosen, confidence = choose(p, threshold, config["per_class"]), p.max(axis=1)
    true = smoothed(labels, p.shape[1], config.get("label_smoothing", 0.0))
    found = {
        "probabilities": p,
        "confidence": confidence,
        "label": p.argmax(axis=1),
        "kept": (confidence >= threshold).astype(np.int64),
        "chosen": chosen,
        "smoothed": true,
    }
    of_labelled = Tensor(case.input("student_labelled"), requires_grad=True)
    of_others = Tensor(case.input("student_unlabelled"), requires_grad=True)
    for kind, targets in (("soft", p), ("hard", hardened(p))):
        both = Tensor(np.concatenate([true, targets[chosen]]))
        joint = loss(F.concat(of_labelled, of_others, axis=0), both)
        gradients = grad(joint, [of_labelled, of_others])
        found |= {
            f"{kind}/loss": joint.data,
            f"{kind}/loss_labelled": loss(of_labelled, Tensor(true)).data,
            f"{kind}/loss_unlabelled": loss(of_others, Tensor(targets[chosen])).data,
            f"{kind}/grad_input/student_labelled": gradients[0],
            f"{kind}/grad_input/student_unlabelled": gradients[1],
        }
    return found
