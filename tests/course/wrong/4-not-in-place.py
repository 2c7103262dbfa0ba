# The check says: must \*add\* what came
def doubling(rank, size, array):
    distance = 1
    while distance < size:
        yield "send", rank ^ distance, array
        array = array + (yield "recv", rank ^ distance)
        distance *= 2
    return array
