def train(w, g, m, v, lr):
    """AdaBelief without bias correction: second moment of g - m, which is the belief in m (arXiv 2010.07468)."""
    m = interp(g, m, 0.9)
    surprise = g - m
    surprise = square(surprise)
    v = interp(surprise, v, 0.999)
    sqrt_v = sqrt(v)
    update = m / sqrt_v
    wd = w * 0.01
    update = update + wd
    lr = lr * 0.001
    update = update * lr
    return update, m, v
