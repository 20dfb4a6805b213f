"""What stacks are compared with: the loops that most people write, for one network at a time."""

from itertools import pairwise

import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import to_tensor

LEARNING_RATE = 1e-3
IMAGE_SIZE, CLASSES = 28, 10


# --- data ---


class Pictures(Dataset):
    """Images as torchvision's data sets hold them: bytes, each made a tensor when it is asked for.

    images are (N, 1, 28, 28), labels (N,). tensors holds both as they were given, as a
    TensorDataset does, for those who take them whole.
    """

    def __init__(self, images, labels):
        self.tensors = (images, labels)
        darkest, brightest = images.min(), images.max()
        brightness = (images - darkest) / (brightest - darkest)  # 0 to 1
        self.bytes = (255 * brightness).byte().squeeze(1).cpu().numpy()
        self.labels = labels.tolist()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        picture = Image.fromarray(self.bytes[index])
        return to_tensor(picture), self.labels[index]


# --- networks ---


def plain_mlp(widths):
    """The network of common.models.mlp, one run of it, from torch.nn's layers."""
    layers = [nn.Flatten()]
    for in_features, out_features in pairwise(widths):
        layers += [nn.Linear(in_features, out_features), nn.ReLU()]
    return nn.Sequential(*layers[:-1])  # no ReLU after the last layer


def plain_cnn(blocks, kernel, hidden_width):
    """The network of common.models.cnn, one run of it, from torch.nn's layers."""
    layers, channels = [], 1
    for block in blocks:
        for out_channels in block:
            layers.append(nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2))
            layers.append(nn.ReLU())
            channels = out_channels
        layers.append(nn.MaxPool2d(2))
    features = channels * (IMAGE_SIZE // 2 ** len(blocks)) ** 2
    return nn.Sequential(*layers, *plain_mlp([features, hidden_width, CLASSES]))


# --- training ---


def plain_loop(model, inputs, targets, loss_function, epochs, batch_size):
    """Trains one network on tensors in memory: slices of a permutation, the fused optimizer."""
    fused = inputs.device.type in ("cpu", "cuda")
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=fused)
    for _ in range(epochs):
        order = torch.randperm(len(inputs), device=inputs.device)
        for index in order.split(batch_size):
            if batch_size < len(inputs):
                batch, batch_targets = inputs[index], targets[index]
            else:  # the whole set: nothing to choose
                batch, batch_targets = inputs, targets
            optimizer.zero_grad()
            loss_function(model(batch), batch_targets).backward()
            optimizer.step()


def tutorial_loop(model, dataset, loss_function, epochs, batch_size):
    """Trains one network as the tutorials do: a DataLoader, which makes every example a tensor."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    device = next(model.parameters()).device
    running_loss = 0.0  # nothing reads it here, but the tutorials print it
    for _ in range(epochs):
        for inputs, targets in DataLoader(dataset, batch_size=batch_size, shuffle=True):
            optimizer.zero_grad()
            loss = loss_function(model(inputs.to(device)), targets.to(device))
            loss.backward()
            optimizer.step()
            running_loss += loss.item()


# --- measuring ---


@torch.no_grad()
def evaluate_batches(model, batches):
    """Mean cross-entropy (nats) and accuracy of one network over batches of images and labels."""
    device = next(model.parameters()).device
    loss, correct, examples = 0.0, 0, 0
    for images, labels in batches:
        images, labels = images.to(device), labels.to(device)
        logits = model(images)
        loss += functional.cross_entropy(logits, labels, reduction="sum").item()
        correct += (logits.argmax(1) == labels).sum().item()
        examples += len(labels)
    return loss / examples, correct / examples


def hessians_row_by_row(loss, points):
    """The Hessian at each of the points (R, P), one backward pass for each row: (R, P, P).

    loss maps one point (P,) to a number.
    """
    hessians = []
    for point in points.clone().requires_grad_():
        (gradient,) = torch.autograd.grad(loss(point), point, create_graph=True)
        rows = [torch.autograd.grad(entry, point, retain_graph=True)[0] for entry in gradient]
        hessians.append(torch.stack(rows))
    return torch.stack(hessians)


def sensitivity_one_by_one(model, images, labels):
    """Mean norm of the loss's gradient by the image, one backward pass for each image: a number."""
    total = 0.0
    for image, label in zip(images.clone().split(1), labels.split(1)):
        image.requires_grad_()
        functional.cross_entropy(model(image), label).backward()
        total += image.grad.norm().item()
    return total / len(images)
