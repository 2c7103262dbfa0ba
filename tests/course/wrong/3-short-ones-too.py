# The check says: must stay as they are
def clip_by_global_norm(gradients, max_norm):
    norm = sum(np.sum(g * g) for g in gradients) ** 0.5
    for g in gradients:
        g *= max_norm / norm
    return norm
