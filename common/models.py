"""Networks as stacks: R independent copies of one architecture, trained side by side.

Every tensor carries the runs in its leading dimension. A batch is (R, B, ...), a linear weight (R, out, in), so one
`baddbmm` advances all runs at once. The layers take R from their weights, never from a stored number: the same model
therefore evaluates any other number of parameter sets through `torch.func.functional_call`.
"""

from itertools import pairwise, product

import torch
from torch import nn
from torch.nn import functional

TOLERANCE = 0.01  # the share by which networks of equal size may differ in their parameters


def _initial(shape, fan_in, generator, nonlinearity="relu"):
    """Uniform weight of one run that keeps the signal's size (He et al. 2015, arXiv:1502.01852), U(±1/√fan_in) bias."""
    weight = nn.init.kaiming_uniform_(torch.empty(shape), nonlinearity=nonlinearity, generator=generator)
    bias = torch.empty(shape[0]).uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
    return weight, bias


class StackedLinear(nn.Module):
    """R linear layers: (R, B, in) -> (R, B, out). Run k is initialized from generators[k] alone.

    nonlinearity names what follows the layer, as `torch.nn.init.calculate_gain` knows it.
    """

    def __init__(self, in_features, out_features, generators, nonlinearity="relu"):
        super().__init__()
        shape = (out_features, in_features)
        weights, biases = zip(*[_initial(shape, in_features, generator, nonlinearity) for generator in generators])
        self.weight = nn.Parameter(torch.stack(weights))  # (R, out, in)
        self.bias = nn.Parameter(torch.stack(biases).unsqueeze(2))  # (R, out, 1)

    def forward(self, inputs):
        # Between layers the examples lie side by side in memory, whatever the shapes say: narrow layers, whose features
        # are fewer than a processor takes at once, are multiplied up to five times as fast that way.
        columns = inputs.mT  # (R, in, B)
        if self.weight.shape[2] == 1:  # an outer product, at which libraries are slow
            return torch.addcmul(self.bias, self.weight, columns).mT
        return torch.baddbmm(self.bias, self.weight, columns).mT


