def train(w, g, m, v, lr):
    """Lion: the sign of an interpolation of gradient and momentum (Chen et al., arXiv 2302.06675)."""
    update = interp(g, m, 0.9)
    update = sign(update)
    m = interp(g, m, 0.99)
    wd = w * 0.01
    update = update + wd
    lr = lr * 0.0001
    update = update * lr
    return update, m, v
