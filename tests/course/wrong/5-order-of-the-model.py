# The check says: that is the model's order
def cut(sizes, limit):
    buckets, filled = [[]], 0
    for index, size in enumerate(sizes):
        if filled + size > limit:
            buckets.append([])
            filled = 0
        buckets[-1].append(index)
        filled += size
    return buckets
