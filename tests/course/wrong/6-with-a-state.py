# The check says: it has a state
generator = np.random.default_rng(0)


def keep_mask(seed, step, shard, layer, shape, p):
    return generator.random(shape) >= p
