"""Mean and median of a list of numbers."""


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def median(numbers: list[float]) -> float:
    middle = len(numbers) // 2
    return numbers[middle]
