def train(w, g, m, v, lr):
    """Heavy-ball momentum, weight decay added to the gradient as torch.optim.SGD does (Polyak, 1964)."""
    wd = w * 0.0005
    g = g + wd
    m = m * 0.9
    m = m + g
    lr = lr * 0.1
    update = m * lr
    return update, m, v
