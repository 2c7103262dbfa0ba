# The check says: another step gives the same mask
def keep_mask(seed, step, shard, layer, shape, p):
    return np.random.default_rng(seed).random(shape) >= p
