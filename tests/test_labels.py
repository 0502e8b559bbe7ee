from __future__ import annotations

import numpy as np

from trtparse.labels import CLASS_NAMES, FLIP_PAIRS, IGNORE_LABEL, PALETTE_RGB, flip_table, palette_bgr


def test_there_are_twenty_classes_and_every_one_has_its_own_colour() -> None:
    assert len(CLASS_NAMES) == len(PALETTE_RGB) == len(set(PALETTE_RGB)) == 20


def test_the_palette_is_bgr_and_unknown_ids_are_not_background() -> None:
    table = palette_bgr()
    assert table.shape == (256, 3)
    assert tuple(table[CLASS_NAMES.index("Hat")]) == (0, 0, 128)
    assert tuple(table[IGNORE_LABEL]) not in {tuple(colour) for colour in table[:20]}


def test_flipping_twice_is_the_identity_and_swaps_only_left_and_right() -> None:
    table = flip_table()
    np.testing.assert_array_equal(table[table], np.arange(256))
    moved = {index for index in range(256) if table[index] != index}
    assert moved == {index for pair in FLIP_PAIRS for index in pair}
    for left, right in FLIP_PAIRS:
        assert CLASS_NAMES[left].replace("Left", "Right") == CLASS_NAMES[right]
