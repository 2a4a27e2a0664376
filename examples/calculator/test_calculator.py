import unittest

from calculator import mean, median


class CalculatorTest(unittest.TestCase):
    def test_mean(self) -> None:
        self.assertEqual(mean([1, 2, 6]), 3)

    def test_median_of_unordered_numbers(self) -> None:
        self.assertEqual(median([9, 1, 5]), 5)
