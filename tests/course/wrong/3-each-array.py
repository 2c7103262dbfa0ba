# The check says: one factor for all arrays
def clip_by_global_norm(gradients, max_norm):
    total = 0.0
    for g in gradients:
        norm = np.linalg.norm(g)
        total += norm**2
        g *= min(1, max_norm / norm)
    return total**0.5
