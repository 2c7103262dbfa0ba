# The check says: it must be
def softmax(z):
    e = np.exp(z - np.max(z))
    s = e / np.sum(e)
    return s, lambda g: s * (g + np.sum(g * s))
