"""A conditional WGAN with gradient penalty and spectral norm: apply(init), parametrized layers."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm


def weights_init(m):
    classname = m.__class__.__name__
    if classname.find("Conv") != -1:
        nn.init.normal_(m.weight.data, 0.0, 0.1)
    elif classname.find("Norm") != -1:
        m.weight.data.normal_(1.0, 0.02)
        m.bias.data.fill_(0)


class Generator(nn.Module):
    def __init__(self, latent_dim=8, num_classes=3):
        super().__init__()
        self.label_emb = nn.Embedding(num_classes, num_classes)

        def block(in_feat, out_feat, normalize=True):
            layers = [nn.Upsample(scale_factor=2, mode="nearest")]
            layers.append(nn.Conv2d(in_feat, out_feat, 3, 1, 1, bias=not normalize))
            if normalize:
                layers.append(nn.BatchNorm2d(out_feat, 0.8))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            return layers

        self.l1 = nn.Sequential(nn.Linear(latent_dim + num_classes, 8 * 2**2))
        self.conv_blocks = nn.Sequential(
            *block(8, 8),
            *block(8, 4, normalize=False),
            nn.Conv2d(4, 1, 3, padding="same"),
            nn.Tanh(),
        )

    def forward(self, noise, labels):
        gen_input = torch.cat((self.label_emb(labels), noise), -1)
        out = self.l1(gen_input)
        out = out.view(out.shape[0], 8, 2, 2)
        return self.conv_blocks(out)


class Critic(nn.Module):
    def __init__(self, num_classes=3):
        super().__init__()
        self.conv1 = spectral_norm(nn.Conv2d(1, 8, 3, 2, 1))
        self.conv2 = spectral_norm(nn.Conv2d(8, 8, 3, 2, 1), n_power_iterations=2)
        self.fc = spectral_norm(nn.Linear(8, 1))
        self.embed = spectral_norm(nn.Embedding(num_classes, 8))

    def forward(self, x, y):
        h = F.leaky_relu(self.conv1(x), 0.2)
        h = F.leaky_relu(self.conv2(h), 0.2)
        h = torch.sum(h, dim=(2, 3))
        return self.fc(h).squeeze(1) + torch.sum(self.embed(y) * h, dim=1)


def compute_gradient_penalty(D, real_samples, fake_samples, labels, alpha):
    alpha = alpha.reshape(real_samples.size(0), 1, 1, 1)
    interpolates = (alpha * real_samples + ((1 - alpha) * fake_samples)).requires_grad_(True)
    d_interpolates = D(interpolates, labels)
    fake = torch.ones_like(d_interpolates)
    gradients = torch.autograd.grad(
        outputs=d_interpolates,
        inputs=interpolates,
        grad_outputs=fake,
        create_graph=True,
        retain_graph=True,
        only_inputs=True,
    )[0]
    gradients = gradients.view(gradients.size(0), -1)
    return ((gradients.norm(2, dim=1) - 1) ** 2).mean()


def build():
    generator, critic = Generator(), Critic()
    generator.apply(weights_init)
    return generator, critic


def data(rng):
    labels = torch.tensor(rng.integers(0, 3, 24))
    images = torch.tensor(rng.standard_normal((24, 1, 8, 8)) * 0.3)
    images = torch.clamp(images + labels[:, None, None, None] / 2 - 0.5, -1, 1)
    noise = torch.tensor(rng.standard_normal((30, 8, 8)))
    return images, labels, noise, torch.tensor(rng.random((30, 8)))


def train(models, data, steps):
    generator, critic = models
    images, labels, noise, alphas = data
    optimizer_G = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.9))
    optimizer_D = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.9))
    losses = []

    def train_step(imgs, labels, z, alpha):
        optimizer_D.zero_grad()
        fake_imgs = generator(z, labels).detach()
        gp = compute_gradient_penalty(critic, imgs, fake_imgs, labels, alpha)
        d_loss = critic(fake_imgs, labels).mean() - critic(imgs, labels).mean() + 10 * gp
        d_loss.backward()
        optimizer_D.step()
        return d_loss

    def generator_step(z, labels):
        critic.requires_grad_(False)
        optimizer_G.zero_grad(set_to_none=True)
        g_loss = -torch.mean(critic(generator(z, labels), labels))
        g_loss.backward()
        optimizer_G.step()
        critic.requires_grad_(True)
        return g_loss

    n_critic = 3
    for i in range(steps):
        batch = torch.arange(8 * i, 8 * i + 8) % 24
        losses.append(train_step(images[batch], labels[batch], noise[i], alphas[i]).item())
        if i % n_critic == 0:
            losses.append(generator_step(noise[i], labels[batch]).item())
    return losses


def evaluate(models, data):
    generator, critic = models
    generator.eval(), critic.eval()
    with torch.no_grad():
        fakes = generator(data[2][0], data[1][:8])
        sigma = torch.linalg.matrix_norm(critic.conv2.weight.flatten(1), 2)
    assert parametrize.is_parametrized(critic.fc, "weight")
    parametrize.remove_parametrizations(critic.fc, "weight", leave_parametrized=True)
    return [fakes, sigma, critic.fc.weight, [n for n, _ in critic.named_parameters()]]
