# The check says: off-diagonal part is missing
def softmax(z):
    e = np.exp(z - np.max(z))
    s = e / np.sum(e)
    return s, lambda g: g * s
