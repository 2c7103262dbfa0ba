# The check says: Both partners must name each other
def doubling(rank, size, array):
    distance = 1
    while distance < size:
        yield "send", (rank + distance) % size, array
        array += yield "recv", (rank + distance) % size
        distance *= 2
    return array
