"""How many repetitions it takes before a difference can be told from chance (docs/adr/0010-statistics.md).

Apart from ``statistics``, so that who plans a measurement can say so without NumPy.
"""

FEWEST_PAIRED = 6
"""Of n differences, 2^n choices of signs are as likely without an effect: 2/2^5 is more than 0.05, 2/2^6 is less."""
FEWEST_UNPAIRED = 4
"""Of n and n values, as many choices of n of all: 2 of the 20 for 3 and 3 are 0.1, 2 of the 70 for 4 and 4 are 0.03."""


def cannot_decide(repetitions: int, fewest: int, where: str = "") -> str:
    """Say that no difference of so few repetitions can be told from chance, and how many it takes."""
    has = f"{repetitions} repetition{'' if repetitions == 1 else 's'}"
    return f"cannot decide with {has}: needs at least {fewest}{where}, whatever the difference"
