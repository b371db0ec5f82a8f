"""What a Vision Transformer holds and what it costs, by formula."""


def parameters(config):
    """How many numbers are learned."""
    # BEGIN SOLUTION q7
    patches, tokens, pixels = _sizes(config)
    width, hidden, classes = config["width"], config["mlp_width"], config["num_classes"]
    block = 4 * (width * width + width) + 2 * width * hidden + hidden + width + 2 * 2 * width
    embedding = (pixels + 1) * width + tokens * width + (tokens - patches) * width
    return embedding + config["depth"] * block + 2 * width + (width + 1) * classes
    # END SOLUTION


def multiply_adds(config):
    """Of the matrix products of one image's forward pass."""
    # BEGIN SOLUTION q7
    patches, tokens, pixels = _sizes(config)
    width, hidden = config["width"], config["mlp_width"]
    block = 4 * tokens * width**2 + 2 * tokens**2 * width + 2 * tokens * width * hidden
    return patches * pixels * width + config["depth"] * block + width * config["num_classes"]
    # END SOLUTION


def _sizes(config):
    """(N patches, T tokens, numbers in a patch)."""
    # BEGIN SOLUTION q7
    (h, w), (ph, pw) = config["image_size"], config["patch_size"]
    patches = (h // ph) * (w // pw)
    return patches, patches + (config["classifier"] == "token"), ph * pw * config["channels"]
    # END SOLUTION
