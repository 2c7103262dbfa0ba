# The check says: compare the steps as numbers
def newest_whole(folder):
    found = sorted(folder.iterdir())
    return found[-1] if found else None
