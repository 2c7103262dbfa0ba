# The check says: occurs twice
def rows(table, words):
    def vjp(g):
        out = np.zeros_like(table.value)
        out[words] += g
        return out

    return Tensor(table.value[words], [(table, vjp)])