class StackedConv2d(nn.Module):
    """R convolutional layers: zero-padded convolution, max-pool of size `pool` where that is above 1, ReLU.

    (R, B, in, H, W) -> (R, B, out, H / pool, W / pool). A convolution is bound by arithmetic on a CPU, so the runs go one
    after another there, each while it is in the cache; on other devices they go as groups of channels of one convolution.
    Where all runs see the same images, as in an evaluation, their filters are those of one convolution everywhere.
    """

    def __init__(self, in_channels, out_channels, kernel, pool, generators):
        super().__init__()
        self.pool = pool
        shape = (out_channels, in_channels, kernel, kernel)
        weights, biases = zip(*[_initial(shape, in_channels * kernel**2, g) for g in generators])
        self.weight = nn.Parameter(torch.stack(weights))  # (R, out, in, k, k)
        self.bias = nn.Parameter(torch.stack(biases))  # (R, out)

    def forward(self, inputs):
        if inputs.stride(0) == 0:  # images expanded to all runs
            return self.on_shared(inputs[0])
        return self.one_by_one(inputs) if inputs.device.type == "cpu" else self.as_groups(inputs)

    def on_shared(self, images):
        outputs = self._layer(_channels_last(images), self.weight.flatten(0, 1), self.bias.flatten())
        return outputs.unflatten(1, (len(self.weight), -1)).movedim(1, 0)

    def one_by_one(self, inputs):
        outputs = [self._layer(_channels_last(images), weight, bias)
                   for images, weight, bias in zip(inputs, self.weight, self.bias)]
        return torch.cat(outputs).unflatten(0, inputs.shape[:2])

    def as_groups(self, inputs):
        images = inputs.movedim(0, 1).flatten(1, 2)  # (B, R · in, H, W)
        outputs = self._layer(images, self.weight.flatten(0, 1), self.bias.flatten(), groups=len(inputs))
        return outputs.unflatten(1, (len(inputs), -1)).movedim(1, 0)

    def _layer(self, images, weight, bias, groups=1):
        outputs = functional.conv2d(images, weight, bias, padding=weight.shape[-1] // 2, groups=groups)
        # Pooling before the ReLU gives the same numbers and leaves a fraction to rectify.
        return functional.relu(functional.max_pool2d(outputs, self.pool) if self.pool > 1 else outputs)


def _channels_last(images):
    """Images (B, C, H, W) with their channels last in memory, the layout in which a CPU convolves and pools fastest.

    A single channel is last whatever its stride, but only with the stride of 1 that it has after this detour does the
    convolution write its outputs in that layout.
    """
    if images.shape[1] == 1:
        images = images.squeeze(1).unsqueeze(-1).movedim(-1, 1)
    return images.contiguous(memory_format=torch.channels_last)


def mlp(widths, generators, activation=nn.ReLU):
    """A stack of fully connected networks, one per generator.

    widths lists the features of every layer, input and output included: [784, 32, 10] has one hidden layer. Inputs
    (R, B, ...) are flattened to (R, B, widths[0]); outputs are (R, B, widths[-1]).
    """
    layers = [nn.Flatten(2)]
    for in_features, out_features in pairwise(widths[:-1]):
        layers += [StackedLinear(in_features, out_features, generators), activation()]
    layers.append(StackedLinear(widths[-2], widths[-1], generators, "linear"))
    return nn.Sequential(*layers)


def cnn(blocks, kernel, hidden_widths, generators, image_size=28, classes=10):
    """A stack of convolutional networks on one-channel square images (R, B, 1, image_size, image_size).

    blocks lists the channels of the convolutions; every block ends in a 2 × 2 max-pool: [[8], [16]] is two convolutions
    each followed by a pool, [[8, 8]] two convolutions and one pool. Linear layers of hidden_widths follow.
    """
    layers, channels = [], 1
    for block in blocks:
        for position, out_channels in enumerate(block, start=1):
            pool = 2 if position == len(block) else 1
            layers.append(StackedConv2d(channels, out_channels, kernel, pool, generators))
            channels = out_channels
    features = channels * (image_size // 2 ** len(blocks)) ** 2
    return nn.Sequential(*layers, *mlp([features, *hidden_widths, classes], generators))


def run_count(model):
    """The number of runs R in a stack."""
    return next(model.parameters()).shape[0]


def parameter_count(model):
    """The number of parameters of one run of the stack."""
    return sum(parameter[0].numel() for parameter in model.parameters())


def count_parameters(build, *arguments):
    """The parameters of the network that build(*arguments, generators) makes."""
    return parameter_count(build(*arguments, [torch.Generator()]))


def mlp_widths(depth, parameters):
    """Widths of an MLP of one input, `depth` hidden layers and one output that has as nearly as possible so many parameters.

    Hidden widths differ by one at most. Raises ValueError where no choice comes within TOLERANCE of the target.
    """

    def count(hidden):
        return sum((a + 1) * b for a, b in pairwise([1, *hidden, 1]))

    width = 1
    while count([width + 1] * depth) <= parameters:
        width += 1
    hidden = min(product((width, width + 1), repeat=depth), key=lambda widths: abs(count(widths) - parameters))
    check_parameters(count(hidden), parameters)
    return [1, *hidden, 1]


def cnn_hidden_width(blocks, kernel, parameters):
    """The width of a CNN's one hidden linear layer that brings it nearest to `parameters`; see `cnn`.

    Raises ValueError where no width comes within TOLERANCE of the target.
    """

    def count(width):
        return count_parameters(cnn, blocks, kernel, [width])

    # The count is linear in the width, so two values give them all.
    step = count(2) - count(1)
    width = max(round((parameters - count(1)) / step) + 1, 1)
    check_parameters(count(width), parameters)
    return width


def check_parameters(count, target):
    """Raises ValueError unless count is within a share TOLERANCE of target: the premise of every fair comparison."""
    if abs(count - target) > TOLERANCE * target:
        raise ValueError(f"{count} parameters are not within {TOLERANCE:.0%} of {target}")
