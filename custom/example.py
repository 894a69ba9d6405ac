"""A custom activation: copy this file, or add a function to it.

In a configuration, a function here is named `example.<function>`. It takes a tensor of any shape
and, as keywords, the constants of its configuration, and returns a tensor of equal shape and type:

- it is elementwise;
- it is written with `keras.ops` and the operators + - * / **, which automatic differentiation
  and XLA support; constants are plain Python numbers;
- its value and slope are finite in single precision, where exp(89) is infinite: the slope of
  where(x > 0, x, exp(x) - 1) is NaN from 89 on, that of where(x > 0, x, exp(minimum(x, 0)) - 1)
  is 1;
- the report shows the first line of its docstring as its source.

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
