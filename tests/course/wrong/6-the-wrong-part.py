# The check says: about 80 % are kept
def keep_mask(seed, step, shard, layer, shape, p):
    key = [seed, (step << 32) | (shard << 16) | layer]
    return np.random.Generator(np.random.Philox(key=key)).random(shape) < p
