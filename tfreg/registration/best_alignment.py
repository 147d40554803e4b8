"""The initial alignment that makes two images most alike, where none is named."""

import numpy as np

from tfreg.preprocessing.aligned_pair import AlignedPair
from tfreg.preprocessing.initial_alignment import KINDS, initial_alignment
from tfreg.refinement.starts import Likeness
from tfreg.transforms.transform import Transform

# Mutual information: the images need not have one contrast.
MEASURE = "mi"


def best_alignment(pair: AlignedPair) -> tuple[str, np.ndarray, dict[str, float]]:
    """Compares the alignments by headers, by centres and by moments.

    Args:
        pair: An `AlignedPair`, whose own alignment does not count.

    Returns:
        The kind that makes the images most alike, the first of equal ones; its matrix, `(4, 4)`, fixed world to moving
        world, RAS+ mm; and each kind's likeness, at most 1.
    """
    likeness_of = Likeness(pair, MEASURE)
    matrices = {kind: initial_alignment(kind, pair.fixed, pair.moving, *pair.masks) for kind in KINDS}
    likeness = {kind: likeness_of(Transform.identity(pair.fixed.lattice, matrix)) for kind, matrix in matrices.items()}
    best = max(KINDS, key=lambda kind: likeness[kind])
    return best, matrices[best], likeness
