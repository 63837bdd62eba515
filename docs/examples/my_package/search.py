"""How a sweep picks its points."""

from kinoray.sweep.search import SearchConfig
from kinoray.sweep.space import Point, SearchSpace

PRIMES = (2, 3, 5, 7, 11, 13)


class Halton(SearchConfig):
    """Points that fill the space evenly, however many there are. Source: Halton, 1960."""

    learns = False
    kind: str = "my_package.search:Halton"

    def start(self, space: SearchSpace) -> "Even":
        if len(space) > len(PRIMES):
            raise ValueError(f"search {self.kind}: takes {len(PRIMES)} paths at most, got {len(space)}")
        return Even(space, self.seed)


class Even:
    """The search under way."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self.space, self.seed = space, seed

    def ask(self, index: int) -> Point:
        point = {}
        for prime, (path, parameter) in zip(PRIMES, self.space.items(), strict=False):
            if parameter.is_set(point):
                point[path] = parameter.at(mirrored(index + self.seed + 1, prime))
        return point

    def tell(self, index: int, merit: float | None) -> None:
        """Nothing is learned."""


def mirrored(number: int, base: int) -> float:
    """A number's digits behind the point, the last one first; 0 <= share < 1."""
    share, place = 0.0, 1.0
    while number:
        number, digit = divmod(number, base)
        place /= base
        share += digit * place
    return share
