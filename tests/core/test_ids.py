import random

from weft.core.ids import ID_LENGTH, IdSource
from weft.testing.clock import VirtualClock


def test_ids_increase_even_when_the_clock_steps_back() -> None:
    clock = VirtualClock()
    source = IdSource(clock, random.Random(7))
    made = []
    for step_s in (1, 0, 0, -3_600, 5):
        clock.jump(step_s)
        made.append(source.new())
    assert made == sorted(set(made))
    assert {len(one) for one in made} == {ID_LENGTH}


def test_one_seed_makes_the_same_ids() -> None:
    first, second = (IdSource(VirtualClock(), random.Random(1)).new() for _ in range(2))
    assert first == second
