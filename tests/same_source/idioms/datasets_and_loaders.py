"""A custom Dataset, random_split, Subset, ConcatDataset, samplers, collate_fn, iteration."""

import torch
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)


class Squares(Dataset):
    def __init__(self, n, transform=None):
        self.n = n
        self.transform = transform

    def __len__(self):
        return self.n

    def __getitem__(self, idx):
        sample = {"x": torch.tensor([idx, idx**2]), "y": float(idx), "name": f"item {idx}"}
        if self.transform:
            sample = self.transform(sample)
        return sample


class Count(IterableDataset):
    def __iter__(self):
        return iter(range(7))


def pad_collate(batch):
    xs, ys = zip(*batch, strict=True)
    lengths = torch.tensor([len(x) for x in xs])
    padded = torch.nn.utils.rnn.pad_sequence(xs, batch_first=True, padding_value=-1)
    return padded, torch.tensor(ys), lengths


def run(rng):
    found = []
    for batch in DataLoader(Squares(7), batch_size=3, drop_last=False):
        found.append([batch["x"], batch["y"], batch["name"]])
    for batch in DataLoader(Count(), batch_size=3):
        found.append(batch)
    ragged = [(torch.arange(n), n) for n in (3, 1, 2, 4)]
    found += list(DataLoader(ragged, batch_size=2, collate_fn=pad_collate))
    x, y = torch.from_numpy(rng.random((10, 2))), torch.arange(10)
    dataset = TensorDataset(x, y)
    generator = torch.Generator().manual_seed(42)
    train_set, val_set = random_split(dataset, [8, 2], generator=generator)
    parts = random_split(dataset, [0.5, 0.3, 0.2])
    sizes = [len(train_set), len(val_set), [len(p) for p in parts]]
    everything = sorted(int(y) for _, y in ConcatDataset([train_set, val_set]))
    shuffled = DataLoader(dataset, batch_size=4, shuffle=True)
    seen = sorted(torch.cat([y for _, y in shuffled]).tolist())
    subset = Subset(dataset, [1, 3, 5])
    sizes += [len(subset), len(shuffled), len(DataLoader(subset, batch_size=2, drop_last=True))]
    sampler = WeightedRandomSampler(weights=[0.0, 0.0, 1.0], num_samples=5, replacement=True)
    sizes.append(list(sampler))
    sizes.append(sorted(RandomSampler(dataset)))
    ordered = DataLoader(dataset, batch_size=5, sampler=SequentialSampler(dataset))
    first_x, first_y = next(iter(ordered))
    images, labels = dataset[2]
    workers = [y for _, y in DataLoader(dataset, batch_size=4, num_workers=0, pin_memory=False)]
    plain = list(DataLoader([1.0, 2.0, 3.0], batch_size=2))
    return [found, sizes, everything, seen, first_x, first_y, images, labels, workers, plain]
