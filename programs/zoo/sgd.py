def train(w, g, m, v, lr):
    """Plain gradient descent."""
    lr = lr * 0.1
    update = g * lr
    return update, m, v
