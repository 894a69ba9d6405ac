"""An activation of your own: copy this file, or add a function to it.

A function here is `example.<its name>` to actlab. It gets a tensor of any shape and, as keywords,
the constants of its configuration; it gives a tensor of the same shape and type:

- it works on each number by itself;
- it is written with `keras.ops` and the operators + - * / **, which automatic differentiation
  and XLA understand; constants are plain Python numbers;
- the first line of its docstring stands in the report as its source.

Try it:  python -m actlab.stages.train activation=custom activation.function=example.snake \
             +activation.constants.frequency=1.0
Keep it: conf/activation/snake.yaml (name, function, constants), and its name in params.yaml.
"""

from keras import ops


def snake(x, frequency=1.0):
    """Ziyin, Hartwig & Ueda 2020: x + sin(a x)^2 / a, a the frequency.

    Neural networks fail to learn periodic functions and how to fix it, NeurIPS 33, equation 4.
    """
    return x + ops.sin(frequency * x) ** 2 / frequency
