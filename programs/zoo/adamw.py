def train(w, g, m, v, lr):
    """AdamW without bias correction, the start of the Lion paper (Loshchilov and Hutter, arXiv 1711.05101)."""
    g2 = square(g)
    m = interp(g, m, 0.9)
    v = interp(g2, v, 0.999)
    sqrt_v = sqrt(v)
    update = m / sqrt_v
    wd = w * 0.01
    update = update + wd
    lr = lr * 0.001
    update = update * lr
    return update, m, v
