"""Hints for the exercises of notebook 09b, initialisation."""

HINTS = {
    "9b.1": (
        "First find the factor of one layer. Step 6 calls it c.",
        "Compare Glorot's s with He's, for as many outputs as inputs. c is their ratio.",
        "Glorot's s is sqrt(1/n) and He's is sqrt(2/n). There are 50 layers.",
    ),
    "9b.2": (
        "All weights of the head are zero, so the logits do not depend on the image. What are they?",
        "What does the softmax do if the same number is added to all logits?",
        "Every class has the probability 1/1000. The smoothed target sums to 1, so its weights do not matter.",
    ),
    "9b.3": (
        "Follow step 5: what share of the mean square does the activation keep?",
        "The positive half keeps all of its mean square. The negative half keeps the slope squared of it.",
        "Add the two halves, each with its share of the mean square. Step 1 says what the matrix does to it. Together "
        "they must change nothing.",
    ),
    "9b.4": (
        "Split every input into its mean and the rest, which has mean 0 and variance 1.",
        "Variances of independent terms add: what is the variance of one term x_i W_ij if W_ij is fixed?",
        "The mean of an output is a sum of mean_i W_ij. Mean square = variance + squared mean.",
    ),
    "9b.5": (
        "A loop over the layers. The outputs of the scaled layer are the inputs of the next.",
        "Scaling a matrix by a number scales its outputs by the same number.",
        "Divide the matrix, and its outputs, by the root mean square of x W. Then apply the ReLU and go on.",
    ),
}
