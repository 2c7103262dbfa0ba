# The check says: their keys collide
def keep_mask(seed, step, shard, layer, shape, p):
    key = [seed, step + shard + layer]
    return np.random.Generator(np.random.Philox(key=key)).random(shape) >= p
