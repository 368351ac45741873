def train(w, g, m, v, lr):
    """Signum: the sign of the momentum, with decoupled weight decay (Bernstein et al., arXiv 1802.04434)."""
    m = interp(g, m, 0.9)
    update = sign(m)
    wd = w * 0.01
    update = update + wd
    lr = lr * 0.0001
    update = update * lr
    return update, m, v
