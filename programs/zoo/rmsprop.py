def train(w, g, m, v, lr):
    """RMSprop: the gradient over the root of its mean square (Tieleman and Hinton, 2012)."""
    g2 = square(g)
    v = interp(g2, v, 0.99)
    sqrt_v = sqrt(v)
    update = g / sqrt_v
    lr = lr * 0.001
    update = update * lr
    return update, m, v
