def train(w, g, m, v, lr):
    """Scion: conditional gradients on balls of the spectral norm, momentum without look-ahead (arXiv 2502.07529).

    m = 0.9 m + 0.1 g
    O = orthogonalize(m): the direction of the ball's edge, on a vector m / rms(m)
    w <- (1 - c) w - 2 c O with c = 0.00025 lr, so that weights stay within the ball of radius 2

    The paper's radius goes with sqrt(outputs / inputs), but which axis is which differs between models; here it goes
    with sqrt(max(rows, columns)). The paper has signs for the output layer; here all matrices are treated alike.
    """
    m = interp(g, m, 0.9)
    update = orthogonalize(m)
    wd = w * 0.5
    update = update + wd
    lr = lr * 0.0005
    update = update * lr
    return update, m, v
