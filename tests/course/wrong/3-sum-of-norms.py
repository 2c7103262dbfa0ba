# The check says: is √\(25 \+ 144\) = 13, not 17
def clip_by_global_norm(gradients, max_norm):
    norm = sum(np.linalg.norm(g) for g in gradients)
    for g in gradients:
        g *= min(1, max_norm / norm)
    return norm
