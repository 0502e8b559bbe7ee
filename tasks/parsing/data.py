"""The images that ``--data`` names, with their label maps."""

from __future__ import annotations

import sys
from typing import cast

from ...data.dataset import Dataset, WithoutLabels
from ...errors import UsageError
from ...specs.label_set import LabelSet, check_same, label_set
from .files import Purpose, Split, open_dataset

SYNTHETIC = "synthetic"
SYNTHETIC_IMAGES = {"calibration": 256, "validation": 64}


def open_data(
    network: LabelSet,
    data: str | None,
    split: str | None,
    purpose: str,
    labels: str | LabelSet | None = None,
    whose: str = "the network",
) -> Dataset:
    """The images that ``--data`` names.

    Label maps on a disk do not say what they mean, and so they are LIP's unless ``--labels`` says otherwise: no network
    of other classes is measured on them by mistake. Rendered people have LIP's classes, and come without labels for a
    network of others.

    Args:
        network: what the classes of the network mean that is to look at them.
        data: a folder or an image; None or ``synthetic`` for rendered people.
        split: of LIP's layout.
        purpose: chooses one where none is given.
        labels: what the ids of its label maps mean: a set, or the word or file that ``--labels`` names.
        whose: the classes of the network are, for messages.

    Raises:
        UsageError: a split of what has none, or labels of another set than the network's.
        DataError: there are no such images.
    """
    meant = label_set(labels) if isinstance(labels, str) else labels
    if meant is not None:
        check_same(network, whose, meant, f"--labels {labels}" if isinstance(labels, str) else "the data")
    if data is None or data == SYNTHETIC:
        if split is not None:
            raise UsageError("--split goes with --data.", "Synthetic people have no splits.")
        from ...data.synthetic import SyntheticPeople

        # Calibration and validation never share a person.
        people = SyntheticPeople(SYNTHETIC_IMAGES[purpose], seed=0 if purpose == "calibration" else 1)
        return people if network == people.label_set else WithoutLabels(people, network)
    dataset = open_dataset(data, cast("Split | None", split), purpose=cast(Purpose, purpose), labels=meant)
    if dataset.left_out:
        print(f"{data}: {dataset.left_out}.", file=sys.stderr)
    return dataset
