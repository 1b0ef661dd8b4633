"""Tests of push.services.random_blocks."""

import random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from push.services.random_blocks import RandomBlocks


class RandomBlocksTests(SynchronousTestCase):
    """What is given out, and what is asked for."""

    def setUp(self) -> None:
        self.asked: list[int] = []
        self.made = b""

    def system(self, size: int) -> bytes:
        """Bytes that can be told from one another."""
        self.asked.append(size)
        block = random.Random(len(self.asked)).randbytes(size)
        self.made += block
        return block

    def test_nothing_is_asked_for_before_it_is_wanted(self) -> None:
        """A process may fork until then."""
        RandomBlocks(self.system)
        self.assertEqual(self.asked, [])

    def test_one_call_is_for_many(self) -> None:
        blocks = RandomBlocks(self.system, 64)
        pieces = [blocks(16) for _ in range(9)]
        self.assertEqual(self.asked, [64, 64, 64])
        self.assertEqual(len(set(pieces)), 9)

    @given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 50))
    def test_every_piece_is_whole_and_no_byte_is_given_out_twice(self, sizes: list[int], block_bytes: int) -> None:
        """Whatever their sizes; a rest that is too short is dropped."""
        self.setUp()
        blocks = RandomBlocks(self.system, block_bytes)
        at = 0
        for size in sizes:
            piece = blocks(size)
            self.assertEqual(len(piece), size)
            at = self.made.index(piece, at) + size if piece else at
        self.assertLessEqual(sum(sizes), len(self.made))

    def test_the_system_is_asked_by_default(self) -> None:
        blocks = RandomBlocks()
        self.assertEqual(len({blocks(16) for _ in range(1_000)}), 1_000)
