"""What people do with images: normalising, grids, style losses, patches, resizing, augmenting."""

import torch
import torch.nn as nn
import torch.nn.functional as F


def gram_matrix(y):
    (b, ch, h, w) = y.size()
    features = y.view(b, ch, w * h)
    features_t = features.transpose(1, 2)
    return features.bmm(features_t) / (ch * h * w)


def total_variation(img):
    return (img[:, :, 1:, :] - img[:, :, :-1, :]).abs().mean() + (
        img[:, :, :, 1:] - img[:, :, :, :-1]
    ).pow(2).mean()


def make_grid(images, nrow):
    b, c, h, w = images.shape
    grid = images.view(b // nrow, nrow, c, h, w).permute(2, 0, 3, 1, 4)
    return grid.contiguous().view(c, b // nrow * h, nrow * w)


def run(rng):
    images = torch.from_numpy(rng.integers(0, 256, (4, 6, 8, 3), dtype="uint8"))
    x = images.permute(0, 3, 1, 2).float().div(255).to(torch.get_default_dtype())
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(-1, 1, 1)
    x = (x - mean) / std
    image = x[:1].clone().requires_grad_(True)
    loss = F.mse_loss(gram_matrix(image), gram_matrix(x[1:2])) + total_variation(image)
    loss.backward()
    kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    sobel = F.conv2d(x.mean(1, keepdim=True), kernel[None, None], padding=1)
    patches = F.unfold(x, kernel_size=2, stride=2)
    back = F.fold(patches, output_size=(6, 8), kernel_size=2, stride=2)
    pooled = [F.avg_pool2d(x, 2), F.max_pool2d(x, (2, 2)), F.adaptive_avg_pool2d(x, (3, 2))]
    up = [
        F.interpolate(x, scale_factor=2, mode="nearest"),
        F.interpolate(x, size=(9, 5), mode="bilinear", align_corners=False),
        nn.Upsample(scale_factor=2, mode="bicubic", align_corners=False)(x),
        F.pixel_shuffle(torch.cat([x, x[:, :1]], 1), 2),
    ]
    theta = torch.tensor([[0.8, -0.2, 0.1], [0.3, 0.9, 0.0]]).unsqueeze(0).repeat(4, 1, 1)
    grid = F.affine_grid(theta, list(x.size()), align_corners=False)
    warped = F.grid_sample(x, grid, align_corners=False)
    padded = F.pad(x, (1, 1, 2, 0), mode="reflect")
    crop = padded[:, :, 1:5, 2:6].flip(-1)
    norms = [F.instance_norm(x), F.group_norm(x, 3), F.layer_norm(x, x.shape[1:])]
    uint8 = (x * std + mean).mul(255).round().clamp(0, 255).to(torch.uint8)
    assert torch.equal(uint8.permute(0, 2, 3, 1), images)
    return {
        "style": [loss, image.grad, sobel, patches, back],
        "sizes": [pooled, up, warped, padded, crop],
        "norms": norms,
        "grid": [make_grid(x, 2), uint8],
        "stats": [
            x.amax(dim=(2, 3)),
            x.mean(dim=[0, 2, 3]),
            x.std(dim=(0, 2, 3)),
            x.flatten(1).var(dim=1),
        ],
    }
