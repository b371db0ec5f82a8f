"""Which evaluation was the best, and how long ago."""

from minivit.runs import improvement


def lines(*tests):
    return [{"step": 10 * k, "test_accuracy": accuracy, "test_loss": loss} for k, (accuracy, loss) in enumerate(tests)]


def test_the_highest_accuracy_then_the_lowest_loss_then_the_first():
    metrics = lines((0.5, 1.0), (0.7, 0.9), (0.7, 0.8), (0.7, 0.8), (0.6, 0.1))
    assert improvement.best(metrics) is metrics[2]
    assert [improvement.evaluations_since(metrics[:n]) for n in range(1, 6)] == [0, 0, 0, 1, 2]


def test_images_that_find_their_text_tell_more_than_neighbours():
    shares = ((0.1, 0.9), (0.3, 0.2), (0.2, 0.1))
    metrics = [
        {**line, "test_retrieval": found, "test_knn": knn}
        for line, (found, knn) in zip(lines(*[(None, 1.0)] * 3), shares, strict=True)
    ]
    assert improvement.best(metrics) is metrics[1]
    for line in metrics:
        del line["test_retrieval"]
    assert improvement.best(metrics) is metrics[0]


def test_without_test_data_there_is_none():
    metrics = lines((None, None), (None, None))
    assert improvement.best(metrics) is None
    assert improvement.evaluations_since(metrics) == improvement.evaluations_since([]) == 0
