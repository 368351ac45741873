def train(w, g, m, v, lr):
    """Nesterov momentum in the form of torch.optim.SGD(nesterov=True) (Sutskever et al., 2013)."""
    wd = w * 0.0005
    g = g + wd
    m = m * 0.9
    m = m + g
    ahead = m * 0.9
    update = g + ahead
    lr = lr * 0.1
    update = update * lr
    return update, m, v
