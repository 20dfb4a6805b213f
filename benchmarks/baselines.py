"""What stacks are compared with: the loops that most people write, for one network at a time, in plain PyTorch."""

from itertools import pairwise

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import to_tensor

LEARNING_RATE = 1e-3


class Pictures(Dataset):
    """Images as torchvision's data sets hold them: bytes, each made a picture and then a tensor when it is asked for."""

    def __init__(self, images, labels):
        self.tensors = images, labels  # for those who take them whole, as a TensorDataset has them
        low, high = images.min(), images.max()
        self.bytes = ((images - low) / (high - low) * 255).byte().squeeze(1).cpu().numpy()
        self.labels = labels.tolist()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return to_tensor(Image.fromarray(self.bytes[index])), self.labels[index]


def plain_mlp(widths):
    """The network of `common.models.mlp`, one run of it, from torch.nn's layers."""
    layers = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def plain_cnn(blocks, kernel, hidden_width):
    """The network of `common.models.cnn`, one run of it, from torch.nn's layers."""
    layers, channels = [], 1
    for block in blocks:
        for out_channels in block:
            layers += [nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2), nn.ReLU()]
            channels = out_channels
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, *plain_mlp([channels * (28 // 2 ** len(blocks)) ** 2, hidden_width, 10]))


def plain_loop(model, inputs, targets, loss_function, epochs, batch_size):
    """Trains one network on tensors in memory: a permutation's slices as batches, the fused optimizer."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=inputs.device.type in ("cpu", "cuda"))
    for _ in range(epochs):
        for index in torch.randperm(len(inputs), device=inputs.device).split(batch_size):
            batch, batch_targets = (inputs[index], targets[index]) if batch_size < len(inputs) else (inputs, targets)
            optimizer.zero_grad()
            loss_function(model(batch), batch_targets).backward()
            optimizer.step()


def tutorial_loop(model, dataset, loss_function, epochs, batch_size):
    """Trains one network as the tutorials do: a DataLoader that makes every example a tensor, a running loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    device, running_loss = next(model.parameters()).device, 0.0
    for _ in range(epochs):
        for inputs, targets in DataLoader(dataset, batch_size=batch_size, shuffle=True):
            optimizer.zero_grad()
            loss = loss_function(model(inputs.to(device)), targets.to(device))
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
