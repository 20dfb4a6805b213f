"""Networks as stacks: R independent runs of one architecture, trained side by side.

Every weight carries the runs in its leading dimension, so that one batched product advances all
runs at once. A batch of inputs is (R, B, ...) where each run has its own examples, or (1, B, ...)
where all runs share them. Layers take R from their weights, so that a model also evaluates any
other number of parameter sets through torch.func.functional_call.
"""

from itertools import pairwise, product

import torch
from torch import nn
from torch.nn import functional

TOLERANCE = 0.01  # the fraction by which networks of equal size may differ in their parameters


def initial_parameters(weight_shape, fan_in, generator, nonlinearity):
    """Weight and bias of one run's layer, which keep the size of the signal.

    The weight has the variance of He et al. 2015 (arXiv:1502.01852) and is uniform, the bias is
    U(±1/√fan_in), as in torch.nn.Linear.
    """
    weight = nn.init.kaiming_uniform_(torch.empty(weight_shape), nonlinearity=nonlinearity,
                                      generator=generator)
    bound = fan_in**-0.5
    bias = torch.empty(weight_shape[0]).uniform_(-bound, bound, generator=generator)
    return weight, bias


def stacked_initial_parameters(weight_shape, fan_in, generators, nonlinearity="relu"):
    """initial_parameters of every run, stacked: weight (R, *weight_shape), bias (R, out)."""
    weights, biases = [], []
    for generator in generators:
        weight, bias = initial_parameters(weight_shape, fan_in, generator, nonlinearity)
        weights.append(weight)
        biases.append(bias)
    return nn.Parameter(torch.stack(weights)), torch.stack(biases)


class StackedLinear(nn.Module):
    """R linear layers: (R or 1, B, in) -> (R, B, out).

    Run k is initialized from generators[k] alone. nonlinearity names what follows the layer, as
    torch.nn.init.calculate_gain knows it.
    """

    def __init__(self, in_features, out_features, generators, nonlinearity="relu"):
        super().__init__()
        self.weight, bias = stacked_initial_parameters((out_features, in_features), in_features,
                                                       generators, nonlinearity)  # (R, out, in)
        self.bias = nn.Parameter(bias.unsqueeze(2))  # (R, out, 1)

    def forward(self, inputs):
        # Between layers the examples lie side by side in memory, whatever the shapes say. Narrow
        # layers have fewer features than a processor takes at once; this way they are multiplied up
        # to five times as fast.
        columns = inputs.mT  # (R or 1, in, B)
        if self.weight.shape[2] == 1:  # an outer product, at which libraries are slow
            return torch.addcmul(self.bias, self.weight, columns).mT
        if len(columns) != len(self.weight):  # all runs share the inputs
            columns = columns.expand(len(self.weight), -1, -1)
        return torch.baddbmm(self.bias, self.weight, columns).mT


class StackedConv2d(nn.Module):
    """R convolutional layers: zero-padded convolution, max-pool where pool is above 1, ReLU.

    (R or 1, B, in, H, W) -> (R, B, out, H // pool, W // pool). kernel is the odd side of the
    filters in pixels.
    """

    def __init__(self, in_channels, out_channels, kernel, pool, generators):
        super().__init__()
        self.pool = pool
        fan_in = in_channels * kernel**2
        weight_shape = (out_channels, in_channels, kernel, kernel)
        self.weight, bias = stacked_initial_parameters(weight_shape, fan_in, generators)
        self.bias = nn.Parameter(bias)  # (R, out)

    def forward(self, inputs):
        if len(inputs) == 1:
            return self.convolve_shared(inputs)
        # A CPU is bound by arithmetic: there the runs go one after another, each while it is in the
        # cache. Other devices are bound by the number of calls.
        if inputs.device.type == "cpu":
            return self.convolve_one_by_one(inputs)
        return self.convolve_as_groups(inputs)

    def convolve_shared(self, inputs):
        """One convolution with the filters of all runs, for images (1, B, ...) that all share."""
        outputs = self.convolve(channels_last(inputs[0]), self.weight.flatten(0, 1),
                                self.bias.flatten())
        return outputs.unflatten(1, (len(self.weight), -1)).movedim(1, 0)

    def convolve_one_by_one(self, inputs):
        """A convolution for each run."""
        outputs = []
        for images, weight, bias in zip(inputs, self.weight, self.bias):
            outputs.append(self.convolve(channels_last(images), weight, bias))
        return torch.cat(outputs).unflatten(0, inputs.shape[:2])

    def convolve_as_groups(self, inputs):
        """The runs as groups of channels of one convolution."""
        images = inputs.movedim(0, 1).flatten(1, 2)  # (B, R · in, H, W)
        outputs = self.convolve(images, self.weight.flatten(0, 1), self.bias.flatten(), len(inputs))
        return outputs.unflatten(1, (len(inputs), -1)).movedim(1, 0)

    def convolve(self, images, weight, bias, groups=1):
        """Convolution, max-pool and ReLU of images (B, C, H, W)."""
        padding = weight.shape[-1] // 2
        outputs = functional.conv2d(images, weight, bias, padding=padding, groups=groups)
        if self.pool > 1:  # before the ReLU: the same numbers, and fewer of them to rectify
            outputs = functional.max_pool2d(outputs, self.pool)
        return functional.relu(outputs)


