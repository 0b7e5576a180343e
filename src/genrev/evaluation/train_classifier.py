"""Train a classifier and write it down: ``python -m genrev.evaluation.train_classifier DATA OUT``.

This made the classifiers that the package ships:

    python -m genrev.evaluation.train_classifier digits src/genrev/evaluation/classifiers/digits
    python -m genrev.evaluation.train_classifier mnist src/genrev/evaluation/classifiers/mnist
"""

import argparse
import sys
from collections.abc import Sequence

from genrev.data import announce, load_images
from genrev.errors import GenrevError
from genrev.evaluation.classifier import train_classifier
from genrev.files.paths import expand

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m genrev.evaluation.train_classifier",
        description="Train a classifier on the train split of DATA and measure it on the test "
        "split; write OUT.safetensors and OUT.json.",
        allow_abbrev=False,
    )
    parser.add_argument("data", metavar="DATA", help="labelled data, as for `genrev train --data`")
    parser.add_argument("out", metavar="OUT", type=expand, help="where to write, without a suffix")
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args(arguments)
    try:
        train = load_images(parsed.data, "train")
        announce(train)
        classifier = train_classifier(train, load_images(parsed.data, "test"), parsed.seed)
    except GenrevError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    path = parsed.out.with_name(parsed.out.name + ".safetensors")
    classifier.save(path)
    assert classifier.info is not None  # it has been trained
    print(f"{path}: test accuracy {classifier.info.accuracy:.2%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
