# The check says: Look before you add
def cut(sizes, limit):
    buckets, filled = [[]], 0
    for index in reversed(range(len(sizes))):
        if filled >= limit:
            buckets.append([])
            filled = 0
        buckets[-1].append(index)
        filled += sizes[index]
    return buckets