def channels_last(images):
    """Images (B, C, H, W) with their channels last in memory, the fastest layout for a CPU.

    The channel of one-channel images counts as last only with a stride of 1, which this detour
    gives.
    """
    if images.shape[1] == 1:
        images = images.squeeze(1).unsqueeze(-1).movedim(-1, 1)
    return images.contiguous(memory_format=torch.channels_last)


def mlp(widths, generators, activation=nn.ReLU):
    """A stack of fully connected networks (multi-layer perceptrons), one for each generator.

    widths lists the features of every layer, input and output included: [784, 32, 10] has one
    hidden layer. Inputs (R or 1, B, ...) are flattened to (R or 1, B, widths[0]); outputs are
    (R, B, widths[-1]). Hidden layers are initialized for ReLU, whatever the activation.
    """
    layers = [nn.Flatten(2)]
    for in_features, out_features in pairwise(widths[:-1]):
        layers += [StackedLinear(in_features, out_features, generators), activation()]
    layers.append(StackedLinear(widths[-2], widths[-1], generators, "linear"))
    return nn.Sequential(*layers)


def cnn(blocks, kernel, hidden_widths, generators, image_size=28, classes=10):
    """A stack of convolutional networks on one-channel square images (R or 1, B, 1, size, size).

    blocks lists the channels of the convolutions, and every block ends in a 2×2 max-pool: [[8],
    [16]] is two convolutions, each followed by a pool; [[8, 8]] is two convolutions and one pool.
    Linear layers of hidden_widths follow.
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
    return len(next(model.parameters()))


def parameter_count(model):
    """The number of parameters of one run of a stack."""
    return sum(parameter[0].numel() for parameter in model.parameters())


def mlp_widths(depth, parameters):
    """Widths of an MLP with depth hidden layers, nearest to so many parameters.

    It has one input and one output. Hidden widths differ by one at most. Raises ValueError where no
    choice comes within TOLERANCE.
    """

    def count(hidden_widths):
        widths = [1, *hidden_widths, 1]
        return sum((inputs + 1) * outputs for inputs, outputs in pairwise(widths))

    def distance(hidden_widths):
        return abs(count(hidden_widths) - parameters)

    width = 1
    while count([width + 1] * depth) <= parameters:
        width += 1
    nearest = min(product((width, width + 1), repeat=depth), key=distance)
    check_parameters(count(nearest), parameters)
    return [1, *nearest, 1]


def cnn_hidden_width(blocks, kernel, parameters):
    """The width of a CNN's one hidden linear layer that brings it nearest to so many parameters.

    For blocks and kernel see cnn. Raises ValueError where no width comes within TOLERANCE.
    """

    def count(width):
        return parameter_count(cnn(blocks, kernel, [width], [torch.Generator()]))

    # The count is linear in the width, so two of them give all others.
    parameters_of_width_1 = count(1)
    parameters_per_unit = count(2) - parameters_of_width_1
    more_units = round((parameters - parameters_of_width_1) / parameters_per_unit)
    width = max(1 + more_units, 1)
    check_parameters(count(width), parameters)
    return width


def cnn_multiplications(blocks, kernel, hidden_width, image_size=28, classes=10):
    """Multiplications that a CNN with one hidden linear layer needs for one image.

    For blocks and kernel see cnn. Zeros of the padding are multiplied too; biases and pools count
    nothing.
    """
    count, channels, size = 0, 1, image_size
    for block in blocks:
        for out_channels in block:
            count += size**2 * kernel**2 * channels * out_channels
            channels = out_channels
        size //= 2
    return count + channels * size**2 * hidden_width + hidden_width * classes


def check_parameters(count, target):
    """Raises ValueError unless count is within a fraction TOLERANCE of target.

    Equal size is the premise of every comparison of architectures.
    """
    if abs(count - target) > TOLERANCE * target:
        raise ValueError(f"{count} parameters are not within {TOLERANCE:.0%} of {target}")
