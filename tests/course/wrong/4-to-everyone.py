# The check says: must send log2\(4\) = 2 messages
def doubling(rank, size, array):
    own = array.copy()
    for other in range(size):
        if other != rank:
            yield "send", other, own
            array += yield "recv", other
    return array
