def train(w, g, m, v, lr):
    """MARS-Lion: the sign of the momentum of gradients corrected by their change (Yuan et al., arXiv 2411.10438).

    c = g + 0.025 (0.95 / 0.05) (g - v)
    m = 0.95 m + 0.05 c / max(1, norm(c)) in each tensor
    w <- w - lr (sign(m) + 0.01 w)
    v = g

    The approximate form: the last gradient stands in for the gradient of this minibatch at the last weights.
    """
    change = g - v
    change = change * 0.475
    c = g + change
    size = norm(c)
    size = maximum(size, 1.0)
    size = reciprocal(size)
    c = c * size
    m = interp(c, m, 0.95)
    v = g * 1.0
    update = sign(m)
    wd = w * 0.01
    update = update + wd
    lr = lr * 0.0001
    update = update * lr
    return update, m, v
