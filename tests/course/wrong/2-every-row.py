# The check says: were not looked up
def rows(table, words):
    return Tensor(table.value[words], [(table, lambda g: np.ones_like(table.value))])
