"""How a matrix is cut into arrays of limited size."""

from itertools import pairwise


def partition(count: int, limit: int) -> list[tuple[int, int]]:
    """[start, stop) of each array along one side: every index once, in order, and never more than `limit` in one.

    count: rows (inputs) or columns (outputs) of the matrix. limit: the most that one array has; 0 is unlimited.
    The cut is CrossSim 3.2's, ceil(count / limit) arrays of round(count / arrays) with the rest in the last, wherever
    that keeps within the limit; where its last array would exceed it, sizes differ by one at most.
    """
    if limit == 0 or count <= limit:
        return [(0, count)]
    arrays = -(-count // limit)
    size = round(count / arrays)
    if count - size * (arrays - 1) <= limit:
        edges = [*range(0, size * arrays, size), count]
    else:
        edges = [count * i // arrays for i in range(arrays + 1)]
    return list(pairwise(edges))
